"""The one table of a stream: `count` rows and one `batch` row a batch, in one schema (DESIGN §6)."""

from __future__ import annotations

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")

OF_ANY_KIND = [
    ("key", pa.string()),  # the split's name
    ("items", pa.int64()),  # records, lines, rows … counted
    ("digest", pa.string()),  # of its content
    ("file_id", pa.string()),
    ("detail", pa.string()),  # a JSON object
]
"""Fields for whatever kind of source has none of its own; null where there is nothing to say."""

SPLIT = pa.struct(
    [
        ("topic", pa.string()),
        ("partition", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("records", pa.int64()),
        ("path", pa.string()),
        ("length", pa.int64()),
        ("mtime", pa.int64()),
        ("lines", pa.int64()),
        ("reason", pa.string()),
        *OF_ANY_KIND,
    ]
)
"""Offsets ``[start, end)`` of a partition, or a whole file (length in bytes, mtime in ms since the epoch)."""

RECORD = pa.struct(
    [
        ("topic", pa.string()),
        ("partition", pa.int64()),
        ("path", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("reason", pa.string()),
        *OF_ANY_KIND,
    ]
)
"""Records put aside: offsets ``[start, end)`` of a partition, or a line's bytes ``[start, end)`` of a file's text."""

STEPS = ("plan", "read", "count", "write")
"""Steps whose seconds a ledger row holds; the commit cannot hold its own."""

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # count | batch
        ("day", pa.date32()),  # UTC day of the batch
        ("batch", pa.int64()),
        ("window_start", TIMESTAMP),
        ("word", pa.string()),
        ("count", pa.int64()),
        ("attempt", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("decision", pa.string()),  # an operator's: skip | recount | text | from-earliest | replay | import-offsets
        ("who", pa.string()),
        ("why", pa.string()),
        ("replaces", pa.int64()),  # the batch that a correction is about
        ("engine", pa.string()),
        ("run_id", pa.string()),
        ("records", pa.int64()),
        ("lines", pa.int64()),
        ("gaps", pa.int64()),
        ("bytes", pa.int64()),
        ("words", pa.int64()),
        ("distinct", pa.int64()),
        ("invalid", pa.int64()),
        ("clamped", pa.int64()),
        ("planned_at", TIMESTAMP),
        ("committed_at", TIMESTAMP),
        ("seconds", pa.struct([(step, pa.float64()) for step in STEPS])),
        ("identity", pa.string()),  # JSON; batch 0, and where it changes by decision
        ("fingerprint", pa.string()),  # batch 0 only
        ("splits", pa.list_(SPLIT)),
        ("quarantined", pa.list_(RECORD)),
    ]
)

PARTITION_BY = ["kind", "day"]
COUNT_COLUMNS = ("batch", "window_start", "word", "count")
COUNT_SCHEMA = pa.schema([SCHEMA.field(name) for name in COUNT_COLUMNS])
BATCH_SCHEMA = pa.schema(
    [field for field in SCHEMA if field.name not in (*PARTITION_BY, "window_start", "word", "count")]
)

FORMAT = "wordtide word_counts 2"
"""The table's description; a table that a newer Wordtide wrote says another number."""

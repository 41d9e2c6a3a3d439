"""Writes a batch's Parquet files beside the table: invisible until a commit names them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wordtide.batch import DataFile
from wordtide.storage import Storage
from wordtide.table.schema import BATCH_SCHEMA, COUNT_SCHEMA

ROWS_A_FILE = 1 << 20
"""A file is built in memory, so this bounds it (about 20 MB); distinct words have no bound."""
STAT_CHARACTERS = 32
"""Longer words give no minimum or maximum: Delta allows them to be missing, not to be wrong."""


def attempt_path(kind: str, day: date, number: int, attempt: str, suffix: str = "") -> str:
    """Return a path, relative to the table, that no other attempt ever writes to.

    In Hive style, as delta-rs itself writes: Polars refuses a table that mixes two styles.
    """
    return f"kind={kind}/day={day.isoformat()}/{number}-{attempt}{suffix}.parquet"


def write_counts(
    storage: Storage,
    root: str,
    number: int,
    attempt: str,
    day: date,
    counts: Iterable[pa.RecordBatch],
    tag: str = "",
) -> Iterator[DataFile]:
    """Write (window_start, word, count) rows, sorted as they come, and yield each finished file.

    Args:
        storage: Where the table lives.
        root: The table's folder.
        number: The batch number.
        attempt: The attempt's uuid.
        day: UTC day of the batch, the partition.
        counts: Record batches sorted by window and word over the whole iterable.
        tag: Distinguishes writers of one attempt (Spark tasks).
    """
    for index, table in enumerate(_tables_of(counts, ROWS_A_FILE)):
        rows = pa.table(
            {
                "batch": pa.repeat(pa.scalar(number, pa.int64()), len(table)),
                **{name: table.column(name) for name in ("window_start", "word", "count")},
            },
            schema=COUNT_SCHEMA,
        )
        path = attempt_path("count", day, number, attempt, f"{tag}-{index}")
        size = storage.write_durably(f"{root}/{path}", [_parquet(rows)], private=True)
        yield DataFile(path, size, {"kind": "count", "day": day.isoformat()}, _count_stats(rows))


def write_batch_row(storage: Storage, root: str, row: dict[str, Any], day: date) -> DataFile:
    """Write the ledger row of a batch and return its file."""
    path = attempt_path("batch", day, row["batch"], row["attempt"])
    table = pa.Table.from_pylist([row], schema=BATCH_SCHEMA)
    size = storage.write_durably(f"{root}/{path}", [_parquet(table)], private=True)
    return DataFile(path, size, {"kind": "batch", "day": day.isoformat()}, _batch_stats(table))


def write_merged(storage: Storage, root: str, partition: dict[str, str], rows: pa.Table) -> DataFile:
    """Write the rows of several files of one partition as one, and return it."""
    is_count = partition["kind"] == "count"
    order = ["window_start", "word"] if is_count else ["batch"]
    rows = rows.sort_by([(column, "ascending") for column in order])
    path = f"kind={partition['kind']}/day={partition['day']}/merged-{uuid.uuid4().hex}.parquet"
    size = storage.write_durably(f"{root}/{path}", [_parquet(rows)], private=True)
    return DataFile(path, size, partition, _count_stats(rows) if is_count else _batch_stats(rows))


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # A word occurs once a window, so a dictionary would only be written in vain.
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _tables_of(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += len(batch)
        if size >= rows:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if size:
        yield pa.Table.from_batches(held)


def _count_stats(rows: pa.Table) -> str:
    batches = pc.min_max(rows.column("batch")).as_py()
    low: dict[str, Any] = {"batch": batches["min"]}
    high: dict[str, Any] = {"batch": batches["max"]}
    nulls = dict.fromkeys(COUNT_SCHEMA.names, 0)
    windows = pc.min_max(rows.column("window_start")).as_py()
    counts = pc.min_max(rows.column("count")).as_py()
    low["window_start"], high["window_start"] = (_timestamp(windows[end]) for end in ("min", "max"))
    low["count"], high["count"] = counts["min"], counts["max"]
    words = pc.min_max(rows.column("word")).as_py()
    if max(len(words["min"]), len(words["max"])) <= STAT_CHARACTERS:
        low["word"], high["word"] = words["min"], words["max"]
    return json.dumps({"numRecords": len(rows), "minValues": low, "maxValues": high, "nullCount": nulls})


def _batch_stats(rows: pa.Table) -> str:
    batches = pc.min_max(rows.column("batch")).as_py()
    low, high = {"batch": batches["min"]}, {"batch": batches["max"]}
    return json.dumps({"numRecords": len(rows), "minValues": low, "maxValues": high})


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

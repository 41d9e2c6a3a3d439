"""Writes a batch's Parquet files beside the table: invisible until a commit names them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wordtide.core.model import DataFile
from wordtide.storage import Storage
from wordtide.table.record import LedgerRow, to_table
from wordtide.table.schema import COUNT_SCHEMA, PARTITION_BY, SCHEMA

ROWS_A_FILE = 1 << 20
"""A file is built in memory, so this bounds it (about 20 MB); distinct words have no bound."""
BYTES_A_FILE = 48 << 20
"""The same for long words; a file has at least one batch of rows."""
STAT_CHARACTERS = 32
"""Of longer strings the statistics hold a bound of this many characters, as Delta allows."""
_LAST_CHARACTER = chr(0x10FFFF)
_ALMOST_A_MS = timedelta(microseconds=999)
"""Statistics hold milliseconds: a maximum is rounded up."""
_PLAIN_COLUMNS = [f.name for f in SCHEMA if f.name not in PARTITION_BY and not pa.types.is_nested(f.type)]


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
    for index, table in enumerate(_tables_of(counts)):
        rows = pa.table(
            {
                "batch": pa.repeat(pa.scalar(number, pa.int64()), len(table)),
                **{name: table.column(name) for name in ("window_start", "word", "count")},
            },
            schema=COUNT_SCHEMA,
        )
        path = attempt_path("count", day, number, attempt, f"{tag}-{index}")
        size = storage.write_durably(f"{root}/{path}", [_parquet(rows)], private=True)
        yield DataFile(path, size, {"kind": "count", "day": day.isoformat()}, _stats(rows))


def write_batch_row(storage: Storage, root: str, row: LedgerRow, day: date) -> DataFile:
    """Write the ledger row of a batch and return its file."""
    path = attempt_path("batch", day, row.batch, row.attempt)
    table = to_table(row)
    size = storage.write_durably(f"{root}/{path}", [_parquet(table)], private=True)
    return DataFile(path, size, {"kind": "batch", "day": day.isoformat()}, _stats(table))


def write_merged(storage: Storage, root: str, partition: dict[str, str], rows: pa.Table) -> DataFile:
    """Write the rows of several files of one partition as one, and return it."""
    is_count = partition["kind"] == "count"
    order = ["window_start", "word"] if is_count else ["batch"]
    rows = rows.sort_by([(column, "ascending") for column in order])
    path = f"kind={partition['kind']}/day={partition['day']}/merged-{uuid.uuid4().hex}.parquet"
    size = storage.write_durably(f"{root}/{path}", [_parquet(rows)], private=True)
    return DataFile(path, size, partition, _stats(rows))


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # A word occurs once a window, so a dictionary would only be written in vain.
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _tables_of(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        size += batch.nbytes
        if rows >= ROWS_A_FILE or size >= BYTES_A_FILE:
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held)


def _stats(rows: pa.Table) -> str:
    """Return a file's Delta statistics, for every plain column.

    For every one: `DeltaTable.to_pyarrow_dataset` takes a missing minimum for a null and then finds no row at all when
    asked for ``word = '…'`` or ``status = '…'``.
    """
    count = len(rows)
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls = {name: count for name in _PLAIN_COLUMNS if name not in rows.column_names}
    for name in _PLAIN_COLUMNS:
        if name in nulls:
            continue
        column = rows.column(name)
        nulls[name] = column.null_count
        if column.null_count < count:
            ends = pc.min_max(column).as_py()
            low[name], high[name] = _lower(ends["min"]), _upper(ends["max"])
    return json.dumps({"numRecords": count, "minValues": low, "maxValues": high, "nullCount": nulls})


def _lower(value: Any) -> Any:
    if isinstance(value, str):
        return value[:STAT_CHARACTERS]
    return _timestamp(value) if isinstance(value, datetime) else value


def _upper(value: Any) -> Any:
    if isinstance(value, str):
        if len(value) <= STAT_CHARACTERS:
            return value
        # The shortest that is greater than all that begins like this.
        begin = value[:STAT_CHARACTERS].rstrip(_LAST_CHARACTER)
        return begin[:-1] + chr(ord(begin[-1]) + (1 if ord(begin[-1]) != 0xD7FF else 0x801)) if begin else value
    return _timestamp(value + _ALMOST_A_MS) if isinstance(value, datetime) else value


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

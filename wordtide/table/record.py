"""What the table's ledger rows hold, typed, and the only code that turns them into Arrow and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import islice, repeat
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from wordtide.core.model import Status
from wordtide.core.problems import TableRefused
from wordtide.table.schema import BATCH_SCHEMA, SPLIT

NO_DETAIL: Mapping[str, Any] = MappingProxyType({})


class SplitRecord(NamedTuple):
    """What a ledger row says of one split, or of one quarantined record: the columns of `wordtide.table.schema.SPLIT`.

    A kind of source fills the fields that it has; the others are None. A tuple and no dataclass, because a look at a
    folder's table may make a million of them.

    Attributes:
        topic: Kafka: the topic.
        partition: Kafka: the partition; None where the topic as a whole is meant.
        start: First offset, or byte of a quarantined line.
        end: The one behind the last.
        records: Kafka: records seen.
        path: Files: the path.
        length: Files: bytes.
        mtime: Files: last modification, ms since the epoch.
        lines: Lines counted.
        reason: Why it was parked, stalled or quarantined.
        key: The split's name, of a kind without columns of its own.
        items: Records, lines or rows counted, of such a kind.
        digest: Of the split's content, as text.
        file_id: What a file system knows the file by, as text.
        detail: Whatever else its kind says; JSON in the table.
    """

    topic: str | None = None
    partition: int | None = None
    start: int | None = None
    end: int | None = None
    records: int | None = None
    path: str | None = None
    length: int | None = None
    mtime: int | None = None
    lines: int | None = None
    reason: str | None = None
    key: str | None = None
    items: int | None = None
    digest: str | None = None
    file_id: str | None = None
    detail: Mapping[str, Any] = NO_DETAIL

    @property
    def name(self) -> str:
        """The name by which people know it: a path, ``topic/partition``, a topic as a whole, or its kind's key."""
        if self.path is not None:
            return self.path
        if self.topic is None:
            return self.key or ""
        return self.topic if self.partition is None else f"{self.topic}/{self.partition}"

    def as_dict(self) -> dict[str, Any]:
        """Return the columns as the table holds them."""
        return {**self._asdict(), "detail": json.dumps(dict(self.detail)) if self.detail else None}


assert SplitRecord._fields == tuple(SPLIT.field(place).name for place in range(SPLIT.num_fields))
_RECORD_ONLY = frozenset({"records", "length", "mtime", "lines"})
"""Columns of a split that a quarantined record does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What a ledger row says of positions: all that a `wordtide.table.ledger.Ledger` takes in.

    Attributes:
        batch: The batch's number.
        status: What the row records.
        committed_at: UTC.
        identity: What positions belong to from this batch on; None where that does not change.
        fingerprint: What gives the table its meaning; batch 0 only.
        splits: What was taken, or what it says of what.
    """

    batch: int
    status: Status
    committed_at: datetime
    identity: Mapping[str, str] | None = None
    fingerprint: str | None = None
    splits: tuple[SplitRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow(LedgerEntry):
    """One row of the ledger, with all its columns.

    Attributes:
        attempt: The uuid of the attempt that committed it.
        reason: Why something is parked; at most three reasons.
        decision: An operator's, with who took it and why.
        replaces: The batch that a correction is about.
        engine: Where it was counted; None of a row that counts nothing.
        run_id: Dagster's run, or who decided.
        records: Records seen, of kinds that have any.
        lines: Lines counted.
        gaps: Offsets without a visible record.
        bytes: Bytes read.
        words: Words counted; signed, of a correction.
        distinct: Count rows added.
        invalid: U+FFFD that stand for invalid UTF-8.
        clamped: Records with an absurd timestamp.
        planned_at: UTC.
        seconds: Seconds per step, those that were measured.
        quarantined: Records set apart instead of counted.
    """

    attempt: str
    run_id: str | None
    planned_at: datetime
    reason: str | None = None
    decision: str | None = None
    who: str | None = None
    why: str | None = None
    replaces: int | None = None
    engine: str | None = None
    records: int = 0
    lines: int = 0
    gaps: int = 0
    bytes: int = 0
    words: int = 0
    distinct: int = 0
    invalid: int = 0
    clamped: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    quarantined: tuple[SplitRecord, ...] = ()

    @property
    def items(self) -> int:
        """Records, or lines where the source has no records."""
        return self.records or self.lines

    @property
    def batch_seconds(self) -> float:
        """Seconds of the batch: planning, which ends at ``planned_at``, and everything after it up to the commit."""
        return (self.committed_at - self.planned_at).total_seconds() + self.seconds.get("plan", 0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the columns as the table holds them."""
        return {
            **{name: getattr(self, name) for name in BATCH_SCHEMA.names},
            "status": self.status.value,
            "identity": json.dumps(dict(self.identity), sort_keys=True) if self.identity is not None else None,
            "seconds": {step.name: self.seconds.get(step.name) for step in BATCH_SCHEMA.field("seconds").type},
            "splits": [split.as_dict() for split in self.splits],
            "quarantined": [_without(record.as_dict(), _RECORD_ONLY) for record in self.quarantined],
        }


def _without(columns: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in names}


ENTRY_COLUMNS = [one.name for one in fields(LedgerEntry)]


def to_table(row: LedgerRow) -> pa.Table:
    """Return a ledger row as a table of one row, in `wordtide.table.schema.BATCH_SCHEMA`."""
    return pa.Table.from_pylist([row.as_dict()], schema=BATCH_SCHEMA)


def entries_of(rows: pa.Table | pa.RecordBatch) -> Iterator[LedgerEntry]:
    """Yield the entries of ledger rows that have at least `ENTRY_COLUMNS`, in their order.

    Raises:
        TableRefused: A row has a status that this version does not know.
    """
    columns = rows.select(ENTRY_COLUMNS)
    for values in _decoded(columns):
        yield LedgerEntry(**values)


def rows_of(rows: pa.Table | pa.RecordBatch) -> list[LedgerRow]:
    """Return ledger rows that have all their columns, in their order.

    Raises:
        TableRefused: A row has a status that this version does not know.
    """
    found = []
    for values in _decoded(rows.select(BATCH_SCHEMA.names)):
        spent = values.pop("seconds") or {}
        seconds = {step: seconds for step, seconds in spent.items() if seconds is not None}
        found.append(LedgerRow(**values, seconds=seconds))
    return found


def _decoded(rows: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row, decoded, by name."""
    columns: dict[str, Iterable[Any]] = {}
    for name in rows.schema.names:
        column = rows.column(name)
        columns[name] = _records(column) if name in {"splits", "quarantined"} else column.to_pylist()
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        try:
            row["status"] = Status(row["status"])
        except ValueError:
            raise TableRefused(
                f"batch {row['batch']} has the status {row['status']!r}, which this version of Wordtide does not know;"
                " upgrade it"
            ) from None
        if row["identity"] is not None:
            row["identity"] = json.loads(row["identity"])
        yield row


def _records(lists: pa.ChunkedArray | pa.Array) -> Iterator[tuple[SplitRecord, ...]]:
    """Yield the records of each row, made column by column: most columns of a kind of source are null throughout."""
    for chunk in lists.chunks if isinstance(lists, pa.ChunkedArray) else (lists,):
        structs = chunk.flatten()
        known = dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
        # Rows of an older Wordtide do not have all columns, and those of quarantined records never do.
        columns = [_values(known.get(name)) for name in SplitRecord._fields[:-1]]
        details = (NO_DETAIL if text is None else json.loads(text) for text in _values(known.get("detail")))
        records = map(SplitRecord._make, zip(*columns, details, strict=False))
        for length in chunk.value_lengths().to_pylist():
            yield tuple(islice(records, length or 0))


def _values(column: pa.Array | None) -> Iterable[Any]:
    """Return a column's values; without end where there are none."""
    return repeat(None) if column is None or column.null_count == len(column) else column.to_pylist()

"""Reads a table's rows: the ledger's, typed, and the counts. Nothing else reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from wordtide.core.model import Status
from wordtide.core.problems import TableRefused
from wordtide.storage import Storage
from wordtide.table.record import ENTRY_COLUMNS, LedgerEntry, LedgerRow, entries_of, rows_of
from wordtide.table.schema import BATCH_SCHEMA, COUNT_SCHEMA

_NEWEST = 50
"""How far back the newest published batch is looked for."""
_ROWS_AT_ONCE = 256
"""A row may name 10,000 files, so this bounds what is held at a time."""
_FILE_COLUMNS = ["path", "size_bytes", "partition.kind", "min.batch", "max.batch"]
_COUNTS = pa.schema([COUNT_SCHEMA.field(name) for name in ("batch", "word", "count")])


def batches_in(after: int = -1, before: int | None = None) -> ds.Expression:
    """Return the filter for ledger rows with numbers in ``(after, before)``."""
    chosen = (ds.field("kind") == "batch") & (ds.field("batch") > after)
    return chosen if before is None else chosen & (ds.field("batch") < before)


def counts_in(after: int = -1, through: int | None = None) -> ds.Expression:
    """Return the filter for count rows of batches ``after < batch <= through``: exact over any compaction."""
    chosen = (ds.field("kind") == "count") & (ds.field("batch") > after)
    return chosen if through is None else chosen & (ds.field("batch") <= through)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTotal:
    """The plain columns of one ledger row: see `wordtide.table.record.LedgerRow`."""

    batch: int
    status: str
    run_id: str | None
    words: int
    distinct: int
    records: int
    lines: int
    gaps: int
    bytes: int

    @property
    def items(self) -> int:
        """Records, or lines where the source has no records."""
        return self.records or self.lines


_TOTALS = [one.name for one in fields(BatchTotal)]


class Scan:
    """Reads the ledger rows of one version of a table. Its first question opens each file; making one costs nothing.

    Args:
        handle: The table at that version.
    """

    def __init__(self, handle: DeltaTable) -> None:
        self._handle = handle

    @cached_property
    def _dataset(self) -> ds.Dataset:
        # A millisecond or two for each live file: once for all questions.
        return self._handle.to_pyarrow_dataset()

    def rows(self, after: int = -1, before: int | None = None) -> list[LedgerRow]:
        """Return the ledger rows with numbers in ``(after, before)``, oldest first."""
        table = self._dataset.to_table(columns=BATCH_SCHEMA.names, filter=batches_in(after, before))
        return sorted(rows_of(table), key=lambda row: row.batch)

    def stream(self, chosen: ds.Expression) -> Iterator[LedgerRow]:
        """Yield some rows, in no order; for questions to the whole of a long ledger."""
        for rows in self.arrow(BATCH_SCHEMA.names, chosen):
            yield from rows_of(rows)

    def arrow(self, columns: list[str], chosen: ds.Expression) -> Iterator[pa.RecordBatch]:
        """Yield some columns of some rows as Arrow, in no order and of bounded size."""
        for rows in self._dataset.scanner(columns=columns, filter=chosen, batch_size=_ROWS_AT_ONCE).to_batches():
            if len(rows):
                yield rows

    def entries(self, chosen: ds.Expression) -> Iterator[LedgerEntry]:
        """Yield some ledger rows, as far as they are about positions, in no order."""
        for rows in self.arrow(ENTRY_COLUMNS, chosen):
            yield from entries_of(rows)

    def newest_published(self, last: int) -> LedgerEntry | None:
        """Return the newest published row among the last few batches up to ``last``."""
        chosen = batches_in(last - _NEWEST) & (ds.field("status") == Status.PUBLISHED.value)
        return max(self.entries(chosen), key=lambda entry: entry.batch, default=None)

    def identity_at(self, number: int) -> Mapping[str, str]:
        """Return what positions belong to at a batch: the newest row up to it that says anything says it."""
        if number < 0:
            return {}
        chosen = batches_in(before=number + 1) & ds.field("identity").is_valid()
        rows = self._dataset.to_table(columns=["batch", "identity"], filter=chosen).sort_by("batch")
        found: Mapping[str, str] = json.loads(rows.column("identity")[-1].as_py()) if len(rows) else {}
        return found

    def statuses(self, last: int, stored: int) -> frozenset[str]:
        """Return the statuses of the batches after ``last`` up to ``stored``, the batch number in the log.

        Raises:
            TableRefused: A batch is missing or there twice: rows were rolled back (RESTORE), numbers were not.
        """
        heads = self._dataset.to_table(columns=["batch", "status"], filter=batches_in(last))
        numbers = np.sort(heads.column("batch").to_numpy())
        if not np.array_equal(numbers, np.arange(last + 1, stored + 1)):
            raise TableRefused(
                f"table {self._handle.table_uri}: the ledger does not hold each batch from {last + 1} to {stored} once;"
                " was it RESTOREd? Draining on would lose or repeat counts: restore a whole copy, or found a new table"
            )
        return frozenset(heads.column("status").unique().to_pylist())

    def totals(self, after: int, before: int | None) -> list[BatchTotal]:
        """Return the plain columns of the ledger rows with numbers in ``(after, before)``, oldest first."""
        rows = self._dataset.to_table(columns=_TOTALS, filter=batches_in(after, before)).sort_by("batch")
        return [BatchTotal(**row) for row in rows.to_pylist()]

    def counts(self, columns: list[str], chosen: ds.Expression) -> pa.RecordBatchReader:
        """Return a reader of some columns of some count rows, see `counts_in`, in no order."""
        return self._dataset.scanner(columns=columns, filter=chosen).to_reader()


def newest_rows(
    storage: Storage, root: str, handle: DeltaTable, after: int, through: int | None = None
) -> list[LedgerRow]:
    """Return the ledger rows of batches ``after < batch <= through``, oldest first; quick where those are few."""
    rows = rows_of(_read(storage, root, handle, "batch", BATCH_SCHEMA, after, through))
    return sorted(rows, key=lambda row: row.batch)


def newest_counts(storage: Storage, root: str, handle: DeltaTable, after: int, through: int | None = None) -> pa.Table:
    """Return the (batch, word, count) rows of batches ``after < batch <= through``, in no order; quick for few."""
    return _read(storage, root, handle, "count", _COUNTS, after, through)


def _read(
    storage: Storage, root: str, handle: DeltaTable, kind: str, schema: pa.Schema, after: int, through: int | None
) -> pa.Table:
    """Read the rows of some batches from the files that can hold them.

    A dataset of the whole table would do, but making one costs a millisecond or two for each live file; which files
    hold these batches is known from their statistics. Files that compaction has merged hold others too.
    """
    chosen = pc.field("batch") > after
    if through is not None:
        chosen &= pc.field("batch") <= through
    files = (
        pa.table(handle.get_add_actions(flatten=True)).select(_FILE_COLUMNS).filter(pc.field("partition.kind") == kind)
    )
    # A file without statistics has to be looked into.
    files = files.filter(pc.if_else(pc.is_null(pc.field("max.batch")), True, pc.field("max.batch") > after))
    if through is not None:
        files = files.filter(pc.if_else(pc.is_null(pc.field("min.batch")), True, pc.field("min.batch") <= through))
    found = [schema.empty_table()]
    for path, size in zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True):
        content = b"".join(storage.read_range(f"{root}/{unquote(path)}", 0, size))
        found.append(pq.read_table(pa.BufferReader(content), columns=schema.names).filter(chosen).cast(schema))
    return pa.concat_tables(found)

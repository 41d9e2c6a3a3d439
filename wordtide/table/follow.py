"""A table's batches as they commit, each with its counts: what `wordtide watch` and the live view read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from wordtide.core.problems import TableRefused
from wordtide.storage import FileInfo
from wordtide.table.commit import BATCH_APP, WordCounts
from wordtide.table.schema import BATCH_SCHEMA, COUNT_SCHEMA

BATCHES_AT_ONCE = 20
"""Whoever begins with an old batch of a long table gets it piece by piece."""
ROWS_AT_ONCE = 1 << 20
"""And no more count rows at once than this, unless a single batch has more."""
_FILE_COLUMNS = ["path", "size_bytes", "partition.kind", "min.batch", "max.batch"]
_COUNTS = pa.schema([COUNT_SCHEMA.field(name) for name in ("batch", "word", "count")])


def ledger_rows(table: WordCounts, handle: DeltaTable, after: int, through: int | None = None) -> list[dict[str, Any]]:
    """Return the ledger rows of batches ``after < batch <= through``, oldest first."""
    rows: list[dict[str, Any]] = _read(table, handle, "batch", BATCH_SCHEMA, after, through).to_pylist()
    return sorted(rows, key=lambda row: int(row["batch"]))


def count_rows(table: WordCounts, handle: DeltaTable, after: int, through: int | None = None) -> pa.Table:
    """Return the (batch, word, count) rows of batches ``after < batch <= through``, in no order."""
    return _read(table, handle, "count", _COUNTS, after, through)


def _read(
    table: WordCounts, handle: DeltaTable, kind: str, schema: pa.Schema, after: int, through: int | None
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
        content = b"".join(table.storage.read_range(f"{table.root}/{unquote(path)}", 0, size))
        found.append(pq.read_table(pa.BufferReader(content), columns=schema.names).filter(chosen).cast(schema))
    return pa.concat_tables(found)


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What one batch did.

    Attributes:
        row: Its ledger row.
        top: Its most frequent words, highest first, ties by word; those of a correction by the size of the difference.
        distinct: How many words it has.
    """

    row: Mapping[str, Any]
    top: tuple[tuple[str, int], ...]
    distinct: int


class Follower:
    """Follows one table by batch number, whatever compaction and vacuum do to its files.

    Args:
        table: The table; it may not be there yet.
        first: The first batch to return; None: those that commit from now on.
        limit: Words of each batch.
    """

    def __init__(self, table: WordCounts, first: int | None, limit: int) -> None:
        self._table = table
        self._limit = limit
        self._last = None if first is None else first - 1
        self._table_id: str | None = None
        self._seen: tuple[int, FileInfo | None] | None = None
        self.founded = False

    def next(self) -> list[BatchCounts]:
        """Return the next batches, a few at most; none where nothing new has committed. Costs two stats then.

        Raises:
            SourceUnavailable: The table's file system does not answer; it may the next time.
            TableRefused: It is not a table of Wordtide's.
        """
        if self._seen is not None and not self._changed(*self._seen):
            return []
        self._seen = None
        handle = self._table.open()
        self.founded = handle is not None
        if handle is None:
            # Whatever comes from now on is new, from its founding on.
            self._last = -1 if self._last is None or self._table_id is not None else self._last
            self._table_id = None
            return []
        with self._table.answers():
            stored = handle.transaction_version(BATCH_APP)
            if stored is None:
                raise TableRefused(f"table {self._table.uri} was not founded by Wordtide; name another folder")
            self._recognise(str(handle.metadata().id), stored)
            assert self._last is not None
            found = self._read(handle, self._last, stored) if stored > self._last else []
            if found:
                self._last = found[-1].row["batch"]
            if self._last >= stored:
                self._seen = handle.version(), self._table.entry(handle.version())
        return found

    def _recognise(self, table_id: str, stored: int) -> None:
        if self._table_id not in (None, table_id):
            self._last = -1
        elif self._last is None:
            self._last = stored
        self._table_id = table_id

    def _changed(self, version: int, entry: FileInfo | None) -> bool:
        # The second for a table that was deleted or founded anew, whose versions are numbered alike.
        return self._table.entry(version + 1) is not None or self._table.entry(version) != entry

    def _read(self, handle: DeltaTable, after: int, stored: int) -> list[BatchCounts]:
        rows = ledger_rows(self._table, handle, after, min(stored, after + BATCHES_AT_ONCE))
        sizes = accumulate(row["distinct"] for row in rows)
        few = sum(1 for size in sizes if size <= ROWS_AT_ONCE) or 1
        counts = count_rows(self._table, handle, after, rows[:few][-1]["batch"])
        return [self._counts_of(row, counts.filter(pc.field("batch") == row["batch"])) for row in rows[:few]]

    def _counts_of(self, row: Mapping[str, Any], counts: pa.Table) -> BatchCounts:
        words = counts.group_by("word").aggregate([("count", "sum")]).filter(pc.field("count_sum") != 0)
        size = pc.abs(words["count_sum"]) if row["replaces"] is not None else words["count_sum"]
        order = [("size", "descending"), ("word", "ascending")]
        top = words.append_column("size", size).sort_by(order).slice(0, self._limit)
        return BatchCounts(
            row, tuple(zip(top["word"].to_pylist(), top["count_sum"].to_pylist(), strict=True)), len(words)
        )

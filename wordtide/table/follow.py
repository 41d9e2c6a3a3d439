"""A table's batches as they commit, each with its counts: what `wordtide watch` and the live view read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from wordtide.core.problems import TableRefused
from wordtide.storage import FileInfo
from wordtide.table.commit import BATCH_APP, WordCounts
from wordtide.table.record import LedgerRow
from wordtide.table.scan import newest_counts, newest_rows

BATCHES_AT_ONCE = 20
"""Whoever begins with an old batch of a long table gets it piece by piece."""
ROWS_AT_ONCE = 1 << 20
"""And no more count rows at once than this, unless a single batch has more."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What one batch did.

    Attributes:
        row: Its ledger row.
        top: Its most frequent words, highest first, ties by word; those of a correction by the size of the difference.
        distinct: How many words it has.
    """

    row: LedgerRow
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
                self._last = found[-1].row.batch
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
        storage, root = self._table.storage, self._table.root
        rows = newest_rows(storage, root, handle, after, min(stored, after + BATCHES_AT_ONCE))
        sizes = accumulate(row.distinct for row in rows)
        few = sum(1 for size in sizes if size <= ROWS_AT_ONCE) or 1
        counts = newest_counts(storage, root, handle, after, rows[:few][-1].batch)
        return [self._counts_of(row, counts.filter(pc.field("batch") == row.batch)) for row in rows[:few]]

    def _counts_of(self, row: LedgerRow, counts: pa.Table) -> BatchCounts:
        words = counts.group_by("word").aggregate([("count", "sum")]).filter(pc.field("count_sum") != 0)
        size = pc.abs(words["count_sum"]) if row.replaces is not None else words["count_sum"]
        order = [("size", "descending"), ("word", "ascending")]
        top = words.append_column("size", size).sort_by(order).slice(0, self._limit)
        return BatchCounts(
            row, tuple(zip(top["word"].to_pylist(), top["count_sum"].to_pylist(), strict=True)), len(words)
        )

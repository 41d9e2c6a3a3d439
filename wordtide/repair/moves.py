"""Under which paths the ledger had a landed file, batch by batch: it may have been moved, and paths are used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.core.model import Status
from wordtide.table.record import LedgerEntry
from wordtide.table.scan import Scan, batches_in
from wordtide.table.splits import paths_freed_by


@dataclass(frozen=True, slots=True)
class Name:
    """A path that was a file's own in batches ``after < batch < before``; with ``before`` None it still is."""

    path: str
    after: int
    before: int | None

    def holds(self, batch: int) -> bool:
        """Return whether the path was the file's own in a batch."""
        return self.after < batch and (self.before is None or batch < self.before)


def entries_that_free(handle: DeltaTable) -> Iterator[LedgerEntry]:
    """Yield the ledger rows after which paths may be another file's; in no order."""
    frees = ds.field("status").isin([Status.PUT_AWAY.value, Status.SETTLED.value, Status.STALLED.value])
    yield from Scan(handle).entries(batches_in() & frees)


def names_in_time(handle: DeltaTable, path: str) -> list[Name]:
    """Return the paths of the file that has a path now, the present one first."""
    freed: dict[str, list[int]] = {}
    moves: dict[str, list[tuple[int, str]]] = {}
    for entry in entries_that_free(handle):
        for one in paths_freed_by(entry):
            freed.setdefault(one, []).append(entry.batch)
        for record in entry.splits if entry.status == Status.SETTLED else ():
            origin = record.detail.get("moved_from") or record.detail.get("was")
            if origin is not None and record.path is not None:
                moves.setdefault(record.path, []).append((entry.batch, origin))
    return _names(path, freed, moves)


def _names(path: str, freed: dict[str, list[int]], moves: dict[str, list[tuple[int, str]]]) -> list[Name]:
    found: list[Name] = []
    before: int | None = None
    while True:
        after = max((batch for batch in freed.get(path, ()) if before is None or batch < before), default=-1)
        # A row frees before it takes: what came by the row that freed the path is the file.
        came = [(batch, origin) for batch, origin in moves.get(path, ()) if before is None or batch < before]
        name = Name(path, after, before)
        found.append(name)
        batch, origin = max(came, default=(-1, path))
        if batch < max(after, 0):
            return found
        # It left that path in this batch; or earlier, when it could not be read.
        path, before = origin, max((one for one in freed.get(origin, ()) if one <= batch), default=batch)


def paths_of(names: Sequence[Name], batch: int) -> set[str]:
    """Return those that were the file's own in a batch."""
    return {name.path for name in names if name.holds(batch)}

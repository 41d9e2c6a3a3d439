"""A landing folder: listed on its file system, its files read as byte ranges."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from wordtide.batch import FileSplit, Founding, Parked, Split, SplitProof
from wordtide.config import Stream
from wordtide.errors import TableRefused
from wordtide.planning.landing import cut as cut_file
from wordtide.planning.landing import is_candidate, plan_landing
from wordtide.reading.files import CorruptFile, NotReady, read_files, verify_unchanged
from wordtide.reading.text import Text
from wordtide.sources.base import Position, SourcePlan
from wordtide.storage import FileInfo, Storage
from wordtide.table.ledger import Ledger

PIECE_BYTES = 32 << 20
"""Smaller pieces of a file are not worth a task of their own."""


@dataclass(frozen=True, slots=True)
class LandingReader:
    """Reads splits of landed files as text.

    Attributes:
        storage: The file system they are on.
        window_us: Length of an event-time window, µs.
        latest_ms: Later modification times are clamped to this one (ms since the epoch).
    """

    storage: Storage
    window_us: int
    latest_ms: int

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the lines of all splits as text and return their proofs."""
        files = [split for split in splits if isinstance(split, FileSplit)]
        return (yield from read_files(self.storage, files, window_us=self.window_us, latest_ms=self.latest_ms))

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the files divided into about ``tasks`` pieces of equal size; large plain files are cut."""
        files = [split for split in splits if isinstance(split, FileSplit)]
        total = sum(split.length for split in files)
        piece = max(PIECE_BYTES, -(-total // max(tasks, 1)))
        parts = [part for split in files for part in cut_file(split, piece)]
        groups: list[list[Split]] = [[]]
        held = 0
        # Many small files: equal bytes alone would leave all of them to one task when they are empty or tiny.
        most = max(1, -(-len(parts) // max(tasks, 1)))
        for part in parts:
            if groups[-1] and (held + part.end - part.start > piece or len(groups[-1]) >= most):
                groups.append([])
                held = 0
            groups[-1].append(part)
            held += part.end - part.start
        return [group for group in groups if group]


class LandingFolder:
    """A landing folder as a source."""

    def __init__(self, stream: Stream, storage: Storage, root: str) -> None:
        if stream.config.landing is None:
            raise ValueError(f"stream {stream.name} has no landing source")
        self._config = stream.config
        self._landing = stream.config.landing
        self._storage = storage
        self._root = root
        self._bound: frozenset[str] | None = None
        self._refused: dict[tuple[str, int, int], str] = {}
        self._namespace: str | None = None
        self._suspects: set[str] = set()

    def candidates(self) -> list[FileInfo]:
        """List the files that may be meant for us by name and glob; age and position are for the plan."""
        skip = len(self._root.rstrip("/")) + 1
        glob = self._landing.glob
        return [file for file in self._storage.list_files(self._root) if is_candidate(file.path[skip:], glob)]

    def found(self) -> Founding:
        """Record whose files they are. The folder must exist."""
        self._storage.list_files(self._root)
        return Founding(self._identity(), (), ())

    def _identity(self) -> dict[str, str]:
        if self._namespace is None:
            self._namespace = self._storage.namespace()
        return {"namespace": self._namespace, "path": self._root}

    def fix_ends(self) -> None:
        """Take no file that is not there at this moment."""
        self._bound = frozenset(file.path for file in self.candidates())

    def plan(self, ledger: Ledger, position: Position) -> SourcePlan:
        """Plan the next batch from a listing and the files the ledger holds."""
        del position  # files are their own position
        if ledger.identity and ledger.identity != self._identity():
            raise TableRefused(
                f"the table belongs to the landing folder {ledger.identity['path']} ({ledger.identity['namespace']}),"
                f" not to {self._root} ({self._namespace}); put streams.yaml back, or name a new stream"
            )
        listing = [file for file in self.candidates() if self._bound is None or file.path in self._bound]
        refused = {
            FileSplit(file.path, file.length, file.mtime_ms, 0, file.length): reason
            for file in listing
            if (reason := self._refused.get((file.path, file.length, file.mtime_ms))) is not None
            and file.path not in ledger.parked
        }
        plan = plan_landing(
            listing,
            ledger.files,
            ledger.parked.keys() | {split.path for split in refused},
            now_ms=int(time.time() * 1000),
            min_age_s=self._landing.min_age,
            max_files=self._config.max_files,
            max_bytes=self._config.max_bytes,
            under_construction=self._storage.under_construction,
            suspects=self._suspects,
        )
        return SourcePlan(
            plan.splits,
            (),
            (*(Parked(split.path, reason, split) for split, reason in refused.items()), *plan.parked),
            plan.backlog_files - len(plan.splits),
            plan.waiting,
            plan.behind,
            f"{len(ledger.files) + len(plan.splits)} files",
        )

    def reject(self, problem: CorruptFile | NotReady) -> None:
        """Have the next plan park what is corrupt, and look twice at what was not as planned."""
        if isinstance(problem, CorruptFile):
            for file in (problem, *problem.also):
                self._refused[file.split.path, file.split.length, file.split.mtime] = file.reason
        else:
            self._suspects.update(file.path for file in (problem, *problem.also))

    def reader(self, latest_ms: int) -> LandingReader:
        """Return the reader for this folder's files."""
        return LandingReader(self._storage, round(self._config.window * 1_000_000), latest_ms)

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove that no file changed while it was read."""
        del ledger
        files = [split for split in splits if isinstance(split, FileSplit)]
        verify_unchanged(self._storage, self._root, files)

    def close(self) -> None:
        """Nothing to close: file systems hold no connection that matters."""

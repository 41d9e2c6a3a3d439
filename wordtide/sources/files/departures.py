"""Counted files on their way out of a landing folder, round by round: the steps of `PutAway` in one source's life."""

from __future__ import annotations

import time
from collections.abc import Sequence

from wordtide.core.model import FileSplit, Parked, Taken
from wordtide.core.problems import EnvironmentProblem, WordtideError
from wordtide.sources.files.archive import PutAway, Staged, countable
from wordtide.storage import FileInfo
from wordtide.table.ledger import Ledger

PUT_AWAY_AT_ONCE = 1000
"""Counted files of one round."""
RECORD_SECONDS = 10.0
"""A busy stream records rounds this far apart, unless they are full: each is a commit."""


class Departures:
    """Takes counted files out, a round at a time; a round ends when the ledger has recorded it and its files are gone.

    Args:
        putaway: How.
    """

    def __init__(self, putaway: PutAway) -> None:
        self._putaway = putaway
        self._round: Staged | None = None
        self._table_id = ""
        self._since = 0.0
        self._unfinished = True
        self._candidates: Sequence[FileInfo] = ()
        self._tried: dict[FileInfo, WordtideError | None] = {}
        self._stuck: list[WordtideError] = []

    def offer(self, files: Sequence[FileInfo]) -> None:
        """Name the files of the last listing that are, or are about to be, counted."""
        self._candidates = files

    def holds(self, path: str) -> bool:
        """Return whether the counted file of a path is out and that is not recorded yet."""
        return self._round is not None and path in self._round.proven

    def due(self, ledger: Ledger, *, at_once: bool) -> tuple[Parked, ...]:
        """Return what the ledger is to record as put away, if it is time for that.

        Args:
            ledger: What it has recorded.
            at_once: Do not wait for the round to be full, or old enough.
        """
        if self._round is None or self._table_id != ledger.table_id:
            return ()
        gone = self._unrecorded(ledger, self._round)
        late = time.monotonic() - self._since >= RECORD_SECONDS
        if not (at_once or late or len(gone) >= PUT_AWAY_AT_ONCE):
            return ()
        reason = "deleted after it was counted" if self._putaway.archive is None else "archived after it was counted"
        token = self._round.token
        return tuple(
            Parked(
                path,
                reason,
                FileSplit(path, known.length, known.mtime, 0, known.length, file_id=known.file_id, digest=known.digest),
                detail={"staged": token} | ({"link": "yes"} if path in ledger.links else {}),
            )
            for path, known in sorted(gone.items())
        )

    def _unrecorded(self, ledger: Ledger, staged: Staged) -> dict[str, Taken]:
        if staged.token in ledger.staged:
            return {}
        return {path: known for path, known in staged.proven.items() if ledger.files.get(path) == known}

    def step(self, ledger: Ledger) -> bool:
        """Do the next part of the work; return whether another plan at once is worth it.

        Raises:
            WordtideError: The storage does not answer.
        """
        if self._round is not None and self._table_id == ledger.table_id and self._unrecorded(ledger, self._round):
            return False
        if self._round is not None:
            staged, self._round, self._unfinished = self._round, None, True
            if self._table_id == ledger.table_id:
                # Recorded by us; or by another drain, file by file, which took over what we had staged.
                self._stuck += filter(None, self._putaway.remove(staged.token).values())
                self._unfinished = False
        if self._unfinished:
            staged = self._putaway.restage(ledger)
            self._stuck = [problem for problem in staged.remaining.values() if problem]
            self._unfinished = False
            self._begin(staged, ledger)
        if self._round is None:
            self._stage(ledger)
        return self._round is not None or bool(self._candidates)

    def _stage(self, ledger: Ledger) -> None:
        def wanted(file: FileInfo) -> bool:
            known = countable(ledger, file.path)
            return known is not None and known[:2] == (file.length, file.mtime_ms) and file not in self._tried

        waiting = [file for file in self._candidates if wanted(file)]
        now, self._candidates = waiting[:PUT_AWAY_AT_ONCE], waiting[PUT_AWAY_AT_ONCE:]
        if now:
            self._unfinished = True
            staged = self._putaway.stage(now, ledger)
            self._unfinished = False
            self._tried |= {file: staged.remaining[file.path] for file in now if file.path in staged.remaining}
            self._begin(staged, ledger)

    def _begin(self, staged: Staged, ledger: Ledger) -> None:
        if staged.proven:
            self._round, self._table_id, self._since = staged, ledger.table_id, time.monotonic()

    @property
    def problem(self) -> WordtideError | None:
        """What keeps some files from being put away. Each is tried once in this object's life."""
        problems = [*self._stuck, *filter(None, self._tried.values())]
        if len(problems) > 1:
            return EnvironmentProblem(f"{problems[0]} (and {len(problems) - 1} more files)")
        return problems[0] if problems else None

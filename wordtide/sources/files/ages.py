"""What one run knows of the ages of a landing folder's files: the clocks, and since when young files keep still."""

from __future__ import annotations

import time
from collections.abc import Sequence

from wordtide.config import StreamConfig
from wordtide.sources.files.complete import YOUNG_SECONDS, Sighted, Stillness, still_seconds
from wordtide.storage import FileInfo, Storage

_CLOCK_SECONDS = 300.0
"""A server's clock is asked for again after this."""


class Ages:
    """Remembers between the polls of one run.

    Args:
        config: The stream's.
        storage: Where its files are.
    """

    def __init__(self, config: StreamConfig, storage: Storage) -> None:
        assert config.landing is not None
        self._storage = storage
        self._min_age = config.landing.min_age
        self._still = still_seconds(self._min_age, config.max_run)
        # With short intervals each poll may sight files; with long ones a poll between two regular ones takes what the
        # last regular one sighted, and no more: the next batch is for the next interval.
        self._pause = 0.9 * config.interval if config.interval > self._still else 0.0
        self._sighted: Sighted = {}
        self._sighted_at: float | None = None
        self._behind_ms = 0
        self._asked_at: float | None = None

    def stillness(self, files: Sequence[FileInfo], at: float) -> Stillness:
        """Return what decides which of these files are complete, in a poll begun at a monotonic time."""
        ours = time.time_ns() // 1_000_000
        if self._min_age > 0:
            before_ms = ours - max(YOUNG_SECONDS, self._min_age) * 1000
            if any(file.mtime_ms <= before_ms for file in files):
                self._ask_clock(at)
        return Stillness(at, ours - self._behind_ms, self._min_age, self._still, self._sighted)

    def sight(self, stillness: Stillness, young: Sequence[FileInfo], kept: Sequence[FileInfo] = ()) -> float | None:
        """Remember the files that are too young, and return when the first of them is due (monotonic seconds).

        Args:
            stillness: This poll's.
            young: The files.
            kept: Others whose sightings are still needed, and that nobody waits for.
        """
        at, before = stillness.now, self._sighted_at
        regular = before is None or at == before or at - before >= self._pause
        if regular:
            self._sighted_at = at
        self._sighted = stillness.sight((*young, *kept), new=regular)
        waited_for = {file.path for file in young}
        return stillness.due({path: one for path, one in self._sighted.items() if path in waited_for})

    def _ask_clock(self, at: float) -> None:
        """Learn by how much the server's clock is behind ours: what seems old by ours may be new by its own."""
        if self._asked_at is None or at - self._asked_at >= _CLOCK_SECONDS:
            self._behind_ms = max(0, time.time_ns() // 1_000_000 - self._storage.clock_ms())
            self._asked_at = at

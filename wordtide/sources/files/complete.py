"""When a landed file is complete. Pure: what earlier polls saw, and the time on our own monotonic clock, come in.

No clock but our own can be trusted to say that nobody writes to a file any more: that of the file server may be ahead
or behind. So a file whose mtime is about now is complete when two polls, `min_age` apart on our own clock, saw the same
length, mtime and whatever else a listing shows of its identity. What is older than an hour is taken as it is. An mtime
in the near future shows that the clocks do differ, and that nothing but keeping still speaks for the file: for twice as
long. (A run by hand, which waits once for `min_age`, leaves such a file to the next.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wordtide.storage.base import FileInfo

YOUNG_SECONDS = 3600.0
"""By so much clocks may differ: a file with an older mtime is not being written."""

Sighted = Mapping[str, tuple[FileInfo, float]]
"""Young files by path, as they were first seen in their present state, and when (monotonic seconds)."""


def still_seconds(min_age: float, max_run: float) -> float:
    """Return for how many seconds a young file must be seen unchanged: within one run, so at most half of that."""
    return min(min_age, max_run / 2)


@dataclass(frozen=True, slots=True)
class Stillness:
    """What decides whether files are complete in one poll.

    Attributes:
        now: This poll, monotonic seconds.
        clock_ms: The earliest of the clocks involved (ours, the server's), ms since the epoch.
        min_age: Seconds a file must have been left alone; 0: every file is complete at once.
        still: Seconds for which a young file must be seen unchanged.
        sighted: What earlier polls saw.
    """

    now: float
    clock_ms: int
    min_age: float
    still: float
    sighted: Sighted = field(default_factory=dict)

    @property
    def young_after_ms(self) -> float:
        """Files with a later mtime are young; with `min_age` 0 none is."""
        if self.min_age <= 0:
            return float("inf")
        return self.clock_ms - max(YOUNG_SECONDS, self.min_age) * 1000

    def takes(self, file: FileInfo) -> bool:
        """Return whether a file is complete, be it young or old."""
        return file.mtime_ms <= self.young_after_ms or self.is_complete(file)

    def is_complete(self, file: FileInfo) -> bool:
        """Return whether a young file is complete."""
        if self.still < self.min_age and -self.min_age * 1000 < file.mtime_ms - self.clock_ms <= 0:
            return False
        before = self.sighted.get(file.path)
        return before is not None and before[0] == file and self.now - before[1] >= self._needed(file)

    def _needed(self, file: FileInfo) -> float:
        """Return for how many seconds a young file must be seen unchanged."""
        ahead = 0 < file.mtime_ms - self.clock_ms <= YOUNG_SECONDS * 1000
        return 2 * self.still if ahead else self.still

    def looks_complete(self, file: FileInfo) -> bool:
        """Return whether a young file would be complete if its mtime and our clock could be believed."""
        return abs(file.mtime_ms - self.clock_ms) >= self.min_age * 1000

    def sight(self, waiting: Iterable[FileInfo], *, new: bool = True) -> Sighted:
        """Return what the next poll needs to know: of files that still wait, and of no other.

        Args:
            waiting: Young files that are not complete.
            new: Whether those not seen before, or not like this, are taken in; else only those seen are kept.
        """
        seen: dict[str, tuple[FileInfo, float]] = {}
        for file in waiting:
            before = self.sighted.get(file.path)
            if before is not None and before[0] == file:
                seen[file.path] = before
            elif new:
                seen[file.path] = (file, self.now)
        return seen

    def due(self, sighted: Sighted) -> float | None:
        """Return when (monotonic seconds) the first of the files sighted may be complete; None without any."""
        return min((since + self._needed(file) for file, since in sighted.values()), default=None)

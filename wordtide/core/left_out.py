"""What a source holds that nobody takes, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

NAMED = 3
"""Names in a line for people."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the glob wants and nobody takes.

    Attributes:
        files: How many files are left out by their names.
        oldest_ms: Modification time of the oldest of them, ms since the epoch; None without any.
        names: Paths of some of them, the oldest first.
        odd: What is neither a file nor a folder: each path with what it is. Some of them.
        odds: How many of those there are.
    """

    files: int = 0
    oldest_ms: int | None = None
    names: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    odds: int = 0

    def __bool__(self) -> bool:
        return bool(self.files or self.odds)

    @property
    def since(self) -> datetime | None:
        """When the oldest was last written to, as far as that is a time."""
        try:
            return None if self.oldest_ms is None else datetime.fromtimestamp(self.oldest_ms / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return None

    @property
    def line(self) -> str:
        """What is left out, for a person; empty if nothing is."""
        said = []
        if self.files:
            noun = "file" if self.files == 1 else "files"
            since = f", oldest modified {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since is not None else ""
            named = ", ".join(name.rpartition("/")[2] for name in self.names[:NAMED])
            said.append(f"{self.files:,} {noun} left out by name{since}: {named}{_more(self.files)}")
        if self.odds:
            said.append(f"not taken: {', '.join(self.odd[:NAMED])}{_more(self.odds)}")
        return "; ".join(said)


NOTHING_LEFT_OUT = LeftOut()


def _more(count: int) -> str:
    return f" and {count - NAMED:,} more" if count > NAMED else ""

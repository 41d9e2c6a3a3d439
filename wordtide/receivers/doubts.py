"""What is said and kept of doubtful lines: they were landed, and may be repeats."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Doubts:
    """The doubtful lines of a landing folder, ever since it is one.

    Attributes:
        lines: How many have landed.
        file: Of the last of them: the agent's path.
        agent: The agent's name, or its address.
        at: When that was, in UTC.
    """

    lines: int = 0
    file: str = ""
    agent: str = ""
    at: datetime | None = None

    def more(self, lines: int, agent: str, file: str) -> Doubts:
        """Return them with some that are found now."""
        return Doubts(self.lines + lines, file, agent, datetime.now(UTC)) if lines else self

    def note(self) -> dict[str, Any]:
        """Return them as JSON can hold them."""
        at = self.at.isoformat(timespec="seconds") if self.at else ""
        return {"lines": self.lines, "file": self.file, "agent": self.agent, "at": at}

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Doubts:
        """Return what `note` wrote; none for what 0.1.0 did, which counted none.

        Raises:
            ValueError: It did not.
            TypeError: It did not.
        """
        at = str(note.get("at", ""))
        return cls(
            int(note.get("lines", 0)),
            str(note.get("file", "")),
            str(note.get("agent", "")),
            datetime.fromisoformat(at) if at else None,
        )


class DoubtsSaid:
    """Says that doubtful lines land: at once, then at most once a minute how many more.

    Args:
        say: Takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._unsaid = 0
        self._last = ""
        self._due = 0.0

    def add(self, lines: int, agent: str, file: str, why: str) -> None:
        """They are about to land."""
        with self._lock:
            self._unsaid += lines
            self._last = f"{file} of agent {agent!r} {why}"
        self.watch()

    def watch(self) -> None:
        """Say what is due: to be called now and then."""
        with self._lock:
            if not self._unsaid or time.monotonic() < self._due:
                return
            lines = f"{self._unsaid:,} doubtful line{'s' if self._unsaid > 1 else ''}"
            self._unsaid, self._due = 0, time.monotonic() + _EVERY_SECONDS
            last = self._last
        self._say(f"{lines} landed, possibly repeated: {last}")

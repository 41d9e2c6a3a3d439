"""What is said about something that comes and goes: each change, until there are too many."""

from __future__ import annotations

import time

from wordtide.receivers.landing import Say

LASTS_SECONDS = 60.0
MOST = 10


class Changes:
    """Says each change; after so many that lasted less than a minute, only what lasts that long.

    Args:
        say: Takes a line.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._since = 0.0
        self._brief = 0
        self._unsaid = ""

    def now(self, text: str) -> None:
        """It has just become so."""
        self.watch()
        self._brief = self._brief + 1 if self._lasts() < LASTS_SECONDS else 0
        self._since = time.monotonic()
        self._unsaid = text if self._brief >= MOST else ""
        if self._brief < MOST:
            self._say(text)
        elif self._brief == MOST:
            self._say(f"{text}; it keeps changing, so from now on only what lasts a minute is said")
            self._unsaid = ""

    def watch(self) -> None:
        """Say what was not said and has lasted since: to be called now and then."""
        if self._unsaid and self._lasts() >= LASTS_SECONDS:
            self._say(self._unsaid)
            self._unsaid = ""

    def _lasts(self) -> float:
        return time.monotonic() - self._since

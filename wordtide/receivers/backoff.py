"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from try to try up to a bound, each shortened by chance so that many do not come back at once.

    Args:
        first: Seconds before the second try.
        most: Seconds that no wait exceeds.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._current = first

    def next(self) -> float:
        """Return the seconds to wait now: between half and all of what it has grown to."""
        seconds = self._current * random.uniform(0.5, 1.0)  # noqa: S311 no secret
        self._current = min(self._current * 2, self._most)
        return seconds

    def reset(self) -> None:
        """Begin anew: it went well."""
        self._current = self._first

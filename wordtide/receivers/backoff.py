"""How long to wait before the next try."""

from __future__ import annotations

import random

from wordtide.core.retries import pause_after


class Backoff:
    """Waits that double from try to try up to a bound, each shortened by chance so that many do not come back at once.

    Args:
        first: Seconds before the second try.
        most: Seconds that no wait exceeds.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def next(self) -> float:
        """Return the seconds to wait now: between half and all of what it has grown to."""
        self._failures += 1
        return pause_after(self._failures, self._first, self._most) * random.uniform(0.5, 1.0)  # noqa: S311 no secret

    def reset(self) -> None:
        """Begin anew: it went well."""
        self._failures = 0

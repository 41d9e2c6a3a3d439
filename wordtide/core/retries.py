"""When what has failed is tried again: sooner first, then ever more rarely. Pure: times come in as numbers."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field

_DOUBLINGS = 60
"""More make no difference, and a float has an end."""


def pause_after(failures: int, first: float, longest: float) -> float:
    """Return the seconds to wait after so many failures in a row: `first`, doubled with each further one."""
    return min(first * 2.0 ** min(failures - 1, _DOUBLINGS), longest)


@dataclass(slots=True)
class Retries:
    """Remembers what has failed, and when each is due again. What it does not know is due.

    Attributes:
        first: Seconds until the first retry, see `pause_after`.
        longest: Seconds that no pause exceeds.
        waits: Monotonic time each is due at, and how often it has failed in a row.
    """

    first: float
    longest: float
    waits: dict[Hashable, tuple[float, int]] = field(default_factory=dict)

    def failed(self, key: Hashable, now: float) -> None:
        """Take in that it has failed, once more perhaps."""
        failures = self.waits.get(key, (now, 0))[1] + 1
        self.waits[key] = (now + pause_after(failures, self.first, self.longest), failures)

    def due(self, key: Hashable, now: float) -> bool:
        """Return whether it is to be tried now."""
        return key not in self.waits or now >= self.waits[key][0]

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        self.waits = {key: wait for key, wait in self.waits.items() if key in keys}

"""When what has failed is tried again: sooner first, then ever more rarely. Pure: times come in as numbers."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Retries:
    """Remembers what has failed, and when each is due again. What it does not know is due.

    Attributes:
        first: Seconds until the first retry; each further one is twice as late.
        longest: Seconds that never grow.
        waits: Monotonic time each is due at, and the seconds it has been waiting for that.
    """

    first: float
    longest: float
    waits: dict[Hashable, tuple[float, float]] = field(default_factory=dict)

    def failed(self, key: Hashable, now: float) -> None:
        """Take in that it has failed, once more perhaps."""
        before = self.waits.get(key)
        pause = self.first if before is None else min(2 * before[1], self.longest)
        self.waits[key] = (now + pause, pause)

    def due(self, key: Hashable, now: float) -> bool:
        """Return whether it is to be tried now."""
        return key not in self.waits or now >= self.waits[key][0]

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        self.waits = {key: wait for key, wait in self.waits.items() if key in keys}

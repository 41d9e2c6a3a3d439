"""What does not move for the moment, and since when. Pure: times come in as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wordtide.batch import KafkaSplit, Parked, Split


@dataclass(frozen=True, slots=True)
class Held:
    """A partition that cannot go on from its position at this moment.

    Attributes:
        parked: Its name, why, and the offsets from its position on that wait.
        usual: Whether that is everyday life for a short time: a transaction that is open.
        recorded: Whether the ledger says so already, at this position.
    """

    parked: Parked
    usual: bool
    recorded: bool

    @property
    def line(self) -> str:
        """What and why, for a person."""
        return f"{self.parked.what}: {self.parked.reason}"


@dataclass(slots=True)
class Stalls:
    """Remembers, within one run, since when each position has been held.

    Attributes:
        limit: Seconds after which what is held is stalled.
        since: Monotonic seconds at which a (name, offset) was first seen held.
    """

    limit: float
    since: dict[tuple[str, int], float] = field(default_factory=dict)

    def due(self, held: Sequence[Held], planned: Iterable[Split], now: float, clock: datetime) -> tuple[Parked, ...]:
        """Take in one look and return what is to be recorded as stalled: once a position.

        Args:
            held: What the look found held.
            planned: What is to be read: one that is tried again and has not moved is held since it first was.
            now: Monotonic seconds.
            clock: The time now, UTC; the reasons say since when.
        """
        here = {_place(one.parked) for one in held}
        here |= {(split.what, split.start) for split in planned if isinstance(split, KafkaSplit)}
        self.since = {place: began for place, began in self.since.items() if place in here}
        due = []
        for one in held:
            began = self.since.setdefault(_place(one.parked), now)
            if not one.recorded and now - began >= self.limit:
                since = clock - timedelta(seconds=now - began)
                reason = f"{one.parked.reason}, since {since:%Y-%m-%d %H:%M:%S} UTC"
                due.append(Parked(one.parked.what, reason, one.parked.split))
        return tuple(due)


def _place(parked: Parked) -> tuple[str, int]:
    assert isinstance(parked.split, KafkaSplit)
    return parked.what, parked.split.start

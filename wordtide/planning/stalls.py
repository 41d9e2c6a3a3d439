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


@dataclass(frozen=True, slots=True)
class Standing:
    """What cannot go on by itself, as the ledger has it.

    Attributes:
        parked: What waits for a decision, in order.
        stalled: What is recorded as stalled and still is, each with why.
        settled: Whether nothing is about to be recorded: no loss that is looked at once more, and nothing held but by
            what is everyday life.
    """

    parked: tuple[str, ...]
    stalled: tuple[str, ...]
    settled: bool

    def __bool__(self) -> bool:
        return bool(self.parked or self.stalled)

    @classmethod
    def of(cls, parked: Iterable[str], lost: Sequence[Parked], held: Sequence[Held]) -> Standing:
        """Return what stands still, of what the ledger has parked and what a look found lost and held."""
        settled = not lost and all(one.recorded or one.usual for one in held)
        return cls(tuple(sorted(parked)), tuple(one.line for one in held if one.recorded), settled)


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

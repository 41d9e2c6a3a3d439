"""What does not move for the moment, and since when. Pure: times come in as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from wordtide.core.model import FileSplit, Parked, Split

CONFIRM_SECONDS = 1.0
"""A loss, and what cannot be read, is believed when a second poll, this much later, shows it too."""

_Place = tuple[str, int] | tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """A partition that cannot go on from its position at this moment, or a file that cannot be read.

    Attributes:
        parked: Its name, why, and the offsets from its position on that wait, or the file's identity.
        usual: Whether that is everyday life for a short time: a transaction that is open.
        recorded: Whether the ledger says so already, at this position.
        after: Seconds after which it is recorded; None: what the stream says.
        changed: Whether the ledger says so for another reason, and is to be told this one.
    """

    parked: Parked
    usual: bool
    recorded: bool
    after: float | None = None
    changed: bool = False

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
        left_out: What nobody takes, as one line: names of files in progress, what is no file. No reason to stand still.
    """

    parked: tuple[str, ...]
    stalled: tuple[str, ...]
    settled: bool
    left_out: str = ""

    def __bool__(self) -> bool:
        return bool(self.parked or self.stalled)

    @classmethod
    def of(cls, parked: Iterable[str], lost: Sequence[Parked], held: Sequence[Held], left_out: str = "") -> Standing:
        """Return what stands still, of what the ledger has parked and what a look found lost and held."""
        settled = not lost and all(one.recorded or one.usual for one in held)
        return cls(tuple(sorted(parked)), tuple(one.line for one in held if one.recorded), settled, left_out)


@dataclass(slots=True)
class Stalls:
    """Remembers, within one run, since when each position has been held.

    Attributes:
        limit: Seconds after which what is held is stalled.
        since: Monotonic seconds at which a partition at an offset, or a file, was first seen held.
    """

    limit: float
    since: dict[_Place, float] = field(default_factory=dict)

    def due(self, held: Sequence[Held], planned: Iterable[Split], now: float, clock: datetime) -> tuple[Parked, ...]:
        """Take in one look and return what is to be recorded as stalled: once a position.

        Args:
            held: What the look found held.
            planned: What is to be read: one that is tried again and has not moved is held since it first was.
            now: Monotonic seconds.
            clock: The time now, UTC; the reasons say since when.
        """
        if self.since:
            here = {_place(one.parked.split) for one in held} | {_place(split) for split in planned}
            self.since = {place: began for place, began in self.since.items() if place in here}
        due = []
        for one in held:
            began = self.since.setdefault(_place(one.parked.split), now)
            limit = self.limit if one.after is None else one.after
            if (not one.recorded or one.changed) and now - began >= limit:
                since = clock - timedelta(seconds=now - began)
                reason = f"{one.parked.reason}, since {since:%Y-%m-%d %H:%M:%S} UTC"
                due.append(replace(one.parked, reason=reason))
        return tuple(due)


def _place(split: Split | None) -> _Place:
    assert split is not None
    if isinstance(split, FileSplit):
        return split.path, split.length, split.mtime
    return split.what, split.start

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
        return self.parked.line


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockers:
    """What keeps part of a source from being counted; false if nothing does.

    Attributes:
        parked: Names of what waits for a decision, in order.
        stalled: What cannot move or be read and goes on by itself, each with why.
        left_out: What nobody takes, as one line: names of files in progress, what is no file. It blocks nothing.
    """

    parked: tuple[str, ...] = ()
    stalled: tuple[Parked, ...] = ()
    left_out: str = ""

    def __bool__(self) -> bool:
        return bool(self.parked or self.stalled)

    @classmethod
    def recorded(cls, parked: Iterable[str], held: Iterable[Held], left_out: str = "") -> Blockers:
        """Return what the ledger has recorded and the last poll still found so.

        Args:
            parked: Names of what the ledger has parked.
            held: What the poll found held. What the ledger does not have yet may pass within seconds.
            left_out: What the poll found that nobody takes.
        """
        return cls(
            parked=tuple(sorted(parked)), stalled=tuple(one.parked for one in held if one.recorded), left_out=left_out
        )

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what is parked and of what is stalled. Reasons change as records wait; these do not."""
        return self.parked, tuple(one.what for one in self.stalled)


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

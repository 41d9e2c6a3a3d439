"""Which batches have an event: read from the events there are, decided purely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

FIRST_TAG = "wordtide_first"
LAST_TAG = "wordtide_batch"
"""On events of batches: the numbers they cover. The event that ends a run covers none and has neither."""
THROUGH_TAG = "wordtide_reported_through"
"""On the event that ends a run: up to here every batch has an event."""


@dataclass(slots=True)
class Reported:
    """The batches that have an event.

    Attributes:
        through: All up to here.
        beyond: These as well.
    """

    through: int = 0
    beyond: set[int] = field(default_factory=set)

    def add(self, first: int, last: int) -> None:
        """Take in the batches from ``first`` to ``last``."""
        if first <= self.through + 1:
            self.through = max(self.through, last)
        else:
            self.beyond.update(range(first, last + 1))
        while self.through + 1 in self.beyond:
            self.through += 1
        self.beyond = {number for number in self.beyond if number > self.through}

    def __contains__(self, number: int) -> bool:
        return number <= self.through or number in self.beyond


def reported_by(events: Sequence[Mapping[str, str]], *, more: bool) -> Reported:
    """Return what the newest events of a table say has been reported.

    Args:
        events: Their tags.
        more: Whether there are older events, unread: what is older than all that were read has had its turn.
    """
    covered = [(int(tags.get(FIRST_TAG, tags[LAST_TAG])), int(tags[LAST_TAG])) for tags in events if LAST_TAG in tags]
    through = max((int(tags[THROUGH_TAG]) for tags in events if THROUGH_TAG in tags), default=0)
    if more and covered:
        through = max(through, min(covered)[0] - 1)
    reported = Reported(through)
    for first, last in sorted(covered):
        reported.add(first, last)
    return reported


def unreported(numbers: Iterable[int], reported: Reported, singles: int) -> tuple[list[int], list[int]]:
    """Return which batches share one event and which, the newest, get one each."""
    missing = [number for number in numbers if number not in reported]
    return missing[:-singles], missing[-singles:]

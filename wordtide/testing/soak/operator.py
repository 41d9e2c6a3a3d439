"""An operator who decides about whatever is parked, by the library's own functions, and replays what was published."""

from __future__ import annotations

import random
import time
from collections import Counter

from wordtide.config import Stream
from wordtide.core.model import Decision, FileSplit, KafkaSplit, Verdict
from wordtide.core.problems import DecisionRefused, SourceUnavailable, WordtideError
from wordtide.core.source import Source
from wordtide.repair.recount import find_published, publish, recount
from wordtide.repair.resolve import resolve, until_committed
from wordtide.table.ledger import Ledger, ParkedSince
from wordtide.testing.place import Place
from wordtide.testing.soak.journal import Journal

NAME = "soak"


class Operator:
    """Looks after one stream.

    Args:
        place: Whose stream it is.
        stream: The stream.
        chance: Decides.
        journal: Is told of each decision.
    """

    def __init__(self, place: Place, stream: Stream, chance: random.Random, journal: Journal) -> None:
        self._stream = stream
        self._chance = chance
        self._journal = journal
        self._table = place.table(stream)
        self._source: Source = place.source(stream)
        self._ledger: Ledger | None = None
        self._due: dict[str, float] = {}
        self._tried: Counter[tuple[tuple[Verdict, ...], Verdict]] = Counter()

    def parked(self) -> dict[str, ParkedSince]:
        """Return what is parked."""
        snapshot = self._table.snapshot(self._ledger)
        self._ledger = snapshot.ledger if snapshot else None
        return dict(self._ledger.parked) if self._ledger else {}

    def look(self, patience: float) -> None:
        """Decide about what has been parked for a while; ``patience`` is the longest, in seconds."""
        parked, now = self.parked(), time.monotonic()
        for gone in self._due.keys() - parked.keys():
            del self._due[gone]
        for what, since in parked.items():
            due = self._due.setdefault(what, now + self._chance.uniform(0.0, patience))
            if now >= due:
                self._decide(what, since)

    def _decide(self, what: str, since: ParkedSince) -> None:
        if isinstance(since.split, KafkaSplit):
            verdicts = [Verdict.SKIP]
        elif isinstance(since.split, FileSplit):
            verdicts = [Verdict.SKIP, Verdict.RECOUNT]
        else:
            verdicts = [Verdict.SKIP, Verdict.FROM_EARLIEST]
        # Each as often as the others: a recreated topic is rare enough.
        verdict = min(verdicts, key=lambda verdict: (self._tried[tuple(verdicts), verdict], self._chance.random()))
        self._tried[tuple(verdicts), verdict] += 1
        try:
            committed = resolve(self._stream, self._source, self._table, what, Decision(verdict, NAME))
        except WordtideError as error:
            # A file that is gone, another topic by now, a file that cannot be read: another decision next time.
            self._journal.note(f"refused {verdict}", parked=what, error=f"{type(error).__name__}: {error}")
            return
        self._journal.note(f"decided {verdict}", parked=what, reason=since.reason, batch=committed.batch.number)

    def replay(self) -> None:
        """Read a batch again, as `wordtide replay --apply` does.

        Raises:
            AssertionError: A topic's batch holds other words than were published.
        """
        snapshot = self._table.snapshot()
        if snapshot is None or snapshot.ledger.last < 1:
            return
        number = self._chance.randrange(1, snapshot.ledger.last + 1)
        found = find_published(snapshot.handle, lambda row: row.batch == number)
        if not found:
            return
        try:
            difference = recount(self._stream, self._source, snapshot, found[0])
            if len(difference.rows) and self._stream.config.kafka is not None:
                raise AssertionError(f"batch {number} was published wrong: {difference.changes.to_pylist()[:20]}")
            if len(difference.rows):
                decision = Decision(Verdict.REPLAY, NAME)
                until_committed(lambda: publish(self._table, self._source, difference, decision))
        except (DecisionRefused, SourceUnavailable) as error:
            self._journal.note("refused replay", batch=number, error=str(error))
            return
        self._journal.note("replay", batch=number, words=len(difference.rows))

    def close(self) -> None:
        """Close connections."""
        self._source.close()

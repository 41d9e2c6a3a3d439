"""Looks at streams for metrics and alerts, a thread each, so that a dead server costs whoever asks only so long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa

from wordtide.config import Stream
from wordtide.core.source import Source
from wordtide.status.history import History
from wordtide.status.lag import LOOK_PROBLEMS, StreamLag, lag_of, problem_line
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.ledger import Ledger, ParkedSince
from wordtide.table.panics import panics_as_errors
from wordtide.wiring import open_source, open_table


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a stream.

    Attributes:
        finished: When it ended (monotonic); 0 before any.
        table_problem: Why the table could not be read; its last figures are kept.
        source_problem: Why the source could not be looked at; there is no lag then.
        history: What the ledger adds up to; None where there is no table yet.
        lag: What waits.
        parked: The partitions and files that wait for a decision.
        live_files: Files of the table's newest version.
    """

    finished: float = 0.0
    table_problem: str | None = None
    source_problem: str | None = None
    history: History | None = None
    lag: StreamLag | None = None
    parked: tuple[ParkedSince, ...] | None = None
    live_files: int | None = None


class Watcher:
    """Looks at one stream when asked to.

    Args:
        stream: The stream.
        say: Told, once, what cannot be looked at and that it can again.
        opens_table: Opens its table.
        opens_source: Opens its topic or folder.
    """

    def __init__(
        self,
        stream: Stream,
        say: Callable[[str], None],
        opens_table: Callable[[Stream], WordCounts] = open_table,
        opens_source: Callable[[Stream], Source] = open_source,
    ) -> None:
        self.stream = stream
        self._say = say
        self._opens_table = opens_table
        self._opens_source = opens_source
        self._said: str | None = None
        self._table: WordCounts | None = None
        self._source: Source | None = None
        self._ledger: Ledger | None = None
        self._asked = threading.Event()
        self._changed = threading.Condition()
        self._reading_table = True
        self.seen = Seen()
        # A daemon: a client that hangs must not keep the process.
        threading.Thread(target=self._work, name=f"look-at-{stream.name}", daemon=True).start()

    def ask(self) -> None:
        """Begin a look, unless one is under way."""
        self._asked.set()

    def wait(self, since: float, until: float) -> Seen:
        """Return the first look that ends after ``since``; after ``until``, what is known, with what is awaited."""
        with self._changed:
            if self._changed.wait_for(lambda: self.seen.finished > since, max(0.0, until - time.monotonic())):
                return self.seen
            late = "does not answer in time"
            if self._reading_table:
                return replace(self.seen, table_problem=late, source_problem=late, lag=None)
            return replace(self.seen, source_problem=late, lag=None)

    def _work(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            try:
                seen = self._look()
            except Exception as error:  # Whatever it is: without this thread the stream would be silent for ever.
                self._forget()
                seen = self._unseen(_one_line(error))
            with self._changed:
                self.seen = replace(seen, finished=time.monotonic())
                self._changed.notify_all()
            self._tell(seen)

    def _look(self) -> Seen:
        self._reading_table = True
        try:
            seen, snapshot = self._look_at_table()
        except LOOK_PROBLEMS as error:
            self._forget()
            return self._unseen(_one_line(error))
        self._reading_table = False
        try:
            if self._source is None:
                self._source = self._opens_source(self.stream)
            handle, ledger = (snapshot.handle, snapshot.ledger) if snapshot else (None, None)
            with panics_as_errors():
                lag = lag_of(self.stream, self._source, handle, ledger)
        except LOOK_PROBLEMS as error:
            self._forget()
            return replace(seen, source_problem=_one_line(error))
        if lag.stalled and ledger is not None:
            # Whether what is recorded still is, only the source tells.
            seen = replace(seen, parked=(*(seen.parked or ()), *ledger.unreadable.values()))
        return replace(seen, lag=lag)

    def _unseen(self, why: str) -> Seen:
        return replace(self.seen, table_problem=why, source_problem=f"not asked: {why}", lag=None)

    def _look_at_table(self) -> tuple[Seen, Snapshot | None]:
        if self._table is None:
            self._table = self._opens_table(self.stream)
        snapshot = self._table.snapshot(self._ledger)
        if snapshot is None:
            return Seen(), None
        self._ledger = ledger = snapshot.ledger
        history = self.seen.history
        if history is None or history.table_id != ledger.table_id:
            history = History(ledger.table_id)
        with panics_as_errors():
            if ledger.last > history.last:
                history = history.caught_up(snapshot.handle, ledger.last)
            live = pa.table(snapshot.handle.get_add_actions(flatten=True)).num_rows
        return Seen(history=history, parked=tuple(ledger.parked.values()), live_files=live), snapshot

    def _forget(self) -> None:
        # Where servers are may have changed, and what is remembered of the table may be what is wrong.
        source, self._source = self._source, None
        self._table = self._ledger = None
        if source is not None:
            # Its client may be what failed.
            with suppress(Exception):
                source.close()

    def _tell(self, seen: Seen) -> None:
        problem = seen.table_problem or seen.source_problem
        if problem != self._said:
            self._said = problem
            # Without somebody to tell, looks go on.
            with suppress(OSError):
                self._say(f"stream {self.stream.name}: {problem or 'can be looked at again'}")


def look_at_all(watchers: Sequence[Watcher], seconds: float) -> dict[str, Seen]:
    """Return a fresh look at each stream, or after so many seconds what is known of it."""
    began = time.monotonic()
    for watcher in watchers:
        watcher.ask()
    return {watcher.stream.name: watcher.wait(began, began + seconds) for watcher in watchers}


def _one_line(error: Exception) -> str:
    return problem_line(error)[:300]

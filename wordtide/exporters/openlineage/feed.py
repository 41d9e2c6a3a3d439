"""A thread that tells a lineage backend what was counted, beside the drain and never in its way.

It reads the ledger and not what the drain says: a backend that was away, or a process that was killed between commit
and telling, is made up for by going on after the last batch that was taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from wordtide.core.problems import WordtideError
from wordtide.core.retries import pause_after
from wordtide.exporters.openlineage.naming import Names
from wordtide.exporters.openlineage.records import DrainRun, End, Records
from wordtide.exporters.openlineage.settings import LineageSettings
from wordtide.table.commit import BATCH_APP, WordCounts
from wordtide.table.panics import panics_as_errors

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

    from wordtide.exporters.openlineage.backend import Backend
    from wordtide.exporters.openlineage.telling import Telling

log = logging.getLogger("wordtide")

FIRST_BATCHES = 100
"""Batches of the past that are told where no record says which are; the command tells older ones."""
LOOK_SECONDS = 5.0
"""From one look into the ledger to the next, which costs a tenth of a second of a table with hundreds of files."""
RETRY_SECONDS = 1.0
"""After a backend was away; doubled each time …"""
LONGEST_RETRY_SECONDS = 60.0
"""… up to this."""
CLOSE_SECONDS = 5.0
"""How long the end of a run waits for what is not told yet, while the backend takes it."""
RECORDED_EVERY = 50
"""Events of batches between two records of how far they are told; more are told again after a kill."""

_FAILURES = (WordtideError, DeltaError, OSError, pa.ArrowException)
"""Of backend, table and home: told, and tried again."""


class _Newest(NamedTuple):
    handle: DeltaTable
    table_id: str
    last: int


class LineageFeed:
    """Tells of one drain run and its stream's batches.

    Args:
        run: The run, as it starts.
        names: What things are called.
        table: The stream's table.
        settings: The backend.
        records: What is told already.
        ended_elsewhere: Says of another run's record how that run ended, or None while it may go on.
        warn: Takes a line for whoever looks at the run.
    """

    def __init__(
        self,
        run: DrainRun,
        names: Names,
        table: WordCounts,
        settings: LineageSettings,
        records: Records,
        ended_elsewhere: Callable[[DrainRun], End | None],
        warn: Callable[[str], None],
    ) -> None:
        self._run = run
        self._names = names
        self._table = table
        self._settings = settings
        self._records = records
        self._ended_elsewhere = ended_elsewhere
        self._warn = warn
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._too_late = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._others_told = False
        self._record()
        with suppress(*_FAILURES):
            # Here as well, before the drain commits anything.
            self._told(self._newest())
        threading.Thread(target=self._work, name=f"lineage-{table.stream.name}", daemon=True).start()

    def batch_committed(self) -> None:
        """Say that the ledger holds more; returns at once."""
        self._wake.set()

    def close(self, end: End) -> None:
        """Record how the run ended, and give the thread a moment to tell it. What it cannot tell, a later run does."""
        self._record(end=end)
        self._ending.set()
        self._wake.set()
        if not self._done.wait(CLOSE_SECONDS):
            self._too_late.set()
            self._problem = self._problem or "the backend is slow"
        if self._problem:
            self._warn(f"lineage: not everything is told ({self._problem}); the next run tells the rest")

    def _record(self, **changes: Any) -> None:
        """Record the run with changes: the thread says that its start is told, the drain how it ended."""
        with self._lock:
            self._run = replace(self._run, **changes)
            try:
                self._records.keep(self._run)
            except OSError as error:
                # A drain does not fail for that; its batches are in the ledger.
                self._warn(f"lineage: the run cannot be recorded ({error})")

    def _work(self) -> None:
        try:
            # The client takes a second to import: time of this thread, not of the drain's.
            from wordtide.exporters.openlineage.backend import Backend

            with closing(Backend(self._settings)) as backend:
                self._tell_until_closed(backend)
        except Exception as error:  # The thread's only way to tell: close() passes it on.
            log.exception("lineage of stream %s", self._table.stream.name)
            self._problem = f"{type(error).__name__}: {error}"
        finally:
            self._done.set()

    def _tell_until_closed(self, backend: Backend) -> None:
        from wordtide.exporters.openlineage.telling import Telling

        telling = Telling(self._names)
        failures = 0
        while True:
            # In this order: whoever ends it sets the other first.
            self._wake.clear()
            ending = self._ending.is_set()
            try:
                with panics_as_errors():
                    self._tell_everything(backend, telling, ending)
            except _FAILURES as error:
                if self._problem is None:
                    self._warn(f"lineage: {error}; counting goes on, and it is told later")
                self._problem = " ".join(str(error).split())
                # Whoever was away a moment ago is not waited for at the end.
                failures += 1
                if ending or self._ending.wait(pause_after(failures, RETRY_SECONDS, LONGEST_RETRY_SECONDS)):
                    return
                continue
            self._problem, failures = None, 0
            if ending:
                return
            self._wake.wait()
            self._ending.wait(LOOK_SECONDS)

    def _tell_everything(self, backend: Backend, telling: Telling, ending: bool) -> None:
        from wordtide.exporters.openlineage.events import drain_ended

        # Before the backend is asked for anything: it may be away.
        newest = self._newest()
        told = self._told(newest)
        if not self._run.told:
            self._tell_start(backend, self._run)
            self._record(told=True)
        if newest is not None:
            self._tell_batches(backend, telling, newest, told)
        others = () if self._others_told else self._left_behind(backend)
        for run in [*others, *([self._run] if ending else [])]:
            if run.end is not None and not self._too_late.is_set():
                self._send(backend, drain_ended(run, run.end, self._names), f"the end of run {run.run_id}")
                self._records.forget(run)
        self._others_told = True

    def _left_behind(self, backend: Backend) -> Iterator[DrainRun]:
        """Yield earlier runs that have ended, those that were killed too; one that goes on tells of itself."""
        for run in self._records.runs():
            end = run.end or self._ended_elsewhere(run)
            if run.run_id == self._run.run_id or end is None:
                continue
            ended = replace(run, end=end)
            # First recorded, then told: whoever tells it again tells the same.
            self._records.keep(ended)
            if not run.told:
                self._tell_start(backend, run)
            yield ended

    def _tell_start(self, backend: Backend, run: DrainRun) -> None:
        from wordtide.exporters.openlineage.events import drain_started

        self._send(backend, drain_started(run, self._names), f"the start of run {run.run_id}")

    def _newest(self) -> _Newest | None:
        """Return the table's newest version, if it is founded."""
        handle = self._table.open()
        if handle is None:
            return None
        with panics_as_errors():
            last = handle.transaction_version(BATCH_APP)
        return None if last is None else _Newest(handle, str(handle.metadata().id), last)

    def _told(self, newest: _Newest | None) -> int:
        """Return the last batch that is told; where no record says it, record where telling begins.

        What is counted from there on is told however long the backend is away.
        """
        place, name = self._settings.place, self._table.stream.name
        told = self._records.last_told(newest.table_id if newest else None, place)
        if told is None:
            told = max(-1, newest.last - FIRST_BATCHES) if newest else -1
            self._records.tell(newest.table_id if newest else None, place, told)
            if told >= 0:
                self._warn(
                    f"lineage: batches 0 to {told} were counted before anything was told of {name};"
                    f" wordtide lineage emit {name} --to {told} tells them"
                )
        return told

    def _tell_batches(self, backend: Backend, telling: Telling, newest: _Newest, told: int) -> None:
        recorded = told
        try:
            for number, events in telling.events(newest.handle, told, newest.last):
                for event in events:
                    self._send(backend, event, f"batch {number}")
                told = number
                if told - recorded >= RECORDED_EVERY:
                    self._records.tell(newest.table_id, self._settings.place, told)
                    recorded = told
                if self._too_late.is_set():
                    break
        finally:
            if told > recorded:
                self._records.tell(newest.table_id, self._settings.place, told)

    def _send(self, backend: Backend, event: RunEvent, what: str) -> None:
        from wordtide.exporters.openlineage.backend import EventRefused

        try:
            backend.send(event)
        except EventRefused as refusal:
            # Waiting would hold up all that comes after it.
            self._warn(f"lineage: {what} is left out: {refusal}")

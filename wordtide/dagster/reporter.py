"""Reports batches to Dagster beside the drain, not in front of it. The ledger is the record; events are its picture."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from deltalake.exceptions import DeltaError

from wordtide.config import Stream
from wordtide.core.model import Committed
from wordtide.core.position import Position
from wordtide.core.problems import WordtideError
from wordtide.dagster.coverage import Reported, reported_by, unreported
from wordtide.dagster.events import (
    Report,
    SourceVersion,
    materialization,
    merge,
    next_version,
    placed,
    position_before,
    position_in,
    source_events,
    source_version,
    summarise,
)
from wordtide.dagster.preview import row_count
from wordtide.dagster.runs import may_live, unfinished_runs
from wordtide.dagster.translator import WordtideTranslator
from wordtide.dagster.versions import Version
from wordtide.drain.loop import Summary
from wordtide.table.commit import WordCounts
from wordtide.table.files import utc_now
from wordtide.table.scan import Scan

log = logging.getLogger("wordtide")

SINGLE_EVENTS = 100
"""Unreported batches of the past that get an event each (older ones share one), and batches of a run that do."""
PAUSE_SECONDS = 10.0
"""After those, a run logs an event at most so often, for all batches since the one before: what bounds their number."""
BEHIND = 20
"""Waiting batches above which one event covers all that wait."""
EVENTS_LOOKED_AT = 300
RETRY_SECONDS = 0.5
CLOSE_SECONDS = 60.0
"""How long a drain's end waits for its reports."""


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """What a run has reported to Dagster.

    Attributes:
        through: Up to here every batch has an event.
        source: The version of the source that Dagster knows.
        newest: The run's batches as (number, rows), oldest first.
        version: The table's newest data version that Dagster knows.
    """

    through: int
    source: SourceVersion
    newest: tuple[tuple[int, int], ...]
    version: Version | None


def pause(events: int, since_last: float) -> float:
    """Return the seconds to gather batches before the next event.

    Args:
        events: Events of this run so far.
        since_last: Seconds since the last of them.
    """
    return 0.0 if events < SINGLE_EVENTS else max(0.0, PAUSE_SECONDS - since_last)


def log_event(context: dg.AssetExecutionContext, event: dg.AssetMaterialization | dg.AssetCheckEvaluation) -> None:
    """Log an event of a running asset, with a second try."""
    try:
        context.log_event(event)
    except Exception:  # Of whatever storage Dagster has; SQLite's "database is locked" passes.
        time.sleep(RETRY_SECONDS)
        context.log_event(event)


def warn(context: dg.AssetExecutionContext, stream: Stream, message: str) -> None:
    """Log a warning in the run, or in the process where Dagster's storage fails."""
    try:
        context.log.warning(message)
    except Exception:  # Of whatever storage Dagster has: most likely what the warning is about.
        log.warning("stream %s: %s", stream.name, message)


def one_line(error: object) -> str:
    """Return an error of a storage as one bounded line; SQLAlchemy's have many."""
    return " ".join(str(error).split())[:200]


class Reporter:
    """A thread that logs events while the drain goes on.

    Args:
        context: The running asset's context.
        stream: Its stream.
        table: Its table, for what an earlier run left unreported.
        translator: Names its assets.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, stream: Stream, table: WordCounts, translator: WordtideTranslator
    ) -> None:
        self._context = context
        self._stream = stream
        self._table = table
        self._translator = translator
        self._queue: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"report-{stream.name}", daemon=True)
        self._failure: Exception | None = None
        self._reported = Reported()
        self._newest: list[tuple[int, int]] = []
        self._last: Report | None = None
        self._version: Version | None = None
        self._events = 0
        self._logged_at = 0.0
        self._summary: Summary | None = None
        self._ended = threading.Event()
        self._thread.start()

    def submit(self, committed: Committed) -> None:
        """Queue a committed batch; returns at once."""
        self._queue.put(Report.of(committed))

    def close(self, summary: Summary | None) -> ReportProgress:
        """Wait, with a bound, until everything is reported, and tell of the source how far it has been taken.

        Args:
            summary: What the drain did; None where it failed.
        """
        self._summary = summary
        self._ended.set()
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._failure is not None or self._thread.is_alive():
            why = one_line(self._failure or "too slow")
            warn(self._context, self._stream, f"not all batches are reported ({why}); the next run reports the rest")
        try:
            if self._last is not None:
                self._tell_source(self._last)
            source = self._source_version()
        except Exception as error:  # Of whatever storage Dagster has; the batches are what matters.
            if self._failure is None:
                warn(self._context, self._stream, f"Dagster's storage does not answer ({one_line(error)})")
            source = SourceVersion()
        return ReportProgress(self._reported.through, source, tuple(self._newest), self._version)

    def _work(self) -> None:
        try:
            report = self._queue.get()
            self._version = self._newest_event(self._translator.table_key(self._stream))[0]
            if report is not None:
                # Before its table's event: a table that names a version of its source must find it there.
                self._tell_source(report)
            for missed in self._missed(report):
                self._log(missed)
            self._events = 0
            while report is not None:
                report = self._log_waiting(report)
        except Exception as error:  # The thread's only way to tell: close() passes it on.
            self._failure = error

    def _log_waiting(self, report: Report) -> Report | None:
        """Log a report and all that wait behind it; return the next one, or None at the end."""
        waiting = [report]
        following: Report | None = report
        wait = pause(self._events, time.monotonic() - self._logged_at)
        self._ended.wait(wait)
        while following is not None and not self._queue.empty():
            following = self._queue.get()
            if following is not None:
                waiting.append(following)
        for event in [merge(waiting)] if wait or len(waiting) > BEHIND else waiting:
            self._log(event, self._table_rows())
        return None if following is None else self._queue.get()

    def _log(self, report: Report, table_rows: int | None = None) -> None:
        self._version = next_version(self._version, report.last, report.position, report.status)
        source = self._source_version()
        event = materialization(self._stream, report, self._version, source, self._translator, table_rows)
        log_event(self._context, event)
        self._events += 1
        self._logged_at = time.monotonic()
        self._reported.add(report.first, report.last)
        self._newest.append((report.first, report.rows))
        self._last = report

    def _table_rows(self) -> int | None:
        """Return how many rows the table has now: the UI takes it from the newest event, which is mostly a batch's."""
        try:
            handle = self._table.open()
            return None if handle is None else row_count(handle)
        except (WordtideError, DeltaError, OSError):
            # An event without it is better than none; what the table suffers from, the drain says.
            return None

    def _tell_source(self, report: Report) -> None:
        if not report.position:
            return
        known = self._source_version().version
        before = self._newest_event(self._translator.table_key(self._stream))[0]
        version = source_version(known.whole, position_in(before.whole) if before else None, report.position)
        if version != known.whole:
            for event in source_events(
                self._stream, Version.of(version), report.position, report.lag, self._translator
            ):
                log_event(self._context, event)

    def _source_version(self) -> SourceVersion:
        """Return the source's version as Dagster knows it, whoever reported it.

        Every event of the table names this one. The exact range is its own data version; with another version than
        the source's newest the UI would show the table as outdated, for as long as nothing new arrives.
        """
        version, event = self._newest_event(self._translator.source_key(self._stream))
        return SourceVersion(version or SourceVersion().version, event)

    def _newest_event(self, key: dg.AssetKey) -> tuple[Version | None, int | None]:
        """Return the data version that an asset's newest event names, and the event's storage id."""
        records = self._context.instance.fetch_materializations(key, limit=1).records
        if not records:
            return None, None
        event = records[0].asset_materialization
        return Version.of_event(event) if event else None, records[0].storage_id

    def _missed(self, first: Report | None) -> list[Report]:
        """Return what the ledger holds and no event tells of, up to but without ``first``, the run's first batch."""
        before = first.first if first else None
        self._reported = self._read_reported(before)
        handle = self._table.open()
        if handle is None or (before is not None and before <= self._reported.through + 1):
            return []
        now = utc_now()
        running = [
            record
            for record in unfinished_runs(self._context.instance, self._stream, self._translator)
            if may_live(self._stream, (now - record.create_timestamp).total_seconds())
        ]
        others = {record.dagster_run.run_id for record in running} - {self._context.run.run_id}
        if others and self._context.run.run_id != running[-1].dagster_run.run_id:
            # Of several runs the oldest sees to what nobody reported.
            return []
        scan = Scan(handle)
        totals = scan.totals(self._reported.through, before)
        numbers = [total.batch for total in totals if total.run_id not in others]
        older, newest = unreported(numbers, self._reported, SINGLE_EVENTS)
        rows = scan.rows(after=newest[0] - 1, before=before) if newest else []
        wanted = set(newest)
        told, position = placed(
            [Report.of_row(row) for row in rows], self._position_behind(first, [total.batch for total in totals])
        )
        reports = [report for report in told if report.last in wanted]
        if not older:
            return reports
        # A table's whole history may be unreported: beyond the newest, only sums are read.
        chosen = set(older)
        # What lies between them others have reported.
        behind = position if told and told[0].first == older[-1] + 1 else None
        return [summarise([total for total in totals if total.batch in chosen], behind), *reports]

    def _position_behind(self, first: Report | None, numbers: Sequence[int]) -> Position | None:
        """Return what the table had taken with the last of some batches, where this run has seen that."""
        if first is not None:
            return position_before(first, first.position)
        summary = self._summary
        return summary.position if summary is not None and numbers and numbers[-1] == summary.last else None

    def _read_reported(self, before: int | None) -> Reported:
        """Return which batches have an event, of which only the newest are looked at."""
        key = self._translator.table_key(self._stream)
        reported = Reported()
        # Mostly the newest says that everything is reported.
        for limit in (1, EVENTS_LOOKED_AT):
            records = self._context.instance.fetch_materializations(key, limit=limit).records
            events = [record.asset_materialization for record in records]
            tags = [event.tags or {} for event in events if event is not None]
            reported = reported_by(tags, more=len(records) == limit and limit > 1)
            if before is not None and before <= reported.through + 1:
                break
        return reported

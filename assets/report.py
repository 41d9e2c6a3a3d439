"""Reports batches to Dagster beside the drain, not in front of it. The ledger is the record; events are its picture."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.keys import source_key, word_counts_key
from wordtide import __version__
from wordtide.batch import Committed, KafkaSplit, Status
from wordtide.config import Stream
from wordtide.table.commit import WordCounts
from wordtide.table.ledger import what_of
from wordtide.table.rows import batch_totals, read_batch_rows

log = logging.getLogger("wordtide")

SINGLE_EVENTS = 100
"""Unreported batches of an earlier run that get an event each; older ones share one."""
BEHIND = 20
"""Waiting batches above which one event covers all that wait."""
RETRY_SECONDS = 0.5
CLOSE_SECONDS = 60.0
"""How long a drain's end waits for its reports."""
SHOWN_RANGES = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What one event says of one batch, or of several in a row."""

    first: int
    last: int
    words: int
    distinct: int
    records: int
    lag: int | None
    position: str | None
    ranges: tuple[str, ...]
    engine: str | None
    seconds: Mapping[str, float]
    status: str

    @classmethod
    def of(cls, committed: Committed) -> Report:
        """Return the report of a batch just committed."""
        counted = committed.counted
        proofs = counted.proofs if counted else ()
        ranges = [
            f"{proof.split.what}: [{proof.split.start}, {proof.split.end})"
            if isinstance(proof.split, KafkaSplit)
            else f"{proof.split.path} ({proof.split.length} bytes)"
            for proof in proofs
        ] or [f"{parked.what}: {parked.reason}" for parked in committed.batch.parked]
        seconds = dict(counted.seconds) if counted else {}
        seconds["batch"] = (committed.committed_at - committed.batch.planned_at).total_seconds()
        return cls(
            committed.batch.number,
            committed.batch.number,
            counted.words if counted else 0,
            counted.distinct if counted else 0,
            sum(proof.records or proof.lines for proof in proofs),
            committed.batch.backlog,
            committed.batch.position,
            tuple(ranges),
            counted.engine if counted else None,
            seconds,
            committed.batch.status.value,
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Report:
        """Return the report of a batch as the ledger holds it."""
        ranges = [
            what_of(split)
            + (f": [{split['start']}, {split['end']})" if split["start"] is not None else "")
            + (f": {split['reason']}" if split["reason"] else "")
            for split in row["splits"]
        ]
        seconds = {step: spent for step, spent in (row["seconds"] or {}).items() if spent is not None}
        return cls(
            row["batch"],
            row["batch"],
            row["words"],
            row["distinct"],
            row["records"] or row["lines"],
            None,
            None,
            tuple(ranges),
            row["engine"],
            seconds,
            row["status"],
        )


def merge(reports: Sequence[Report]) -> Report:
    """Return one report for batches in a row."""
    last = reports[-1]
    return Report(
        reports[0].first,
        last.last,
        sum(report.words for report in reports),
        sum(report.distinct for report in reports),
        sum(report.records for report in reports),
        last.lag,
        last.position,
        tuple(text for report in reports for text in report.ranges),
        last.engine,
        last.seconds,
        Status.PUBLISHED.value if any(report.status == Status.PUBLISHED for report in reports) else last.status,
    )


def summarise(totals: Mapping[str, Sequence[Any]]) -> Report:
    """Return one report for many batches of the past, from columns of the ledger."""
    records = [records or lines for records, lines in zip(totals["records"], totals["lines"], strict=True)]
    published = Status.PUBLISHED.value in totals["status"]
    return Report(
        totals["batch"][0],
        totals["batch"][-1],
        sum(totals["words"]),
        sum(totals["distinct"]),
        sum(records),
        None,
        None,
        (),
        None,
        {},
        Status.PUBLISHED.value if published else totals["status"][-1],
    )


def materialization(stream: Stream, report: Report) -> dg.AssetMaterialization:
    """Return the event of a report."""
    single = report.first == report.last
    shown = list(report.ranges[:SHOWN_RANGES])
    if len(report.ranges) > SHOWN_RANGES:
        shown.append(f"… and {len(report.ranges) - SHOWN_RANGES} more; see wordtide ledger {stream.name}")
    metadata: dict[str, Any] = {
        "batch": report.last,
        "words": report.words,
        "rows": report.distinct,
        "records": report.records,
        "status": report.status,
        "ranges": dg.MetadataValue.json(shown),
        **{f"seconds_{step}": float(spent) for step, spent in report.seconds.items()},
    }
    if not single:
        metadata["first_batch"] = report.first
    if report.lag is not None:
        metadata["lag"] = report.lag
    if report.engine is not None:
        metadata["engine"] = report.engine
    name = f"batch {report.last}" if single else f"batches {report.first} to {report.last}"
    return dg.AssetMaterialization(
        word_counts_key(stream),
        description=f"{name}: {report.words} words from {report.records} records",
        metadata=metadata,
        # Dagster sets none of these on events logged within a run.
        tags={
            "dagster/data_version": data_version(report.last, report.position),
            "dagster/data_version_is_user_provided": "true",
            "dagster/code_version": __version__,
            **provenance_tags(stream, report.last, report.position),
        },
    )


def data_version(number: int, position: str | None) -> str:
    """Return the table's data version: its position, or the batch number where the position is not at hand."""
    return position or f"batch {number}"


def provenance_tags(stream: Stream, number: int, position: str | None) -> dict[str, str]:
    """Return the tags that say which part of the source a materialization comes from."""
    return {
        f"dagster/input_data_version/{source_key(stream).to_user_string()}": data_version(number, position),
        "wordtide_batch": str(number),
    }


class Reporter:
    """A thread that logs an event a batch while the drain goes on.

    Args:
        context: The running asset's context.
        stream: Its stream.
        table: Its table, for what an earlier run left unreported.
    """

    def __init__(self, context: dg.AssetExecutionContext, stream: Stream, table: WordCounts) -> None:
        self._context = context
        self._stream = stream
        self._table = table
        self._queue: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"report-{stream.name}", daemon=True)
        self._failure: Exception | None = None
        self._last_logged: int | None = None
        self._thread.start()

    def submit(self, committed: Committed) -> None:
        """Queue a committed batch; returns at once."""
        self._queue.put(Report.of(committed))

    def close(self) -> int | None:
        """Wait, with a bound, until everything is reported.

        Returns:
            The last batch reported, if any: where the next run's catch-up begins.
        """
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._failure is not None or self._thread.is_alive():
            # SQLAlchemy's errors have lines and lines.
            why = " ".join(str(self._failure or "too slow").split())[:200]
            self._warn(f"not all batches are reported ({why}); the next run reports the rest")
        return self._last_logged

    def _warn(self, message: str) -> None:
        try:
            self._context.log.warning(message)
        except Exception:  # Of whatever storage Dagster has: most likely what kept the reports back.
            log.warning("stream %s: %s", self._stream.name, message)

    def _work(self) -> None:
        try:
            report = self._queue.get()
            for missed in self._unreported(before=report.first if report else None):
                self._log(missed)
            while report is not None:
                report = self._log_waiting(report)
        except Exception as error:  # The thread's only way to tell: close() passes it on.
            self._failure = error

    def _log_waiting(self, report: Report) -> Report | None:
        """Log a report and all that wait behind it; return the next one, or None at the end."""
        waiting = [report]
        following: Report | None = report
        while following is not None and not self._queue.empty():
            following = self._queue.get()
            if following is not None:
                waiting.append(following)
        for event in [merge(waiting)] if len(waiting) > BEHIND else waiting:
            self._log(event)
        return None if following is None else self._queue.get()

    def _log(self, report: Report) -> None:
        event = materialization(self._stream, report)
        try:
            self._context.log_event(event)
        except Exception:  # Of whatever storage Dagster has; SQLite's "database is locked" passes.
            time.sleep(RETRY_SECONDS)
            self._context.log_event(event)
        self._last_logged = report.last

    def _unreported(self, before: int | None) -> list[Report]:
        """Return what the ledger holds beyond the last event, up to but without ``before``."""
        event = self._context.instance.get_latest_materialization_event(word_counts_key(self._stream))
        seen = event.asset_materialization.metadata.get("batch") if event and event.asset_materialization else None
        last = seen.value if seen is not None and isinstance(seen.value, int) else 0
        self._last_logged = last
        handle = self._table.open()
        if handle is None or (before is not None and before <= last + 1):
            return []
        columns = ["status", "words", "distinct", "records", "lines"]
        older = batch_totals(handle, columns, last, before)
        newest = older["batch"][-SINGLE_EVENTS:]
        singles = read_batch_rows(handle, after=newest[0] - 1, before=before) if newest else []
        reports = [Report.of_row(row) for row in singles]
        # A table's whole history may be unreported: beyond the newest, only sums are read.
        count = len(older["batch"]) - len(newest)
        return [summarise({name: values[:count] for name, values in older.items()}), *reports] if count else reports

"""The asset check `nothing_parked`: a run logs it at its first poll and at each change of what is parked or stalled."""

import logging
import threading
import time
from collections.abc import Sequence

import dagster as dg
from deltalake.exceptions import DeltaError

from wordtide.config import Stream
from wordtide.core.problems import WordtideError
from wordtide.core.stalls import Blockers
from wordtide.dagster.reporter import CLOSE_SECONDS, log_event, one_line, pause, warn
from wordtide.status.lag import json_line, mostly_json
from wordtide.table.commit import WordCounts

log = logging.getLogger("wordtide")

CHECK_NAME = "nothing_parked"
MOST_NAMED = 20
"""Parked and stalled partitions and files that an evaluation names, of each."""
LONGEST_LINE = 300


def check_key(table: dg.AssetKey) -> dg.AssetCheckKey:
    """Return the key of the check of a table's asset."""
    return dg.AssetCheckKey(table, CHECK_NAME)


def check_spec(table: dg.AssetKey) -> dg.AssetCheckSpec:
    """Return the check of a table's asset."""
    return dg.AssetCheckSpec(
        CHECK_NAME,
        asset=table,
        description="No partition or file waits for an operator's decision, is stalled or cannot be read.",
    )


def evaluate(stream: Stream, table: WordCounts, key: dg.AssetCheckKey, blockers: Blockers) -> dg.AssetCheckEvaluation:
    """Return the check's evaluation. It names a bounded number of what blocks, each with a bounded line."""
    parked, stalled = _named(blockers.parked), _named([one.line for one in blockers.stalled])
    problems = [f"waiting for a decision: {', '.join(parked)}{_more(blockers.parked)}"] if parked else []
    problems += [f"stalled: {'; '.join(stalled)}{_more(blockers.stalled)}"] if stalled else []
    share = _json_share(stream, table)
    notes = [json_line(stream.name, share)] if share is not None else []
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join([*(problems or ["nothing is parked"]), *notes]),
        metadata={
            **({"json_share": dg.MetadataValue.float(share)} if share is not None else {}),
            "parked": dg.MetadataValue.json(parked),
            "parked_count": dg.MetadataValue.int(len(blockers.parked)),
            "stalled": dg.MetadataValue.json(stalled),
            **({"left_out": dg.MetadataValue.text(blockers.left_out)} if blockers.left_out else {}),
        },
    )


def as_result(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    """Return an evaluation as what a step yields for a check that its run was asked for."""
    return dg.AssetCheckResult(
        passed=evaluation.passed,
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )


def latest_evaluation(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation | None:
    """Return what Dagster shows of a check; None if it was never evaluated, or is about to be."""
    record = instance.get_latest_asset_check_evaluation_record(key)
    evaluation = record.evaluation if record is not None else None
    # Of a run that was asked for the check and has not evaluated it, the record holds the plan to do so.
    return evaluation if isinstance(evaluation, dg.AssetCheckEvaluation) else None


def is_outdated(evaluation: dg.AssetCheckEvaluation | None, blockers: Blockers) -> bool:
    """Return whether an evaluation says something else than what is so now."""
    if evaluation is None or evaluation.passed is bool(blockers):
        return True
    shown = (evaluation.metadata.get("parked"), evaluation.metadata.get("parked_count"))
    return shown != (dg.MetadataValue.json(_named(blockers.parked)), dg.MetadataValue.int(len(blockers.parked)))


class CheckReporter:
    """A thread that logs the check of a running drain. The run need not have been asked for it.

    Args:
        context: The running asset's context.
        stream: Its stream.
        table: Its table.
        key: The check's key.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, stream: Stream, table: WordCounts, key: dg.AssetCheckKey
    ) -> None:
        self._context = context
        self._stream = stream
        self._table = table
        self._key = key
        self._newest: Blockers | None = None
        self._last: Blockers | None = None
        self._logged: Blockers | None = None
        self._logged_at = 0.0
        self._events = 0
        self._problem = ""
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"check-{stream.name}", daemon=True)
        self._thread.start()

    def submit(self, blockers: Blockers) -> None:
        """Take in what a poll showed; returns at once."""
        self._newest = blockers
        if self._is_news(blockers):
            self._changed.set()

    def close(self, last: Blockers | None = None) -> None:
        """Wait, with a bound, until the newest is logged.

        Args:
            last: What is to be logged whether or not it has changed: its notes may have.
        """
        self._last = last
        self._closing.set()
        self._changed.set()
        self._thread.join(CLOSE_SECONDS)

    def _is_news(self, blockers: Blockers) -> bool:
        return self._logged is None or self._logged.names != blockers.names

    def _work(self) -> None:
        closing = False
        while not closing:
            self._changed.wait()
            # Events are bounded: a partition may come and go all day.
            self._closing.wait(pause(self._events, time.monotonic() - self._logged_at))
            # In this order, so that what is submitted meanwhile has its turn.
            self._changed.clear()
            closing = self._closing.is_set()
            newest = self._newest
            if closing and self._last is not None:
                self._log(self._last)
            elif newest is not None and self._is_news(newest):
                self._log(newest)

    def _log(self, blockers: Blockers) -> None:
        self._events += 1
        self._logged_at = time.monotonic()
        try:
            evaluation = evaluate(self._stream, self._table, self._key, blockers)
            log_event(self._context, evaluation)
            self._logged = blockers
            shown = self._context.instance.get_latest_asset_check_evaluation_record(self._key)
            if shown is not None and shown.run_id != self._context.run.run_id:
                # Dagster keeps one record for each run and shows that of the newest run.
                self._context.instance.report_runless_asset_event(evaluation)
        except Exception as error:  # Of whatever storage Dagster has; the next poll tries again.
            if not self._problem:
                self._problem = one_line(error)
                warn(self._context, self._stream, f"the check is not logged ({self._problem}); it is tried again")


def _json_share(stream: Stream, table: WordCounts) -> float | None:
    """Return which share of the newest values are JSON, if most are; a note, not worth a failed run."""
    if stream.config.kafka is None:
        return None
    try:
        handle = table.open()
        return mostly_json(handle) if handle is not None else None
    except (WordtideError, DeltaError, OSError) as error:
        log.warning("table %s: cannot read how many of its newest values are JSON: %s", table.uri, error)
        return None


def _named(lines: Sequence[str]) -> list[str]:
    return [line[:LONGEST_LINE] for line in lines[:MOST_NAMED]]


def _more(lines: Sequence[object]) -> str:
    return f"; and {len(lines) - MOST_NAMED:,} more" if len(lines) > MOST_NAMED else ""

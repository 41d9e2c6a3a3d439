"""One sensor a stream: sees that something waits and that nobody drains it, and starts a run. Never carries data."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import Definition, Role
from wordtide.core.problems import WordtideError
from wordtide.core.retries import pause_after
from wordtide.core.stalls import Blockers
from wordtide.dagster.check import check_key, evaluate, is_outdated, latest_evaluation
from wordtide.dagster.jobs import UnresolvedJob
from wordtide.dagster.resources.bound import LOOK, Bound, resource_keys
from wordtide.dagster.runs import may_live, unfinished_runs
from wordtide.dagster.translator import WordtideTranslator
from wordtide.dagster.word_counts import FOLLOW_TAG
from wordtide.status.lag import Waiting, look
from wordtide.table.commit import WordCounts

TICK_SECONDS = 5
"""The sensor daemon's own floor; it cannot tick faster."""
FAILURES_LOOKED_AT = 8
"""Failures in a row beyond which waiting does not grow."""


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """An unfinished run of a stream and its age in seconds."""

    run_id: str
    age: float


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed runs since a stream's last good one: how many in a row, and the seconds since the newest ended."""

    in_a_row: int
    since: float


def back_off(failures: Failures) -> float:
    """Return the seconds to wait before the next try: 10 after the first failure, doubling up to ten minutes."""
    if failures.in_a_row == 0 or failures.since < 0:
        # A failure in the future: the clock was put back, and waiting until it is there again may take days.
        return 0.0
    return pause_after(failures.in_a_row, 10.0, 600.0) - failures.since


def hold(stream: Stream, runs: Sequence[ActiveRun], failures: Failures) -> str | None:
    """Return why a run must not be started now, whatever waits, or None."""
    holding = [run.run_id[:8] for run in runs if may_live(stream, run.age)]
    if holding:
        return f"run {holding[0]} is draining"
    pause = back_off(failures)
    if pause > 0:
        return f"the last {failures.in_a_row} runs failed; the next try is in {pause:.0f} s"
    return None


def decide(waiting: Waiting) -> str | None:
    """Return why there is no need for a run, or None to start one."""
    if not waiting.founded or waiting.something:
        return None
    return f"{waiting.unfinished} files are too young or unfinished" if waiting.unfinished else "nothing waits"


def build_sensor(
    stream: Stream,
    job: UnresolvedJob,
    *,
    translator: WordtideTranslator | None = None,
    resource_prefix: str = "",
) -> dg.SensorDefinition:
    """Return the sensor that starts a run of a stream's job when something waits.

    Args:
        stream: The stream.
        job: Its job, as `build_drain_job` returns it.
        translator: Names the sensor and tags its runs; asset and job must have the same one.
        resource_prefix: What the keys of the resources begin with.

    Example:
        ```python
        job = build_drain_job(stream)
        dg.Definitions(assets=[build_word_counts(stream)], jobs=[job], sensors=[build_sensor(stream, job)])
        ```
    """
    naming = translator or WordtideTranslator()
    itself = Definition(Role.DRAIN_SENSOR, stream.name)

    @dg.sensor(
        name=naming.get_definition_name(itself),
        job=job,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=naming.get_definition_description(itself),
        tags=naming.get_definition_tags(itself),
        required_resource_keys=resource_keys(resource_prefix, *LOOK),
    )
    def watch(context: dg.SensorEvaluationContext, **_resources: object) -> dg.SensorResult:
        # Dagster passes the resources as arguments only where a test calls the sensor itself.
        found = Bound(context.resources, resource_prefix)
        runs = active_runs(context.instance, stream, naming)
        reason = hold(stream, runs, recent_failures(context.instance, stream, naming))
        if reason is not None:
            return dg.SensorResult(skip_reason=reason)
        try:
            table = found.tables.open(stream)
            waiting = look(stream, table, found.kafka.connection, found.hdfs.address)
        except WordtideError as error:
            return dg.SensorResult(skip_reason=str(error))
        reason = decide(waiting)
        if reason is not None:
            key = check_key(naming.table_key(stream))
            news = changed_check(context.instance, stream, table, key, waiting.blockers)
            return dg.SensorResult(skip_reason=reason, asset_events=news)
        return dg.SensorResult(run_requests=[dg.RunRequest(tags={**naming.run_tags(stream), FOLLOW_TAG: "true"})])

    return watch


def active_runs(instance: dg.DagsterInstance, stream: Stream, translator: WordtideTranslator) -> list[ActiveRun]:
    """Return the unfinished runs that drain a stream, those started from its asset's page included."""
    now = datetime.now(UTC)
    return [
        ActiveRun(record.dagster_run.run_id, (now - record.create_timestamp).total_seconds())
        for record in unfinished_runs(instance, stream, translator)
    ]


def changed_check(
    instance: dg.DagsterInstance, stream: Stream, table: WordCounts, key: dg.AssetCheckKey, blockers: Blockers
) -> list[dg.AssetCheckEvaluation]:
    """Return the check's evaluation where it has changed and no run will log it: after a decision, say."""
    if not is_outdated(latest_evaluation(instance, key), blockers):
        return []
    return [evaluate(stream, table, key, blockers)]


def recent_failures(instance: dg.DagsterInstance, stream: Stream, translator: WordtideTranslator) -> Failures:
    """Return how many of a stream's newest runs failed."""
    records = instance.get_run_records(dg.RunsFilter(tags=translator.run_tags(stream)), limit=FAILURES_LOOKED_AT)
    failed = list(takewhile(lambda record: record.dagster_run.status is dg.DagsterRunStatus.FAILURE, records))
    ended = failed[0].end_time if failed else None
    return Failures(len(failed), time.time() - ended if ended is not None else 0.0)

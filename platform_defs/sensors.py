"""One sensor a stream: sees that something waits and that nobody drains it, and starts a run. Never carries data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from assets.word_counts import FOLLOW_TAG, STREAM_TAG
from platform_defs.jobs import UnresolvedJob
from resources import HdfsResource, KafkaResource, TablesResource
from wordtide.config import Stream
from wordtide.errors import WordtideError
from wordtide.lag import Waiting, look

TICK_SECONDS = 5
"""The sensor daemon's own floor; it cannot tick faster."""
GRACE_SECONDS = 120.0
"""A run older than `max_run` and this is the run of a host that died; it no longer holds the stream."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """An unfinished run of a stream and its age in seconds."""

    run_id: str
    age: float


def decide(stream: Stream, waiting: Waiting, runs: Sequence[ActiveRun]) -> str | None:
    """Return why not to start a run, or None to start one."""
    limit = stream.config.max_run + GRACE_SECONDS
    holding = [run.run_id[:8] for run in runs if run.age <= limit]
    if holding:
        return f"run {holding[0]} is draining"
    if not waiting.founded:
        return None
    if waiting.something:
        return None
    return f"{waiting.unfinished} files are too young or unfinished" if waiting.unfinished else "nothing waits"


def build_sensor(stream: Stream, job: UnresolvedJob) -> dg.SensorDefinition:
    """Return the sensor of one stream."""

    @dg.sensor(
        name=f"{stream.name}_sensor",
        job=job,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Drains {stream.name} when something waits.",
    )
    def watch(
        context: dg.SensorEvaluationContext, kafka: KafkaResource, hdfs: HdfsResource, tables: TablesResource
    ) -> dg.SensorResult:
        runs = _active(context.instance, stream)
        busy = decide(stream, Waiting(founded=False, something=True, unfinished=0), runs)
        if busy is not None:
            return dg.SensorResult(skip_reason=busy)
        try:
            waiting = look(stream, tables.open(stream), kafka.connection, hdfs.address)
        except WordtideError as error:
            return dg.SensorResult(skip_reason=str(error))
        reason = decide(stream, waiting, runs)
        if reason is not None:
            return dg.SensorResult(skip_reason=reason)
        return dg.SensorResult(run_requests=[dg.RunRequest(tags={STREAM_TAG: stream.name, FOLLOW_TAG: "true"})])

    return watch


def _active(instance: dg.DagsterInstance, stream: Stream) -> list[ActiveRun]:
    records = instance.get_run_records(dg.RunsFilter(tags={STREAM_TAG: stream.name}, statuses=UNFINISHED))
    now = datetime.now(UTC)
    return [ActiveRun(record.dagster_run.run_id, (now - record.create_timestamp).total_seconds()) for record in records]

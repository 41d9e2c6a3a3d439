"""Old drain runs go, with their events: Dagster keeps them for ever. The ledger has every batch all the same."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import Definition, Role
from wordtide.dagster.reporter import EVENTS_LOOKED_AT
from wordtide.dagster.runs import UNFINISHED
from wordtide.dagster.translator import WordtideTranslator
from wordtide.table.files import utc_now

TICK_SECONDS = 300
RUNS_AT_ONCE = 200
"""Runs that a tick deletes of a stream at most; no stream has so many in five minutes."""
DELETE_SECONDS = 30.0
"""How long a tick deletes; Dagster gives one up after a minute."""
_FINISHED = [status for status in dg.DagsterRunStatus if status not in UNFINISHED]


# Dagster exports none of its storage classes, so storages are recognised by what they offer.
@runtime_checkable
class _FilePerRun(Protocol):
    """An event log with one file per run: SQLite's, which `delete_run` empties but leaves on the disk."""

    def path_for_shard(self, run_id: str) -> str:
        """Return the path of a run's file."""


@runtime_checkable
class _LocalLogs(Protocol):
    """Captured stdout and stderr on this machine's disk, in a folder per run."""

    def get_captured_local_path(self, log_key: Sequence[str], extension: str, partial: bool = False) -> str:
        """Return the path of a file."""

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete a file, or all below a prefix."""


def build_retention_sensor(
    streams: Sequence[Stream], *, translator: WordtideTranslator | None = None
) -> dg.SensorDefinition:
    """Return the sensor that deletes the drain runs which are older than their stream's ``keep_runs``.

    Args:
        streams: The streams.
        translator: Names it, and the runs that it deletes; the streams' jobs must have the same one.

    Example:
        ```python
        dg.Definitions(sensors=[build_retention_sensor(streams)])
        ```
    """
    naming = translator or WordtideTranslator()
    itself = Definition(Role.RETENTION_SENSOR)

    @dg.sensor(
        name=naming.get_definition_name(itself),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=naming.get_definition_description(itself),
        tags=naming.get_definition_tags(itself),
    )
    def purge_old_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        deleted = delete_old_runs(context.instance, streams, utc_now(), DELETE_SECONDS, translator=naming)
        return dg.SensorResult(skip_reason=f"{deleted} old runs deleted" if deleted else "no run is old enough")

    return purge_old_runs


def delete_old_runs(
    instance: dg.DagsterInstance,
    streams: Sequence[Stream],
    now: datetime,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    *,
    translator: WordtideTranslator,
) -> int:
    """Delete the runs that streams keep no longer, oldest first, for at most so many seconds; return how many.

    Raises:
        dg.Failure: Some could not be deleted; all others were.
    """
    until = clock() + seconds
    deleted = 0
    failed: list[str] = []
    for stream in streams:
        for run_id in _old_runs(instance, stream, now, translator):
            if clock() >= until:
                break
            try:
                delete_run(instance, run_id)
                deleted += 1
            except Exception as error:  # Of whatever storage Dagster has; the next run may do.
                failed.append(f"{stream.name}: run {run_id[:8]}: {' '.join(str(error).split())[:200]}")
    if failed:
        more = f"; and {len(failed) - 5:,} more" if len(failed) > 5 else ""
        raise dg.Failure(f"{deleted} old runs deleted, {len(failed)} could not be: {'; '.join(failed[:5])}{more}")
    return deleted


def _old_runs(
    instance: dg.DagsterInstance, stream: Stream, now: datetime, translator: WordtideTranslator
) -> Iterator[str]:
    """Yield the runs of a stream that may go: its job's, finished long ago, and holding nothing that is still read."""
    if stream.config.keep_runs is None:
        return
    old = dg.RunsFilter(
        job_name=translator.get_definition_name(Definition(Role.DRAIN_JOB, stream.name)),
        # Another code location may have a job of that name.
        tags=translator.run_tags(stream),
        statuses=_FINISHED,
        updated_before=now - timedelta(seconds=stream.config.keep_runs),
    )
    found = instance.get_run_records(old, limit=RUNS_AT_ONCE + EVENTS_LOOKED_AT + 1, ascending=True)
    if found:
        needed = _needed_runs(instance, stream, translator)
        ids = [record.dagster_run.run_id for record in found]
        yield from [run_id for run_id in ids if run_id not in needed][:RUNS_AT_ONCE]


def _needed_runs(instance: dg.DagsterInstance, stream: Stream, translator: WordtideTranslator) -> frozenset[str]:
    """Return the runs that hold what is read: the events that say what is reported, and the newest of the source.

    A report looks at no older events, so what goes changes nothing of what it finds.
    """
    events = instance.fetch_materializations(translator.table_key(stream), limit=EVENTS_LOOKED_AT).records
    source = instance.fetch_materializations(translator.source_key(stream), limit=1).records
    return frozenset(record.run_id for record in (*events, *source))


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run, its events, and the files that Dagster leaves of it."""
    logs = instance.compute_log_manager
    if isinstance(logs, _LocalLogs):
        # First: without its run nobody would find them. What lies elsewhere has lifecycle rules of its own.
        logs.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    events = instance.event_log_storage
    if isinstance(events, _FilePerRun) and instance.get_run_by_id(run_id) is None:
        shard = Path(events.path_for_shard(run_id))
        for path in (shard, *(shard.with_name(shard.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
            path.unlink(missing_ok=True)

"""Jobs: one that drains a stream, one that tidies all tables."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from resources import TablesResource
from wordtide.config import Stream
from wordtide.config.asset_names import MAINTENANCE_JOB, job_name
from wordtide.dagster.keys import word_counts_key
from wordtide.dagster.runs import STREAM_TAG
from wordtide.status.lag import LOOK_PROBLEMS
from wordtide.table.maintain import compact_if_needed, vacuum
from wordtide.table.panics import panics_as_errors

UnresolvedJob = Any  # dagster does not export the type of define_asset_job's result


def drain_job_name(stream: Stream) -> str:
    """Return the name of a stream's drain job."""
    return job_name(stream.name)


def build_drain_job(stream: Stream) -> UnresolvedJob:
    """Return the job that drains one stream; sensor, `dagster job launch` and UI all use it."""
    return dg.define_asset_job(
        drain_job_name(stream),
        selection=dg.AssetSelection.assets(word_counts_key(stream)),
        description=f"Drains {stream.name} into its word_counts table.",
        tags={STREAM_TAG: stream.name},
        executor_def=dg.in_process_executor,
    )


def build_maintenance_job(streams: Sequence[Stream]) -> dg.JobDefinition:
    """Return the job that merges small files and deletes orphans of killed attempts."""

    @dg.op(description="Merges small files of all tables and deletes what killed attempts left.")
    def tidy_tables(context: dg.OpExecutionContext, tables: TablesResource) -> None:
        failed: list[str] = []
        for stream in streams:
            try:
                with panics_as_errors():
                    table = tables.open(stream)
                    if table.open() is None:
                        continue
                    compacted = compact_if_needed(table, live_files=0)
                    deleted = vacuum(table.uri)
            except LOOK_PROBLEMS as error:
                failed.append(f"{stream.name}: {' '.join(str(error).split())[:300]}")
                continue
            context.log.info(f"{stream.name}: compacted {compacted}, deleted {deleted} unused files")
        if failed:
            raise dg.Failure("; ".join(failed))

    @dg.job(
        name=MAINTENANCE_JOB,
        description="Tidies all tables. Drains do it too: this job is for streams that nothing drains.",
    )
    def maintenance() -> None:
        tidy_tables()

    return maintenance

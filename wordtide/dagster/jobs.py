"""Jobs: one that drains a stream, one that tidies all tables."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import Definition, Role
from wordtide.dagster.resources.bound import Bound, resource_keys
from wordtide.dagster.translator import WordtideTranslator
from wordtide.status.lag import LOOK_PROBLEMS
from wordtide.table.maintain import compact_if_needed, vacuum
from wordtide.table.panics import panics_as_errors

UnresolvedJob = Any  # dagster does not export the type of define_asset_job's result


def build_drain_job(stream: Stream, *, translator: WordtideTranslator | None = None) -> UnresolvedJob:
    """Return the job that drains one stream; sensor, `dagster job launch` and UI all use it.

    Example:
        ```python
        dg.Definitions(assets=[build_word_counts(stream)], jobs=[build_drain_job(stream)])
        ```
    """
    naming = translator or WordtideTranslator()
    itself = Definition(Role.DRAIN_JOB, stream.name)
    return dg.define_asset_job(
        naming.get_definition_name(itself),
        # A planned check is in progress until its run ends; the run logs it by itself.
        selection=dg.AssetSelection.assets(naming.table_key(stream)).without_checks(),
        description=naming.get_definition_description(itself),
        tags={**naming.get_definition_tags(itself), **naming.run_tags(stream)},
        executor_def=dg.in_process_executor,
    )


def build_maintenance_job(
    streams: Sequence[Stream], *, translator: WordtideTranslator | None = None, resource_prefix: str = ""
) -> dg.JobDefinition:
    """Return the job that merges small files and deletes orphans of killed attempts.

    Args:
        streams: The streams whose tables it maintains.
        translator: Names and describes it.
        resource_prefix: What the key of the resource `tables` begins with.

    Example:
        ```python
        maintenance = build_maintenance_job(streams)
        dg.Definitions(jobs=[maintenance], schedules=[build_maintenance_schedule(maintenance)])
        ```
    """
    naming = translator or WordtideTranslator()
    job, op = Definition(Role.MAINTENANCE_JOB), Definition(Role.MAINTENANCE_OP)

    @dg.op(
        name=naming.get_definition_name(op),
        description=naming.get_definition_description(op),
        required_resource_keys=resource_keys(resource_prefix, "tables"),
    )
    def tidy_tables(context: dg.OpExecutionContext) -> None:
        tables = Bound(context.resources, resource_prefix).tables
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
        name=naming.get_definition_name(job),
        description=naming.get_definition_description(job),
        tags=naming.get_definition_tags(job),
    )
    def maintenance() -> None:
        tidy_tables()

    return maintenance

"""Ledger rows and drain runs as OpenLineage events. Pure: the same row gives the same events, whenever it is told."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunFacet,
    column_lineage_dataset,
    dataset_version_dataset,
    datasource_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    lifecycle_state_change_dataset,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    storage_dataset,
)

from wordtide import __version__
from wordtide.core.model import Status
from wordtide.exporters.openlineage.facets import BatchRunFacet, FilesInputDatasetFacet, OffsetsInputDatasetFacet
from wordtide.exporters.openlineage.naming import DatasetName, Names
from wordtide.exporters.openlineage.records import DrainRun, End
from wordtide.table.record import LedgerRow, SplitRecord
from wordtide.table.schema import COUNT_SCHEMA

PRODUCER = f"urn:wordtide:{__version__}"
LISTED_FILES = 1000
"""Files that an event names; the ledger has all of them."""
_COUNTED = {Status.PUBLISHED, Status.CORRECTION}
_OF_BATCH = ("batch", "status", "words", "records", "lines", "gaps", "invalid", "clamped")
_OF_DECISION = ("engine", "reason", "decision", "who", "why", "replaces")


def batch_events(row: LedgerRow, identity: Mapping[str, str], names: Names) -> tuple[RunEvent, RunEvent]:
    """Return START and COMPLETE of a batch.

    The run id is the attempt's uuid: the ledger holds it, and no other attempt has it.

    Args:
        row: Its ledger row.
        identity: What positions belong to at that batch.
        names: What things are called.
    """
    counted = row.status in _COUNTED
    of_topic = names.source.namespace.startswith("kafka:")
    run = Run(str(uuid.UUID(row.attempt)), _run_facets(row, names))
    job = Job(names.jobs, names.batch, _job_facets("ASSET"))
    source = InputDataset(
        names.source.namespace,
        names.source.name,
        facets=_source_facets(row, names.source, of_topic, counted),
        inputFacets=_taken(row, identity, of_topic, counted),
    )
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    added: dict[str, OutputDatasetFacet] = {}
    if counted:
        added["outputStatistics"] = statistics(rowCount=row.distinct, producer=PRODUCER)
    table = OutputDataset(
        names.table.namespace,
        names.table.name,
        facets=_table_facets(row, names, of_topic, counted),
        outputFacets=added,
    )
    start = RunEvent(
        eventTime=_time(row.planned_at),
        producer=PRODUCER,
        run=run,
        job=job,
        eventType=RunState.START,
        inputs=[InputDataset(source.namespace, source.name)],
        outputs=[OutputDataset(table.namespace, table.name)],
    )
    complete = RunEvent(
        eventTime=_time(row.committed_at),
        producer=PRODUCER,
        run=run,
        job=job,
        eventType=RunState.COMPLETE,
        inputs=[source],
        outputs=[table],
    )
    return start, complete


def drain_started(run: DrainRun, names: Names) -> RunEvent:
    """Return the START of a drain run."""
    return _drain_event(run.run_id, run.started, RunState.START, {}, names)


def drain_ended(run: DrainRun, end: End, names: Names) -> RunEvent:
    """Return the COMPLETE, FAIL or ABORT of a drain run."""
    facets: dict[str, RunFacet] = {}
    if end.message is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            end.message, "PYTHON", end.stack, producer=PRODUCER
        )
    return _drain_event(run.run_id, end.at, RunState(end.state), facets, names)


def _drain_event(run_id: str, at: datetime, state: RunState, facets: dict[str, RunFacet], names: Names) -> RunEvent:
    # Datasets are those of its batches: named here as well, every edge of the graph would be there twice.
    return RunEvent(
        eventTime=_time(at),
        producer=PRODUCER,
        run=Run(run_id, facets),
        job=Job(names.jobs, names.drain, _job_facets("JOB")),
        eventType=state,
    )


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _job_facets(kind: str) -> dict[str, JobFacet]:
    return {"jobType": job_type_job.JobTypeJobFacet("BATCH", "DAGSTER", kind, producer=PRODUCER)}


def _run_facets(row: LedgerRow, names: Names) -> dict[str, RunFacet]:
    facets: dict[str, RunFacet] = {
        "wordtide_batch": BatchRunFacet(
            **{name: getattr(row, name) for name in (*_OF_BATCH, *_OF_DECISION)},
            quarantined=len(row.quarantined),
            seconds=dict(row.seconds) or None,
            producer=PRODUCER,
        ),
    }
    if row.engine is not None:
        facets["processing_engine"] = processing_engine_run.ProcessingEngineRunFacet(
            __version__, f"wordtide-{row.engine}", producer=PRODUCER
        )
    parent = _run_of(row.run_id)
    if parent is not None:
        facets["parent"] = parent_run.ParentRunFacet(
            parent_run.Run(parent, None),
            parent_run.Job(names.jobs, names.drain, None),
            parent_run.Root(parent_run.RootRun(parent, None), parent_run.RootJob(names.jobs, names.drain, None)),
            producer=PRODUCER,
        )
    return facets


def _run_of(run_id: str | None) -> str | None:
    """Return Dagster's run id; an operator's decision has the operator's name there instead."""
    try:
        return str(uuid.UUID(run_id or ""))
    except ValueError:
        return None


def _source_facets(row: LedgerRow, name: DatasetName, of_topic: bool, counted: bool) -> dict[str, DatasetFacet]:
    field = schema_dataset.SchemaDatasetFacetFields
    fields = [
        field(_text_of(of_topic), "bytes" if of_topic else "string", "a value is a line" if of_topic else "a line"),
        field(_clock_of(of_topic), "timestamp"),
    ]
    facets: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(name.namespace, _uri(name), producer=PRODUCER),
    }
    if of_topic and counted:
        ends = sorted((split.partition or 0, split.end or 0) for split in row.splits)
        version = ",".join(f"{partition}:{end}" for partition, end in ends)
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(version, producer=PRODUCER)
    return facets


def _taken(row: LedgerRow, identity: Mapping[str, str], of_topic: bool, counted: bool) -> dict[str, InputDatasetFacet]:
    splits = row.splits
    facets: dict[str, InputDatasetFacet] = {}
    if of_topic:
        facets["wordtide_offsets"] = OffsetsInputDatasetFacet(
            identity.get("cluster_id"),
            identity.get("topic_id"),
            [_only(split, "partition", "start", "end", "records", "reason") for split in splits],
            producer=PRODUCER,
        )
    else:
        facets["wordtide_files"] = FilesInputDatasetFacet(
            len(splits),
            [_only(split, "path", "length", "mtime", "lines", "reason") for split in splits[:LISTED_FILES]],
            producer=PRODUCER,
        )
    if counted:
        facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=row.records if of_topic else row.lines,
            size=row.bytes,
            fileCount=None if of_topic else len(splits),
            producer=PRODUCER,
        )
    return facets


def _only(split: SplitRecord, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(split, name)) is not None}


def _table_facets(row: LedgerRow, names: Names, of_topic: bool, counted: bool) -> dict[str, DatasetFacet]:
    field = schema_dataset.SchemaDatasetFacetFields
    fields = [field(column.name, str(column.type)) for column in COUNT_SCHEMA]
    facets: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(
            names.table.namespace, _uri(names.table), producer=PRODUCER
        ),
        "storage": storage_dataset.StorageDatasetFacet("delta", "parquet", producer=PRODUCER),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(str(row.batch), producer=PRODUCER),
    }
    if row.status == Status.FOUNDED:
        change = lifecycle_state_change_dataset
        facets["lifecycleStateChange"] = change.LifecycleStateChangeDatasetFacet(
            change.LifecycleStateChange.CREATE, producer=PRODUCER
        )
    if counted:
        facets["columnLineage"] = _column_lineage(names.source, of_topic)
    return facets


def _column_lineage(source: DatasetName, of_topic: bool) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    def comes_from(field: str, kind: str, how: str, what: str) -> column_lineage_dataset.InputField:
        transformation = column_lineage_dataset.Transformation(kind, how, what, masking=False)
        return column_lineage_dataset.InputField(source.namespace, source.name, field, [transformation])

    text, clock = _text_of(of_topic), _clock_of(of_topic)
    fields = column_lineage_dataset.Fields
    return column_lineage_dataset.ColumnLineageDatasetFacet(
        {
            "word": fields([comes_from(text, "DIRECT", "TRANSFORMATION", "split into words")]),
            "count": fields([comes_from(text, "DIRECT", "AGGREGATION", "words counted")]),
            "window_start": fields([comes_from(clock, "DIRECT", "TRANSFORMATION", "start of its window")]),
        },
        [
            comes_from(text, "INDIRECT", "GROUP_BY", "a row a window and word"),
            comes_from(clock, "INDIRECT", "GROUP_BY", "a row a window and word"),
        ],
        producer=PRODUCER,
    )


def _text_of(of_topic: bool) -> str:
    return "value" if of_topic else "line"


def _clock_of(of_topic: bool) -> str:
    return "timestamp" if of_topic else "mtime"


def _uri(name: DatasetName) -> str:
    if name.namespace == "file":
        return f"file://{quote(name.name)}"
    return f"{name.namespace}/{quote(name.name.removeprefix('/'))}"

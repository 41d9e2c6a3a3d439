"""Streams and instances for tests of what Dagster sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from resources import HdfsResource, KafkaResource, SparkResource
from tests.support import Place
from wordtide.config import Stream, StreamConfig
from wordtide.core.model import Status
from wordtide.dagster.definitions import build_definitions
from wordtide.dagster.events import Report
from wordtide.dagster.translator import WordtideTranslator

NAMING = WordtideTranslator()
NEWS = Stream(
    "news", StreamConfig.model_validate({"kafka": {"topic": "news"}}), "/nowhere/tables/news/word_counts", None
)


def definitions(place: Place, *streams: Stream) -> dg.Definitions:
    """Return the definitions of streams on the session's servers."""
    return build_definitions(
        {stream.name: stream for stream in streams},
        kafka=KafkaResource(bootstrap_servers=place.cluster.kafka),
        hdfs=HdfsResource(url=place.cluster.hdfs, webhdfs=place.cluster.webhdfs),
        spark=SparkResource(master="local[2]"),
    )


def tick(defs: dg.Definitions, stream: Stream, instance: dg.DagsterInstance) -> dg.SensorResult:
    """Evaluate a stream's sensor once, with the real resources, and keep its events as the daemon does."""
    sensor = defs.resolve_sensor_def(f"{stream.name}_sensor")
    resources = {name: resource for name, resource in (defs.resources or {}).items() if name != "spark"}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        instance.report_runless_asset_event(event)
    return result


def start(
    defs: dg.Definitions, stream: Stream, instance: dg.DagsterInstance, request: dg.RunRequest
) -> dg.ExecuteInProcessResult:
    """Run what a sensor asked for."""
    job = defs.resolve_job_def(f"{stream.name}_drain")
    return job.execute_in_process(instance=instance, tags=dict(request.tags), raise_on_error=False)


def by_hand(defs: dg.Definitions, stream: Stream, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Drain a stream as `dagster job launch` does."""
    job = defs.resolve_job_def(f"{stream.name}_drain")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """Return what a run said of its check last."""
    return result.get_asset_check_evaluations()[-1]


def events(instance: dg.DagsterInstance, stream: Stream) -> list[dg.AssetMaterialization]:
    """Return a stream's materializations, oldest first."""
    key = dg.AssetKey([stream.name, "word_counts"])
    records = instance.fetch_materializations(key, limit=1000, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization]


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """A real instance with SQLite in a temporary home."""
    with dg.instance_for_test() as made:
        yield made


def report(number: int, *lines: dict[str, str | int], **other: Any) -> Report:
    """Return the report of a small batch that was published."""
    shown: dict[str, Any] = {
        "words": 9,
        "rows": 3,
        "records": 5,
        "gaps": 0,
        "bytes": 50,
        "splits": lines,
        "engine": "local",
        "latency": 0.5,
        "status": Status.PUBLISHED,
    }
    return Report(first=number, last=number, batches=1, **{**shown, **other})

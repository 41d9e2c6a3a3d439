"""This platform's definitions: the streams of the `streams.yaml` in use, and `top_words` below each."""

from collections.abc import Mapping

import dagster as dg

from assets.top_words import build_top_words
from assets.word_counts import build_others, build_tables
from platform_defs.sensors import build_sensors
from resources import HdfsResource, KafkaResource, OpenLineageResource, SparkResource, build_resources
from wordtide.config import Configuration, Stream, load_configuration
from wordtide.dagster import build_drain_job, build_maintenance_job, build_maintenance_schedule, refused_streams


def build_definitions(
    streams: Mapping[str, Stream] | None = None,
    *,
    kafka: KafkaResource | None = None,
    hdfs: HdfsResource | None = None,
    spark: SparkResource | None = None,
    openlineage: OpenLineageResource | None = None,
) -> dg.Definitions:
    """Return this platform's definitions, of other streams or with other resources if they are given."""
    configuration = load_configuration() if streams is None else Configuration(dict(streams))
    engine = spark or SparkResource()
    refused = refused_streams(configuration, spark=engine)
    chosen = [stream for name, stream in configuration.streams.items() if name not in refused]

    tables = build_tables(chosen)
    jobs = {stream.name: build_drain_job(stream) for stream in chosen}
    maintenance = build_maintenance_job(chosen)
    checks = [key for table in tables for key in table.check_keys]
    return dg.Definitions(
        assets=[*build_others(chosen, refused), *tables, *map(build_top_words, chosen)],
        jobs=[*jobs.values(), maintenance],
        schedules=[build_maintenance_schedule(maintenance)],
        sensors=build_sensors(chosen, jobs, checks, refused),
        resources=build_resources(kafka, hdfs, engine, openlineage),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return what `dagster dev` loads."""
    # A drain is one step: a process of its own for it would only cost a second start.
    return dg.Definitions.merge(build_definitions(), dg.Definitions(executor=dg.in_process_executor))

"""The code location's definitions; `build_definitions` merges into a project of your own."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import dagster as dg

from wordtide.config import Configuration, Stream, load_configuration
from wordtide.config.asset_names import withheld
from wordtide.core.problems import ConfigError
from wordtide.dagster.alerts import build_alerts_sensor
from wordtide.dagster.jobs import build_drain_job, build_maintenance_job
from wordtide.dagster.resources import HdfsResource, KafkaResource, OpenLineageResource, SparkResource, TablesResource
from wordtide.dagster.retention import build_retention_sensor
from wordtide.dagster.schedules import build_maintenance_schedule
from wordtide.dagster.sensors import build_sensor
from wordtide.dagster.sources import build_sources
from wordtide.dagster.translator import WordtideTranslator, naming_of
from wordtide.dagster.withheld import build_withheld
from wordtide.dagster.word_counts import build_word_counts
from wordtide.drain.pacing import spark_objection

log = logging.getLogger("wordtide")

VALIDATING = "DAGSTER_IS_DEFS_VALIDATION_CLI"
"""Dagster sets it while `dagster definitions validate` or `dg check defs` loads a code location."""


def build_definitions(
    streams: Mapping[str, Stream] | None = None,
    *,
    kafka: KafkaResource | None = None,
    hdfs: HdfsResource | None = None,
    spark: SparkResource | None = None,
    openlineage: OpenLineageResource | None = None,
    translator: WordtideTranslator | None = None,
    resource_prefix: str = "",
) -> dg.Definitions:
    """Return assets, sensors, jobs and resources for streams.

    Of a stream that cannot run, because its entry is wrong or its names meet another's, there is only an asset that
    says why; the rest is as without it.

    Args:
        streams: By name; default: those of the `streams.yaml` in use.
        kafka: Default: by environment variables, else the embedded broker.
        hdfs: Default: by environment variables, else the embedded HDFS.
        spark: Default: `local[*]`, started only when a batch needs it.
        openlineage: Default: by environment variables, else off.
        translator: Names and describes all assets and definitions; default: `WordtideTranslator`.
        resource_prefix: What the keys of the resources begin with, where a project has others of these names.

    Raises:
        ConfigError: `streams.yaml` is wrong as a whole; while definitions are validated, some stream cannot run.

    Example:
        `defs = dg.Definitions.merge(my_definitions, build_definitions())`
    """
    configuration = load_configuration() if streams is None else Configuration(dict(streams))
    engine = spark or SparkResource()
    naming = translator or WordtideTranslator()
    refused = refused_streams(configuration, spark=engine, translator=naming)
    chosen = [stream for stream in configuration.streams.values() if stream.name not in refused]
    where = hdfs or HdfsResource()
    jobs = {stream.name: build_drain_job(stream, translator=naming) for stream in chosen}
    maintenance = build_maintenance_job(chosen, translator=naming, resource_prefix=resource_prefix)
    tables = [build_word_counts(stream, translator=naming, resource_prefix=resource_prefix) for stream in chosen]
    checks = [key for table in tables for key in table.check_keys]
    return dg.Definitions(
        assets=[*build_sources(chosen, translator=naming), *tables, *build_withheld(refused, translator=naming)],
        jobs=[*jobs.values(), maintenance],
        schedules=[build_maintenance_schedule(maintenance, translator=naming)],
        sensors=[
            *(
                build_sensor(stream, jobs[stream.name], translator=naming, resource_prefix=resource_prefix)
                for stream in chosen
            ),
            build_alerts_sensor(chosen, checks, refused, translator=naming, resource_prefix=resource_prefix),
            build_retention_sensor(chosen, translator=naming),
        ],
        resources={
            f"{resource_prefix}kafka": kafka or KafkaResource(),
            f"{resource_prefix}hdfs": where,
            f"{resource_prefix}spark": engine,
            f"{resource_prefix}openlineage": openlineage or OpenLineageResource(),
            f"{resource_prefix}tables": TablesResource(hdfs=where),
        },
    )


def refused_streams(
    configuration: Configuration, *, spark: SparkResource | None = None, translator: WordtideTranslator | None = None
) -> dict[str, str]:
    """Return why streams cannot run, by name: one line each, which is logged too.

    Args:
        configuration: What `streams.yaml` says.
        spark: The Spark in use, which may not reach the files of each stream; default: by environment variables.
        translator: Whose names must not collide.

    Raises:
        ConfigError: Some stream cannot run, while definitions are validated.

    Example:
        ```python
        configuration = load_configuration()
        refused = refused_streams(configuration)
        streams = [stream for name, stream in configuration.streams.items() if name not in refused]
        ```
    """
    naming = naming_of(translator or WordtideTranslator())
    refused = {**_without_spark(configuration, spark or SparkResource()), **withheld(configuration, naming)}
    if refused and os.environ.get(VALIDATING):
        raise ConfigError("\n".join(refused.values()))
    for problem in refused.values():
        log.warning("withheld: %s", problem)
    return refused


def _without_spark(configuration: Configuration, spark: SparkResource) -> dict[str, str]:
    """Return the streams that ask for a Spark which cannot reach their files, each with why."""
    if isinstance(spark.master, dg.EnvVar) or isinstance(spark.remote, dg.EnvVar):
        # Known when a run starts, which checks it again.
        return {}
    cores = spark.own_cores()
    objections = ((name, spark_objection(stream, cores)) for name, stream in configuration.streams.items())
    return {name: objection for name, objection in objections if objection is not None}


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the `streams.yaml` in use."""
    # Not in build_definitions: a project that merges them may have an executor of its own. A drain is one step, and a
    # process of its own for it would only cost a second start.
    return dg.Definitions.merge(build_definitions(), dg.Definitions(executor=dg.in_process_executor))

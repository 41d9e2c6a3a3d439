"""Wordtide's streams in a Dagster project: all definitions at once, or each by its own builder.

Example:
    ```python
    import dagster as dg
    from wordtide.dagster import build_definitions

    defs = dg.Definitions.merge(my_definitions, build_definitions())
    ```
"""

from wordtide.config.asset_names import Definition, Part, Role, StreamAsset
from wordtide.dagster.alerts import build_alerts_sensor
from wordtide.dagster.definitions import build_definitions, refused_streams
from wordtide.dagster.jobs import build_drain_job, build_maintenance_job
from wordtide.dagster.resources import HdfsResource, KafkaResource, OpenLineageResource, SparkResource, TablesResource
from wordtide.dagster.retention import build_retention_sensor
from wordtide.dagster.schedules import build_maintenance_schedule
from wordtide.dagster.sensors import build_sensor
from wordtide.dagster.sources import build_sources
from wordtide.dagster.translator import WordtideTranslator
from wordtide.dagster.withheld import build_withheld
from wordtide.dagster.word_counts import build_word_counts

__all__ = [
    "Definition",
    "HdfsResource",
    "KafkaResource",
    "OpenLineageResource",
    "Part",
    "Role",
    "SparkResource",
    "StreamAsset",
    "TablesResource",
    "WordtideTranslator",
    "build_alerts_sensor",
    "build_definitions",
    "build_drain_job",
    "build_maintenance_job",
    "build_maintenance_schedule",
    "build_retention_sensor",
    "build_sensor",
    "build_sources",
    "build_withheld",
    "build_word_counts",
    "refused_streams",
]

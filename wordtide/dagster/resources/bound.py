"""The resources of a run or a tick, found under their keys, which a project may have given a prefix."""

from __future__ import annotations

from typing import Any, cast

from wordtide.dagster.resources.hdfs import HdfsResource
from wordtide.dagster.resources.kafka import KafkaResource
from wordtide.dagster.resources.openlineage import OpenLineageResource
from wordtide.dagster.resources.spark import SparkResource
from wordtide.dagster.resources.tables import TablesResource

LOOK = ("kafka", "hdfs", "tables")
"""What is needed to see what waits for a stream."""
DRAIN = (*LOOK, "spark", "openlineage")
"""What is needed to drain a stream."""


def resource_keys(prefix: str, *names: str) -> set[str]:
    """Return the keys of resources, for `required_resource_keys`."""
    return {f"{prefix}{name}" for name in names}


class Bound:
    """The resources of a run or a tick.

    Args:
        resources: The context's.
        prefix: What their keys begin with.
    """

    def __init__(self, resources: Any, prefix: str) -> None:
        self._resources = resources
        self._prefix = prefix

    @property
    def kafka(self) -> KafkaResource:
        """Where Kafka is."""
        return cast("KafkaResource", self._get("kafka"))

    @property
    def hdfs(self) -> HdfsResource:
        """Where HDFS is."""
        return cast("HdfsResource", self._get("hdfs"))

    @property
    def spark(self) -> SparkResource:
        """Spark."""
        return cast("SparkResource", self._get("spark"))

    @property
    def tables(self) -> TablesResource:
        """The tables of streams."""
        return cast("TablesResource", self._get("tables"))

    @property
    def openlineage(self) -> OpenLineageResource:
        """Where lineage is sent."""
        return cast("OpenLineageResource", self._get("openlineage"))

    def _get(self, name: str) -> object:
        return getattr(self._resources, f"{self._prefix}{name}")

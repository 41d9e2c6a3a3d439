"""Dagster resources for Kafka, HDFS, Spark, the word-count tables and lineage; usable by anyone's assets."""

from wordtide.dagster.resources.hdfs import HdfsResource
from wordtide.dagster.resources.kafka import KafkaResource
from wordtide.dagster.resources.openlineage import OpenLineageResource
from wordtide.dagster.resources.spark import SparkResource
from wordtide.dagster.resources.tables import TablesResource

__all__ = ["HdfsResource", "KafkaResource", "OpenLineageResource", "SparkResource", "TablesResource"]

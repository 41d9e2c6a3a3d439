"""Dagster resources for Kafka, HDFS, Spark, the word-count tables and lineage; usable by anyone's assets."""

from resources.hdfs import HdfsResource
from resources.kafka import KafkaResource
from resources.openlineage import OpenLineageResource
from resources.spark import SparkResource
from resources.tables import TablesResource

__all__ = ["HdfsResource", "KafkaResource", "OpenLineageResource", "SparkResource", "TablesResource"]

"""Dagster resources for Kafka, HDFS, Spark and the word-count tables; usable by anyone's assets."""

from resources.hdfs import HdfsResource
from resources.kafka import KafkaResource
from resources.spark import SparkResource
from resources.tables import TablesResource

__all__ = ["HdfsResource", "KafkaResource", "SparkResource", "TablesResource"]

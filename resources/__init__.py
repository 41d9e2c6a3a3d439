"""Dagster resources for Kafka, HDFS, Spark, the word-count tables and lineage; usable by anyone's assets."""

from wordtide.dagster.resources import HdfsResource, KafkaResource, OpenLineageResource, SparkResource, TablesResource

__all__ = ["HdfsResource", "KafkaResource", "OpenLineageResource", "SparkResource", "TablesResource"]

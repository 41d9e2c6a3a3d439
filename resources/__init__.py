"""This platform's resources, each with the variables that configure it, and their types for assets of your own."""

import dagster as dg

from wordtide.dagster import HdfsResource, KafkaResource, OpenLineageResource, SparkResource, TablesResource

__all__ = ["HdfsResource", "KafkaResource", "OpenLineageResource", "SparkResource", "TablesResource", "build_resources"]


def build_resources(
    kafka: KafkaResource | None = None,
    hdfs: HdfsResource | None = None,
    spark: SparkResource | None = None,
    openlineage: OpenLineageResource | None = None,
) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """Return the resources by their keys. What is not given is configured by variables when a run or a tick starts."""
    storage = hdfs or HdfsResource()
    return {
        # WORDTIDE_KAFKA_BOOTSTRAP, _SECURITY_PROTOCOL, _SASL_MECHANISM, _USERNAME, _PASSWORD, _CA_FILE; without the
        # first: the broker of `wordtide up`.
        "kafka": kafka or KafkaResource(),
        # WORDTIDE_HDFS_URL and WORDTIDE_WEBHDFS; without the first: the HDFS of `wordtide up`.
        "hdfs": storage,
        # WORDTIDE_SPARK_REMOTE or WORDTIDE_SPARK_MASTER; without either: local[*].
        "spark": spark or SparkResource(),
        # OPENLINEAGE_URL, _ENDPOINT, _API_KEY, _NAMESPACE; without the first: off.
        "openlineage": openlineage or OpenLineageResource(),
        # Where they are says `tables` in streams.yaml.
        "tables": TablesResource(hdfs=storage),
    }

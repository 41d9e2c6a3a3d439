"""What jobs and datasets are called, by OpenLineage's naming specification."""

from __future__ import annotations

from dataclasses import dataclass

from wordtide.config import Stream
from wordtide.config.asset_names import Definition, Role, definition_name
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress
from wordtide.wiring import complete_uri


@dataclass(frozen=True, slots=True)
class DatasetName:
    """A dataset: ``kafka://host:port`` and a topic, ``hdfs://host:port`` or ``file`` and a path."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Names:
    """What the events of one stream call things.

    Attributes:
        jobs: Namespace of the jobs.
        drain: The job whose runs are drain runs; their ids are those of Dagster.
        source: The topic, or the landing folder.
        table: The table.
    """

    jobs: str
    drain: str
    source: DatasetName
    table: DatasetName

    @property
    def batch(self) -> str:
        """The job whose runs are batches."""
        return f"{self.drain}.word_counts"


def names_of(
    stream: Stream, jobs: str, kafka: KafkaConnection | None, hdfs: HdfsAddress | None, drain: str = ""
) -> Names:
    """Return the names of a stream's things.

    Args:
        stream: The stream.
        jobs: Namespace of the jobs.
        kafka: The cluster of its topic, if that is its source.
        hdfs: The HDFS in use, if any.
        drain: The name of its drain job; empty: its default name.
    """
    if stream.config.kafka is not None:
        assert kafka is not None
        # The first as configured: a cluster is one namespace, whichever broker answers.
        source = DatasetName(f"kafka://{kafka.bootstrap.split(',')[0].strip()}", stream.config.kafka.topic)
    else:
        assert stream.landing is not None
        source = file_name(stream.landing, hdfs)
    return Names(
        jobs, drain or definition_name(Definition(Role.DRAIN_JOB, stream.name)), source, file_name(stream.table, hdfs)
    )


def file_name(location: str, hdfs: HdfsAddress | None) -> DatasetName:
    """Return the name of a folder: a local path or a URL, which may lack its host."""
    uri = complete_uri(location, hdfs)
    scheme, sign, rest = uri.partition("://")
    if not sign:
        return DatasetName("file", uri)
    host, _, path = rest.partition("/")
    return DatasetName(f"{scheme}://{host}", "/" + "/".join(part for part in path.split("/") if part))

"""From configuration to open sources and tables: the one place that knows where servers are."""

from __future__ import annotations

import os
import re

from wordtide.config import Stream, home, is_url
from wordtide.core.problems import ConfigError
from wordtide.core.source import Source
from wordtide.sources.files.source import LandingFolder
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.source import KafkaTopic
from wordtide.storage import HdfsAddress, storage_for
from wordtide.system.cluster import read_address
from wordtide.table.commit import WordCounts


def kafka_connection() -> KafkaConnection:
    """Return the cluster of ``WORDTIDE_KAFKA_BOOTSTRAP``, else the running embedded one.

    Raises:
        ConfigError: There is neither.
    """
    named = KafkaConnection.from_environment()
    if named is not None:
        return named
    embedded = read_address(home())
    if embedded is None:
        raise ConfigError(
            f"no Kafka: set WORDTIDE_KAFKA_BOOTSTRAP=host:port, or start the embedded one with wordtide up"
            f" (none runs in {home()})"
        )
    return KafkaConnection(embedded.kafka)


def hdfs_address() -> HdfsAddress | None:
    """Return the HDFS of ``WORDTIDE_HDFS_URL``, else the running embedded one, else None."""
    url = os.environ.get("WORDTIDE_HDFS_URL", "").rstrip("/")
    if url:
        if not re.fullmatch(r"hdfs://[^/?#]+", url):
            raise ConfigError(f"WORDTIDE_HDFS_URL: {url!r} is not hdfs://host:port")
        host = url.removeprefix("hdfs://").rpartition(":")[0] or url.removeprefix("hdfs://")
        return HdfsAddress(url, os.environ.get("WORDTIDE_WEBHDFS") or f"{host}:9870")
    embedded = read_address(home())
    return HdfsAddress(embedded.hdfs, embedded.webhdfs) if embedded else None


def open_source(stream: Stream, kafka: KafkaConnection | None = None, hdfs: HdfsAddress | None = None) -> Source:
    """Return a stream's source; nothing is contacted yet."""
    if stream.config.kafka is not None:
        return KafkaTopic(stream, kafka or kafka_connection())
    assert stream.landing is not None
    address = hdfs or (hdfs_address() if is_url(stream.landing) else None)
    storage, root = storage_for(stream.landing, address)
    if stream.archive is None:
        return LandingFolder(stream, storage, root)
    elsewhere, archive = storage_for(stream.archive, address)
    if elsewhere != storage:
        raise ConfigError(
            f"stream {stream.name}: landing.after: {stream.archive} is on another file system than {stream.landing};"
            " files are moved by renaming them"
        )
    return LandingFolder(stream, storage, root, archive)


def open_table(stream: Stream, hdfs: HdfsAddress | None = None) -> WordCounts:
    """Return a stream's table; nothing is contacted yet."""
    address = hdfs or (hdfs_address() if is_url(stream.table) else None)
    storage, root = storage_for(stream.table, address)
    return WordCounts(stream, complete_uri(stream.table, address), storage, root)


def complete_uri(location: str, address: HdfsAddress | None) -> str:
    """Return what delta-rs opens: ``hdfs:///path`` gets the address it lacks."""
    if location.startswith("hdfs:///") and address is not None:
        return address.url + location.removeprefix("hdfs://")
    return location

"""A test's own corner of the servers: streams on topics, folders and tables that nobody else uses."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from wordtide.config import EngineName, Stream, is_url, load_streams, parse_streams
from wordtide.core.model import Committed
from wordtide.core.source import Source
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain, Engine, Summary
from wordtide.drain.pacing import Pace
from wordtide.embedded.cluster import ClusterAddress
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress, Storage, storage_for
from wordtide.table.commit import WordCounts
from wordtide.table.scan import Scan
from wordtide.testing.ledger import words_in
from wordtide.testing.topics import create_topic, produce
from wordtide.testing.waiting import unique
from wordtide.wiring import open_source, open_table


@dataclass(frozen=True, slots=True)
class Place:
    """A test's own corner of the servers.

    Attributes:
        folder: For its `streams.yaml`, tables and landed files; where everything local is.
        cluster: The servers.
    """

    folder: Path
    cluster: ClusterAddress

    @property
    def kafka(self) -> KafkaConnection:
        """The broker."""
        return KafkaConnection(self.cluster.kafka)

    @property
    def hdfs(self) -> HdfsAddress:
        """The file system."""
        return HdfsAddress(self.cluster.hdfs, self.cluster.webhdfs)

    @property
    def streams_yaml(self) -> Path:
        """The `streams.yaml` of this place."""
        return self.folder / "streams.yaml"

    def own(self, origin: Path | str | None = None, partitions: int = 1) -> dict[str, Stream]:
        """Return the streams of a user's `streams.yaml`, moved here: same names, same keys, other places.

        Each topic becomes a new one, each landing folder a new one (on HDFS if it was there), and so do the tables.

        Args:
            origin: The file; the one in use unless named.
            partitions: Partitions of each topic.

        Raises:
            ConfigError: The file is missing or wrong.
        """
        streams = load_streams(Path(origin).resolve() if origin else None)
        moved: dict[str, str] = {}
        configs: dict[str, Any] = {}
        for name, stream in streams.items():
            config = stream.config.model_dump(mode="json", exclude_unset=True)
            if stream.config.kafka is not None:
                topic = stream.config.kafka.topic
                if topic not in moved:
                    moved[topic] = unique(topic[:200])
                    create_topic(self.cluster, moved[topic], partitions)
                config["kafka"]["topic"] = moved[topic]
            if stream.landing is not None:
                config["landing"]["path"] = moved.setdefault(stream.landing, self._landing(is_url(stream.landing)))
                self._make(config["landing"]["path"])
            configs[name] = config
        on_hdfs = any(is_url(stream.table) for stream in streams.values())
        return self.streams(configs, f"hdfs:///{unique('tables')}" if on_hdfs else "tables")

    def _landing(self, on_hdfs: bool) -> str:
        return f"hdfs:///{unique('landing')}" if on_hdfs else str(self.folder / unique("landing"))

    def _make(self, location: str) -> None:
        storage, root = storage_for(location, self.hdfs)
        storage.mkdirs(root)

    def environment(self) -> dict[str, str]:
        """Return the environment in which another process finds these servers and these streams."""
        return {
            **os.environ,
            "WORDTIDE_STREAMS": str(self.streams_yaml),
            "WORDTIDE_KAFKA_BOOTSTRAP": self.cluster.kafka,
            "WORDTIDE_HDFS_URL": self.cluster.hdfs,
            "WORDTIDE_WEBHDFS": self.cluster.webhdfs,
            # A user's definitions may be importable here by pytest's doing only.
            "PYTHONPATH": os.pathsep.join(path for path in (*sys.path, os.environ.get("PYTHONPATH")) if path),
            "PYTHONFAULTHANDLER": "1",
        }

    def streams(self, streams: Mapping[str, Any], tables: str = "tables") -> dict[str, Stream]:
        """Write a `streams.yaml` and return its streams."""
        # JSON is YAML.
        self.streams_yaml.write_text(json.dumps({"tables": tables, "streams": streams}))
        return parse_streams(self.streams_yaml.read_text(), self.streams_yaml)

    def topic_stream(self, partitions: int = 1, tables: str = "tables", **config: Any) -> Stream:
        """Create a topic and return a stream on it; ``kafka`` adds keys to the source."""
        topic = unique("topic")
        create_topic(self.cluster, topic, partitions)
        source = {"topic": topic, **config.pop("kafka", {})}
        return self.streams({"s": {"kafka": source, "batch_interval": "100ms", **config}}, tables)["s"]

    def folder_stream(self, tables: str = "tables", landing: str = "", after: str = "keep", **config: Any) -> Stream:
        """Create a landing folder and return a stream on it."""
        where = landing or str(self.folder / "landing")
        self._make(where)
        source = {"path": where, "min_age": "0s", "after": after}
        return self.streams({"s": {"landing": source, "batch_interval": "100ms", **config}}, tables)["s"]

    def produce(self, stream: Stream, values: Iterable[str | bytes | None], **options: Any) -> None:
        """Send values to a stream's topic."""
        produce(self.cluster, topic_of(stream), values, **options)

    def land(self, stream: Stream, name: str, content: bytes) -> str:
        """Land a file and return its path; under its name it is there whole or not at all."""
        storage, root = self.landing(stream)
        storage.write_durably(f"{root}/{name}", [content])
        return f"{root}/{name}"

    def landing(self, stream: Stream) -> tuple[Storage, str]:
        """Return a stream's landing folder."""
        assert stream.landing is not None
        return storage_for(stream.landing, self.hdfs)

    def source(self, stream: Stream) -> Source:
        """Return a stream's source."""
        return open_source(stream, self.kafka if stream.config.kafka else None, self.hdfs)

    def table(self, stream: Stream) -> WordCounts:
        """Return a stream's table."""
        return open_table(stream, self.hdfs)

    def handle(self, stream: Stream) -> DeltaTable:
        """Return a fresh handle of a stream's table, which must be there."""
        handle = self.table(stream).open()
        assert handle is not None
        return handle

    def drainer(
        self,
        stream: Stream,
        *,
        run_id: str = "test",
        engines: Mapping[EngineName, Engine] | None = None,
        on_commit: Callable[[Committed], None] = lambda _committed: None,
        stop: threading.Event | None = None,
        source: Source | None = None,
        table: WordCounts | None = None,
    ) -> Drain:
        """Return a drain of a stream in this process, without Dagster."""
        return Drain(
            stream,
            source or self.source(stream),
            table or self.table(stream),
            engines or {EngineName.LOCAL: LocalEngine()},
            run_id=run_id,
            on_commit=on_commit,
            stop=stop,
        )

    def drain(self, stream: Stream, **options: Any) -> Summary:
        """Take what is there, as a run by hand does."""
        source = options.pop("source", None) or self.source(stream)
        try:
            return self.drainer(stream, source=source, **options).run(Pace.of(stream.config, by_hand=True))
        finally:
            source.close()

    def counted(self, stream: Stream) -> Counter[str]:
        """Return the words of a stream's table."""
        return words_in(self.handle(stream))

    def ledger(self, stream: Stream) -> list[dict[str, Any]]:
        """Return the ledger rows of a stream's table, oldest first."""
        return [row.as_dict() for row in Scan(self.handle(stream)).rows()]


def topic_of(stream: Stream) -> str:
    """Return the topic of a stream."""
    assert stream.config.kafka is not None
    return stream.config.kafka.topic

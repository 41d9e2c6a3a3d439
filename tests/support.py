"""What several tests need: streams on the session's servers, lines and files in them, and what a table says.

Nothing here computes an expectation with the code under test: words are expected by `str.split` and `Counter`.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from deltalake import DeltaTable

from wordtide.batch import Committed
from wordtide.config import EngineName, Stream, parse_streams
from wordtide.connection import KafkaConnection
from wordtide.counting.local import LocalEngine
from wordtide.drain import Drain, Engine, Summary
from wordtide.embedded.cluster import ClusterAddress
from wordtide.planning.pace import Pace
from wordtide.sources.base import Source
from wordtide.storage import HdfsAddress, Storage, storage_for
from wordtide.table.commit import WordCounts
from wordtide.table.rows import read_batch_rows
from wordtide.wiring import open_source, open_table

SECONDS = 30.0
"""No wait of a test for the session's servers lasts longer."""


def unique(prefix: str) -> str:
    """Return a name nobody else uses on the session's servers."""
    return f"{prefix}_{uuid.uuid4().hex[:10]}"


def words_of(lines: Iterable[str]) -> Counter[str]:
    """Count words as the tutorial does."""
    return Counter(word for line in lines for word in line.split(" "))


def some_lines(count: int, seed: int = 1, words: int = 400) -> list[str]:
    """Return lines of a few words each, some of them empty, some not ASCII."""
    chance = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(words)] + ["größer", "İstanbul", "東京", "🌊", "é", "e\u0301"]
    return [" ".join(chance.choices(vocabulary, k=chance.randrange(9))) for _ in range(count)]


def wait_until(what: str, happened: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what ``happened`` returns once that is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return found


def create_topic(
    cluster: ClusterAddress, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Create a topic and wait until the broker leads all of it."""
    admin = AdminClient({"bootstrap.servers": cluster.kafka})
    # Tests send records of the past, which the broker's default retention would delete at any moment.
    settings = {"retention.ms": "-1", **(config or {})}
    created = admin.create_topics([NewTopic(name, partitions, 1, config=settings)], operation_timeout=SECONDS)
    created[name].result(SECONDS)

    def led() -> bool:
        found = admin.list_topics(name, timeout=SECONDS).topics[name]
        return (
            found.error is None
            and len(found.partitions) == partitions
            and all(partition.leader >= 0 for partition in found.partitions.values())
        )

    wait_until(f"topic {name} is led", led)


def delete_topic(cluster: ClusterAddress, name: str) -> None:
    """Delete a topic and wait until it is gone."""
    admin = AdminClient({"bootstrap.servers": cluster.kafka})
    admin.delete_topics([name], operation_timeout=SECONDS)[name].result(SECONDS)
    wait_until(f"topic {name} is gone", lambda: name not in admin.list_topics(timeout=SECONDS).topics)


def add_partitions(cluster: ClusterAddress, name: str, total: int) -> None:
    """Let a topic grow, and wait until the new partitions are led."""
    admin = AdminClient({"bootstrap.servers": cluster.kafka})
    admin.create_partitions([NewPartitions(name, total)])[name].result(SECONDS)

    def led() -> bool:
        partitions = admin.list_topics(name, timeout=SECONDS).topics[name].partitions
        return len(partitions) == total and all(partition.leader >= 0 for partition in partitions.values())

    wait_until(f"topic {name} has {total} partitions", led)


def delete_records(cluster: ClusterAddress, topic: str, before: Mapping[int, int]) -> None:
    """Delete the records before an offset of each named partition, as retention does."""
    admin = AdminClient({"bootstrap.servers": cluster.kafka})
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    for deleted in admin.delete_records(wanted, request_timeout=SECONDS).values():
        deleted.result(SECONDS)


def produce(
    cluster: ClusterAddress,
    topic: str,
    values: Iterable[str | bytes | None],
    partition: int | None = None,
    timestamp_ms: int | None = None,
    config: Mapping[str, str] | None = None,
) -> None:
    """Send values, round robin over the partitions unless one is named, and wait for every acknowledgement."""
    producer = Producer(
        {"bootstrap.servers": cluster.kafka, "acks": "all", "linger.ms": 5, "partitioner": "random", **(config or {})}
    )
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    options: dict[str, Any] = {} if partition is None else {"partition": partition}
    if timestamp_ms is not None:
        options["timestamp"] = timestamp_ms
    for value in values:
        while True:
            try:
                producer.produce(topic, value=value, on_delivery=delivered, **options)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(SECONDS) == 0
    assert not failed, failed[0]


@dataclass(frozen=True, slots=True)
class Place:
    """A test's own corner of the session's servers."""

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

    def streams(self, streams: Mapping[str, Any], tables: str = "tables") -> dict[str, Stream]:
        """Write a `streams.yaml` and return its streams."""
        path = self.folder / "streams.yaml"
        # JSON is YAML.
        path.write_text(json.dumps({"tables": tables, "streams": streams}))
        return parse_streams(path.read_text(), path)

    def topic_stream(self, partitions: int = 1, tables: str = "tables", **config: Any) -> Stream:
        """Create a topic and return a stream on it; ``kafka`` adds keys to the source."""
        topic = unique("topic")
        create_topic(self.cluster, topic, partitions)
        source = {"topic": topic, **config.pop("kafka", {})}
        return self.streams({"s": {"kafka": source, "batch_interval": "100ms", **config}}, tables)["s"]

    def folder_stream(self, tables: str = "tables", landing: str = "", **config: Any) -> Stream:
        """Create a landing folder and return a stream on it."""
        where = landing or str(self.folder / "landing")
        storage, root = storage_for(where, self.hdfs)
        storage.mkdirs(root)
        source = {"path": where, "min_age": "0s"}
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
        return read_batch_rows(self.handle(stream))


def topic_of(stream: Stream) -> str:
    """Return the topic of a stream."""
    assert stream.config.kafka is not None
    return stream.config.kafka.topic


def words_in(handle: DeltaTable, after: int = -1, through: int | None = None) -> Counter[str]:
    """Return the words of a table, summed in Python from every count row of a range of batches."""
    rows = handle.to_pyarrow_table(columns=["kind", "batch", "word", "count"]).to_pylist()
    found: Counter[str] = Counter()
    for row in rows:
        if row["kind"] == "count" and after < row["batch"] and (through is None or row["batch"] <= through):
            found[row["word"]] += row["count"]
    return found


def rows_in(handle: DeltaTable) -> list[tuple[Any, ...]]:
    """Return all count rows of a table in one order: batch, window, word, count."""
    columns = ["kind", "batch", "window_start", "word", "count"]
    rows = handle.to_pyarrow_table(columns=columns).to_pylist()
    return sorted(tuple(row[name] for name in columns[1:]) for row in rows if row["kind"] == "count")


def assert_numbered(rows: Sequence[Mapping[str, Any]]) -> None:
    """Assert that batches are numbered 0, 1, 2 … and no attempt occurs twice."""
    assert [row["batch"] for row in rows] == list(range(len(rows)))
    assert len({row["attempt"] for row in rows}) == len(rows)


def assert_contiguous(rows: Sequence[Mapping[str, Any]], ends: Mapping[int, int]) -> None:
    """Assert that the ledger took every offset of every partition once, from 0 to its end."""
    reached = dict.fromkeys(ends, 0)
    for row in rows:
        if row["status"] != "published":
            continue
        for split in row["splits"]:
            assert split["start"] == reached[split["partition"]], f"gap or overlap in batch {row['batch']}: {split}"
            assert split["end"] > split["start"]
            reached[split["partition"]] = split["end"]
    assert reached == dict(ends)

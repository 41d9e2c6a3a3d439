"""Counts everything again from the sources, in plain Python and with none of the drain's code, and compares."""

from __future__ import annotations

import bz2
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import zstandard
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from deltalake import DeltaTable

from wordtide.config import Stream, is_url
from wordtide.core.problems import SourceUnavailable
from wordtide.counting.tokenizer import reference
from wordtide.sources.files.names import is_candidate
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import storage_for
from wordtide.table.query import counts
from wordtide.table.scan import Scan
from wordtide.wiring import hdfs_address, kafka_connection, open_table

_SILENCE_SECONDS = 30.0
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own codes begin with an underscore


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a table differs from its source.

    Attributes:
        stream: The stream's name.
        lines: By how many lines.
        words: How many words have another count.
    """

    stream: str
    lines: int
    words: int

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.lines == 0 and self.words == 0

    def __str__(self) -> str:
        if self.exact:
            return f"{self.stream}: exact"
        return f"{self.stream}: {self.lines} lines, {self.words} words differ"


def recount(stream: Stream, sent: Iterator[bytes] | None = None) -> Verdict:
    """Count a stream's whole source and compare the sums with its table's.

    Args:
        stream: Whose table.
        sent: The lines to expect, where whoever sent them knows better than a landing folder what there has to be.

    Raises:
        WordtideError: Source or table does not answer.
    """
    handle = open_table(stream).open()
    lines = 0
    expected: Counter[str] = Counter()
    for line in _lines(stream, handle) if sent is None else sent:
        lines += 1
        expected.update(reference(stream.config.tokenizer.value, line))
    counted_lines, counted = _table(handle)
    differing = sum(1 for word in expected.keys() | counted.keys() if expected[word] != counted[word])
    return Verdict(stream.name, abs(lines - counted_lines), differing)


def _table(handle: DeltaTable | None) -> tuple[int, Counter[str]]:
    if handle is None:
        return 0, Counter()
    sums = counts(handle)
    words: Counter[str] = Counter(dict(zip(sums["word"].to_pylist(), sums["count"].to_pylist(), strict=True)))
    return sum(row.lines for row in Scan(handle).rows()), words


def _lines(stream: Stream, handle: DeltaTable | None) -> Iterator[bytes]:
    if stream.config.kafka is not None:
        return _values(stream, kafka_connection(), _starts(handle))
    return _landed(stream)


def _starts(handle: DeltaTable | None) -> dict[int, int]:
    """Return where the table's first batch began, for streams that leave out what was there before them."""
    founding = Scan(handle).rows(before=1) if handle is not None else []
    return {
        split.partition: split.start
        for row in founding
        for split in row.splits
        if split.partition is not None and split.start is not None
    }


def _values(stream: Stream, connection: KafkaConnection, starts: dict[int, int]) -> Iterator[bytes]:
    assert stream.config.kafka is not None
    topic = stream.config.kafka.topic
    where = f"Kafka at {connection.bootstrap}: topic {topic}"
    consumer = Consumer(
        {
            **connection.librdkafka(),
            "group.id": "wordtide-recount",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": stream.config.kafka.isolation,
            "fetch.queue.backoff.ms": 5,
            "log_level": 0,
        }
    )
    try:
        unread = set(consumer.list_topics(topic, timeout=_SILENCE_SECONDS).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, starts.get(p, OFFSET_BEGINNING)) for p in sorted(unread)])
        while unread:
            message = consumer.poll(_SILENCE_SECONDS)
            if message is None:
                raise SourceUnavailable(f"{where}: silent for {_SILENCE_SECONDS:.0f} s")
            error = message.error()
            if error is None:
                value = message.value()
                if value is not None:
                    yield value
            elif error.code() == _END:
                unread.discard(message.partition())
            else:
                raise KafkaException(error)
    except KafkaException as error:
        raise SourceUnavailable(f"{where}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _landed(stream: Stream) -> Iterator[bytes]:
    assert stream.landing is not None
    landing = stream.config.landing
    assert landing is not None
    storage, root = storage_for(stream.landing, hdfs_address() if is_url(stream.landing) else None)
    for file in storage.list_files(root):
        if is_candidate(file.path.removeprefix(f"{root}/"), landing.glob, landing.in_progress):
            data = b"".join(storage.read_range(file.path, 0, file.length))
            # bytes.splitlines ends a line at \n, \r\n and lone \r, and at nothing else.
            yield from _unpacked(file.path, data).splitlines()


def _unpacked(path: str, data: bytes) -> bytes:
    suffix = path.rpartition(".")[2].lower()
    if suffix in {"gz", "gzip"}:
        return gzip.decompress(data)
    if suffix == "bz2":
        return bz2.decompress(data)
    if suffix in {"zst", "zstd"}:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return bytes(reader.read())
    return data

"""Reads ``[start, end)`` of partitions with a fresh confluent-kafka consumer: 8 ms for a small batch, no state kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wordtide.batch import KafkaSplit, Split, SplitProof
from wordtide.connection import KafkaConnection
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.errors import ConfigError, PlanAgain, SourceUnavailable
from wordtide.planning.kafka import cut as cut_range
from wordtide.reading.text import EARLIEST_MS, Text

STALL_SECONDS = 30.0
"""A deleted topic and a dead broker are silence in librdkafka: the reader gives up by itself."""
POLL_SECONDS = 0.1
MAX_FETCH = 10_000
"""Messages a consume() call; more gains nothing."""
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Progress:
    """What has been seen of one split."""

    split: KafkaSplit
    next_offset: int
    records: int = 0
    tombstones: int = 0
    bytes: int = 0
    clamped: int = 0
    done: bool = False

    def proof(self) -> SplitProof:
        return SplitProof(
            self.split,
            lines=self.records - self.tombstones,
            records=self.records,
            gaps=self.split.end - self.split.start - self.records,
            bytes=self.bytes,
            clamped=self.clamped,
        )


@dataclass(frozen=True, slots=True)
class KafkaReader:
    """Reads Kafka splits as text.

    Attributes:
        connection: The cluster.
        isolation: ``read_committed`` or ``read_uncommitted``.
        window_us: Length of an event-time window, µs.
        latest_ms: Later timestamps are clamped to this one (ms since the epoch).
    """

    connection: KafkaConnection
    isolation: str
    window_us: int
    latest_ms: int

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the ranges divided into about ``tasks`` pieces of equal size."""
        ranges = [split for split in splits if isinstance(split, KafkaSplit)]
        piece = max(1, -(-sum(split.end - split.start for split in ranges) // max(tasks, 1)))
        return [[part] for split in ranges for part in cut_range(split, piece)]

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the values as text, one value a line, and return the proofs.

        Raises:
            PlanAgain: A range is no longer there.
            SourceUnavailable: Nothing arrived for 30 s.
        """
        progress = [_Progress(split, split.start) for split in splits if isinstance(split, KafkaSplit)]
        pending: dict[int, list[bytes]] = {}
        pending_bytes = 0
        for values, windows in self._values(progress):
            for window in np.unique(windows).tolist() if len(values) else ():
                chosen = (
                    values
                    if windows[0] == window and (windows == window).all()
                    else [values[i] for i in np.flatnonzero(windows == window).tolist()]
                )
                pending.setdefault(window, []).append(b" ".join(chosen))
                pending_bytes += len(pending[window][-1])
            if pending_bytes >= CHUNK_BYTES:
                yield from _drained(pending)
                pending_bytes = 0
        yield from _drained(pending)
        return tuple(seen.proof() for seen in progress)

    def _values(self, progress: Sequence[_Progress]) -> Iterator[tuple[list[bytes], Ints]]:
        """Yield values that are not tombstones with the window each falls into."""
        by_partition = {seen.split.partition: seen for seen in progress}
        if len(by_partition) != len(progress):
            # One consumer has one position a partition: pieces of one partition are read one after the other.
            for seen in progress:
                yield from self._values([seen])
            return
        try:
            consumer = Consumer(self._settings())
        except KafkaException as error:
            raise ConfigError(f"Kafka settings for {self.connection.bootstrap}: {error.args[0].str()}") from error
        try:
            consumer.assign([TopicPartition(s.split.topic, s.split.partition, s.split.start) for s in progress])
            yield from self._consume(consumer, by_partition)
        except KafkaException as error:
            raise _explained(error.args[0], self.connection) from error
        finally:
            consumer.close()

    def _consume(self, consumer: Consumer, by_partition: dict[int, _Progress]) -> Iterator[tuple[list[bytes], Ints]]:
        deadline = time.monotonic() + STALL_SECONDS
        average = float(CHUNK_BYTES // 64)
        while open_splits := [seen for seen in by_partition.values() if not seen.done]:
            left = sum(seen.split.end - seen.next_offset for seen in open_splits)
            # consume() waits for as many as it is asked for, and holds them all: never ask for more than is left,
            # nor for more than about a chunk of bytes.
            wanted = max(1, min(left, MAX_FETCH, int(CHUNK_BYTES / average)))
            with _collector_paused():
                taken = self._fetch(consumer, wanted, by_partition)
            if taken is None:
                if time.monotonic() > deadline:
                    behind = ", ".join(f"{seen.split.what} at {seen.next_offset}" for seen in open_splits)
                    raise SourceUnavailable(
                        f"Kafka at {self.connection.bootstrap}: nothing arrived for {STALL_SECONDS:.0f} s ({behind});"
                        " is the broker up and the topic still there?"
                    )
                continue
            deadline = time.monotonic() + STALL_SECONDS
            values, windows, mean = taken
            average = max(1.0, mean, average / 8)
            yield values, windows

    def _fetch(
        self, consumer: Consumer, wanted: int, by_partition: dict[int, _Progress]
    ) -> tuple[list[bytes], Ints, float] | None:
        """Return values, their windows and the records' mean size; None if no record came. Messages end here."""
        messages = consumer.consume(wanted, POLL_SECONDS)
        records = [message for message in messages if message.error() is None]
        if len(records) != len(messages):
            self._events(messages, by_partition)
        if not records:
            return None
        values, windows, size = self._take(consumer, records, by_partition)
        return values, windows, size / len(records)

    def _take(
        self, consumer: Consumer, records: list[Message], by_partition: dict[int, _Progress]
    ) -> tuple[list[bytes], Ints, int]:
        count = len(records)
        # A record without error has a value (None: tombstone), a partition and an offset; the stubs do not know.
        values: list[Any] = [record.value() for record in records]
        partitions = np.fromiter([record.partition() for record in records], np.int64, count)
        offsets = np.fromiter([record.offset() for record in records], np.int64, count)
        stamps = np.fromiter([record.timestamp()[1] for record in records], np.int64, count)
        keep = np.ones(count, np.bool_)
        believable = np.clip(stamps, EARLIEST_MS, self.latest_ms)
        absurd = believable != stamps
        tombstones = np.fromiter([value is None for value in values], np.bool_, count)
        sizes = np.fromiter([len(value) if value is not None else 0 for value in values], np.int64, count)
        for partition in np.unique(partitions).tolist():
            seen = by_partition[partition]
            mine = partitions == partition
            inside = mine & (offsets < seen.split.end)
            # librdkafka may hand out a record again after a leader change: an offset counts once.
            inside &= offsets >= seen.next_offset
            keep &= ~mine | inside
            seen.records += int(inside.sum())
            seen.tombstones += int((inside & tombstones).sum())
            seen.bytes += int(sizes[inside].sum())
            seen.clamped += int((inside & absurd).sum())
            seen.next_offset = max(seen.next_offset, int(offsets[mine].max()) + 1)
            if seen.next_offset >= seen.split.end:
                self._finish(consumer, seen)
        micros = believable * 1000
        windows = micros - micros % self.window_us
        keep &= ~tombstones
        total = int(sizes.sum())
        if keep.all():
            return values, windows, total
        chosen = np.flatnonzero(keep)
        return [values[index] for index in chosen.tolist()], windows[chosen], total

    @staticmethod
    def _finish(consumer: Consumer, seen: _Progress) -> None:
        if not seen.done:
            seen.done = True
            seen.next_offset = seen.split.end
            consumer.incremental_unassign([TopicPartition(seen.split.topic, seen.split.partition)])

    def _events(self, messages: list[Message], by_partition: dict[int, _Progress]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                # The tail of a range may be control, aborted or compacted records: the end is reached by position.
                seen = by_partition[partition]
                if offset >= seen.split.end:
                    seen.done = True
            elif error.code() not in _PASSING:
                raise _explained(error, self.connection)

    def _settings(self) -> dict[str, object]:
        return {
            **self.connection.librdkafka(),
            "group.id": "wordtide",
            "client.id": "wordtide",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": self.isolation,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            # Default 1000 ms: after a full queue it sleeps that long (192 k against 806 k messages a second).
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 10,
            # What is fetched beyond the range's end is thrown away: with the default of 100,000, and with fetches of
            # 8 MB, that was a third of all work on batches of 500,000.
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 64 << 10,
            "log_level": 2,
        }


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic garbage collector.

    Thousands of messages a call make it look through the whole heap again and again, though none is part of a cycle:
    with Dagster and PySpark loaded that was 40 % of a backlog's time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _drained(pending: dict[int, list[bytes]]) -> Iterator[Text]:
    for window in sorted(pending):
        yield Text(window, b" ".join(pending[window]))
    pending.clear()


_PASSING = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
"""A broker that restarts: the stall deadline decides, not the first error."""
_GONE = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


def _explained(error: KafkaError, connection: KafkaConnection) -> Exception:
    if error.code() in _GONE:
        return PlanAgain(f"an offset range is no longer there ({error.str()})")
    if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
        return SourceUnavailable(f"Kafka at {connection.bootstrap}: not allowed to read ({error.str()}); grant READ")
    return SourceUnavailable(f"Kafka at {connection.bootstrap}: {error.str()}")

"""Reads ``[start, end)`` of partitions with a fresh confluent-kafka consumer: 8 ms for a small batch, no state kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wordtide.batch import Aside, KafkaSplit, Split, SplitProof
from wordtide.connection import KafkaConnection
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.errors import ConfigError, PlanAgain, SourceUnavailable
from wordtide.planning.kafka import cut as cut_range
from wordtide.reading.aside import NOTHING, Quarantine
from wordtide.reading.text import EARLIEST_MS, Text
from wordtide.reading.values import Sample, samples

STALL_SECONDS = 30.0
"""A deleted topic and a dead broker are silence in librdkafka: the reader gives up a partition by itself."""
POLL_SECONDS = 0.1
MAX_FETCH = 10_000
"""Messages a consume() call; more gains nothing."""
Ints = npt.NDArray[np.int64]


class StalledRead(SourceUnavailable):
    """Partitions gave nothing for too long: the drain takes the others first.

    Attributes:
        splits: What of their ranges was not read.
        reason: Why, without the names.
    """

    def __init__(self, message: str, splits: tuple[KafkaSplit, ...], reason: str) -> None:
        super().__init__(message)
        self.splits = splits
        self.reason = reason

    def __reduce__(self) -> tuple[type[StalledRead], tuple[str, tuple[KafkaSplit, ...], str]]:
        """Pickle with all that it was made from."""
        return type(self), (str(self), self.splits, self.reason)


class GapsFound(PlanAgain):
    """Ranges hold offsets without a record, and they were to hold none: the drain takes what is before them.

    Attributes:
        gaps: Of each partition the first: from where records are missing to the next one there is.
    """

    def __init__(self, gaps: tuple[KafkaSplit, ...]) -> None:
        super().__init__(", ".join(f"{gap.what}: no record at [{gap.start}, {gap.end})" for gap in gaps))
        self.gaps = gaps

    def __reduce__(self) -> tuple[type[GapsFound], tuple[tuple[KafkaSplit, ...]]]:
        """Pickle with all that it was made from."""
        return type(self), (self.gaps,)


@dataclass(slots=True)
class _Progress:
    """What has been seen of one split.

    Attributes:
        idle: Seconds waited for it in vain since its last record.
        gap: The first offsets without a record, if they are looked for.
        sample: Some of its values; by default none is taken.
    """

    split: KafkaSplit
    next_offset: int
    idle: float = 0.0
    gap: KafkaSplit | None = None
    records: int = 0
    tombstones: int = 0
    bytes: int = 0
    clamped: int = 0
    oldest: int | None = None
    aside: list[Aside] = field(default_factory=list)
    sample: Sample = field(default_factory=lambda: Sample(0, 0))
    done: bool = False

    def proof(self) -> SplitProof:
        return SplitProof(
            self.split,
            lines=self.records - self.tombstones - len(self.aside),
            records=self.records,
            gaps=self.split.end - self.split.start - self.records,
            bytes=self.bytes,
            clamped=self.clamped,
            aside=tuple(self.aside),
            oldest=self.oldest,
            sampled=self.sample.tried,
            json_objects=self.sample.json_objects,
        )


@dataclass(frozen=True, slots=True)
class KafkaReader:
    """Reads Kafka splits as text.

    Attributes:
        connection: The cluster.
        isolation: ``read_committed`` or ``read_uncommitted``.
        window_us: Length of an event-time window, µs.
        latest_ms: Later timestamps are clamped to this one (ms since the epoch).
        gapless: Whether a range must hold a visible record at every offset.
        quarantine: Which values are put aside.
    """

    connection: KafkaConnection
    isolation: str
    window_us: int
    latest_ms: int
    gapless: bool = False
    quarantine: Quarantine = NOTHING

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the ranges divided into about ``tasks`` pieces of equal size."""
        ranges = [split for split in splits if isinstance(split, KafkaSplit)]
        piece = max(1, -(-sum(split.end - split.start for split in ranges) // max(tasks, 1)))
        return [[part] for split in ranges for part in cut_range(split, piece)]

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the values as text, one value a line, and return the proofs.

        Raises:
            PlanAgain: A range is no longer there.
            GapsFound: A range has gaps and must not.
            StalledRead: Partitions gave nothing for 30 s; the others were read to their ends.
            SourceUnavailable: The cluster refuses us.
        """
        progress = [_Progress(split, split.start) for split in splits if isinstance(split, KafkaSplit)]
        for seen, sample in zip(progress, samples(len(progress)), strict=True):
            seen.sample = sample
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
        if gaps := tuple(seen.gap for seen in progress if seen.gap is not None):
            raise GapsFound(gaps)
        return tuple(seen.proof() for seen in progress)

    def values(self, split: KafkaSplit) -> list[bytes]:
        """Return the values of a short range as they are, tombstones left out."""
        whole = replace(self, quarantine=NOTHING)
        return [value for values, _ in whole._values([_Progress(split, split.start)]) for value in values]

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
        average = float(CHUNK_BYTES // 64)
        while open_splits := [seen for seen in by_partition.values() if not seen.done]:
            if all(seen.idle >= STALL_SECONDS for seen in open_splits):
                raise self._stalled(open_splits)
            left = sum(seen.split.end - seen.next_offset for seen in open_splits)
            # consume() waits for as many as it is asked for, and holds them all: never ask for more than is left,
            # nor for more than about a chunk of bytes.
            wanted = max(1, min(left, MAX_FETCH, int(CHUNK_BYTES / average)))
            before = [seen.next_offset for seen in open_splits]
            began = time.monotonic()
            with _collector_paused():
                taken = self._fetch(consumer, wanted, by_partition)
            # Bounded, because a process that was stopped for an hour has not waited for an hour.
            waited = min(time.monotonic() - began, 2 * POLL_SECONDS)
            for seen, offset in zip(open_splits, before, strict=True):
                seen.idle = 0.0 if seen.next_offset > offset else seen.idle + waited
            if taken is None:
                continue
            values, windows, mean = taken
            average = max(1.0, mean, average / 8)
            yield values, windows

    def _stalled(self, open_splits: Sequence[_Progress]) -> StalledRead:
        reason = f"nothing arrived for {STALL_SECONDS:.0f} s"
        behind = ", ".join(f"{seen.split.what} at {seen.next_offset}" for seen in open_splits)
        return StalledRead(
            f"Kafka at {self.connection.bootstrap}: {reason} ({behind}); is the broker up and the topic still there?",
            tuple(replace(seen.split, start=seen.next_offset) for seen in open_splits),
            reason,
        )

    def _fetch(
        self, consumer: Consumer, wanted: int, by_partition: dict[int, _Progress]
    ) -> tuple[list[bytes], Ints, float] | None:
        """Return values, their windows and the records' mean size; None if no record came. Messages end here."""
        messages = consumer.consume(wanted, POLL_SECONDS)
        records = [message for message in messages if message.error() is None]
        taken = self._take(consumer, records, by_partition) if records else None
        # After the records: an end of a partition says something of what came before it.
        if len(records) != len(messages):
            self._events(messages, by_partition)
        if taken is None:
            return None
        values, windows, size = taken
        return values, windows, size / len(records)

    def _take(
        self, consumer: Consumer, records: list[Message], by_partition: dict[int, _Progress]
    ) -> tuple[list[bytes], Ints, int]:
        count = len(records)
        # A record without error has a value (None: tombstone), a partition and an offset; the stubs do not know.
        # Loops in C: those in Python cost a twentieth of the whole.
        values: list[Any] = list(map(Message.value, records))
        partitions = np.fromiter(map(Message.partition, records), np.int64, count)
        offsets = np.fromiter(map(Message.offset, records), np.int64, count)
        stamps = np.fromiter(map(itemgetter(1), map(Message.timestamp, records)), np.int64, count)
        keep = np.ones(count, np.bool_)
        believable = np.clip(stamps, EARLIEST_MS, self.latest_ms)
        absurd = believable != stamps
        tombstones, sizes = _sizes(values)
        self._sample(values, partitions, tombstones, by_partition)
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
            if (believed := stamps[inside & ~absurd]).size:
                earliest = int(believed.min())
                seen.oldest = earliest if seen.oldest is None else min(seen.oldest, earliest)
            if self.gapless and seen.gap is None:
                seen.gap = _first_gap(seen, offsets[mine])
            seen.next_offset = max(seen.next_offset, int(offsets[mine].max()) + 1)
            if seen.next_offset >= seen.split.end or seen.gap is not None:
                self._finish(consumer, seen)
        micros = believable * 1000
        windows = micros - micros % self.window_us
        keep &= ~tombstones
        if self.quarantine:
            self._put_aside(values, partitions, offsets, keep, by_partition)
        total = int(sizes.sum())
        if keep.all():
            return values, windows, total
        chosen = np.flatnonzero(keep)
        return [values[index] for index in chosen.tolist()], windows[chosen], total

    def _sample(
        self,
        values: Sequence[Any],
        partitions: Ints,
        tombstones: npt.NDArray[np.bool_],
        by_partition: Mapping[int, _Progress],
    ) -> None:
        """Look at a few values of each partition that not enough has been seen of."""
        wanting = [seen for seen in by_partition.values() if seen.sample.wanted]
        if not wanting:
            return
        arrived = np.bincount(partitions)
        for seen in wanting:
            partition, wanted = seen.split.partition, seen.sample.wanted
            if partition < len(arrived) and arrived[partition]:
                places = np.flatnonzero((partitions == partition) & ~tombstones)
                spread = places[:: max(1, len(places) // wanted)][:wanted].tolist()
                chosen = [values[place] for place in spread]
                seen.sample.add(value for value in chosen if self.quarantine.reason(value) is None)

    def _put_aside(
        self,
        values: Sequence[Any],
        partitions: Ints,
        offsets: Ints,
        keep: npt.NDArray[np.bool_],
        by_partition: dict[int, _Progress],
    ) -> None:
        chosen = np.flatnonzero(keep).tolist()
        for place, reason in self.quarantine.reasons([values[index] for index in chosen]).items():
            index = chosen[place]
            seen, offset = by_partition[int(partitions[index])], int(offsets[index])
            seen.aside.append(Aside(replace(seen.split, start=offset, end=offset + 1), reason))
            keep[index] = False

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
                    if self.gapless and seen.gap is None and seen.next_offset < seen.split.end:
                        seen.gap = replace(seen.split, start=seen.next_offset, end=offset)
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


def _first_gap(seen: _Progress, offsets: Ints) -> KafkaSplit | None:
    """Return the first offsets of the rest of a range that have no record, up to the next record there is.

    Args:
        seen: The range.
        offsets: Those of records that came now, ascending; some may have come before, or lie beyond the range.
    """
    later = offsets[offsets >= seen.next_offset]
    before = np.concatenate(([seen.next_offset - 1], later[:-1]))
    jumps = np.flatnonzero(later - before > 1)
    if not jumps.size:
        return None
    start, end = int(before[jumps[0]]) + 1, int(later[jumps[0]])
    return replace(seen.split, start=start, end=end) if start < seen.split.end else None


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


def _sizes(values: list[Any]) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return which values are None, and the bytes of each."""
    try:
        return np.zeros(len(values), np.bool_), np.fromiter(map(len, values), np.int64, len(values))
    except TypeError:
        absent = np.fromiter([value is None for value in values], np.bool_, len(values))
        return absent, np.fromiter([len(value or b"") for value in values], np.int64, len(values))


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

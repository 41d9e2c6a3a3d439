"""Reads ``[start, end)`` of partitions with a fresh confluent-kafka consumer: 8 ms for a small batch, no state kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wordtide.core.model import Aside, Halt, KafkaSplit, Split, SplitProof, Stop
from wordtide.core.problems import ConfigError, PlanAgain, ReadFailed, SourceUnavailable
from wordtide.core.quarantine import NOTHING, Quarantine
from wordtide.core.text import EARLIEST_MS, LONGEST_WORD, Text, cut_at_spaces, holds_longer
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.sources.kafka.attempts import Fatal, attempt
from wordtide.sources.kafka.checksums import check
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.fetch import (
    CAREFUL_BYTES,
    FETCHED_AHEAD_BYTES,
    Reports,
    Swell,
    fetch_settings,
    response_bytes,
)
from wordtide.sources.kafka.plan import cut as cut_range
from wordtide.sources.kafka.values import Sample, samples

STALL_SECONDS = 30.0
"""A deleted topic and a dead broker are silence in librdkafka: the reader gives up a partition by itself."""
CHECKED_BYTES = 16 << 20
"""Of ranges that ended a process: a few seconds' work."""
UNSEEN_SECONDS = 5.0
"""So long without a visible record, though fetching advances: what was passed is kept, and the others wait no more."""
POLL_SECONDS = 0.02
"""What comes within one consume() is held; more than a few ms gain nothing."""
MAX_FETCH = 10_000
"""Messages a consume() call; more gains nothing."""
JUDGED_AGAIN = MAX_FETCH // 4
"""Of a partition of which so many messages come at once the first few are judged each time."""
OF_AGAIN = 4
SWELL_MS = 10
"""Between statistics while it is not known how much a topic's data swells; building one takes some 50 µs."""
RENEWED_ABOVE = 20_000
"""With more records than this to come, a consumer that may fetch more at once pays for itself."""
_SWELL: dict[tuple[str, str], Swell] = {}
"""How much data swells, by bootstrap servers and topic, as this process has seen it: a hint."""
Ints = npt.NDArray[np.int64]


class ShortRead(PlanAgain, ReadFailed):
    """Partitions were not read to their planned ends.

    Attributes:
        stops: Of each where and why.
        fitting: What of the batch to plan instead, where nothing of it can be kept: Spark counts pieces together.
    """

    def __init__(self, stops: tuple[Stop, ...], fitting: tuple[KafkaSplit, ...] = ()) -> None:
        super().__init__(", ".join(f"{stop.rest.what} at {stop.rest.start}: {stop.reason}" for stop in stops))
        self.stops = stops
        self.fitting = fitting

    def __reduce__(self) -> tuple[type[ShortRead], tuple[tuple[Stop, ...], tuple[KafkaSplit, ...]]]:
        """Pickle with all that it was made from."""
        return type(self), (self.stops, self.fitting)


class GapsFound(PlanAgain, ReadFailed):
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
        limit: Where reading it ends: its end, or where it was stopped.
        idle: Seconds waited for it in vain since its last record.
        gap: The first offsets without a record, if they are looked for.
        sample: Some of its values; by default none is taken.
    """

    split: KafkaSplit
    next_offset: int
    limit: int
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
    stop: Stop | None = None

    @classmethod
    def of(cls, split: KafkaSplit) -> _Progress:
        return cls(split, split.start, split.end)

    def halt(self, halt: Halt, reason: str, reached: int = 0) -> None:
        """End it where it has got to; what was passed without a visible record may reach beyond the last one."""
        self.limit = self.next_offset = min(max(self.next_offset, reached), self.split.end)
        self.done = True
        if self.limit < self.split.end:
            self.stop = Stop(halt, replace(self.split, start=self.limit), reason)

    def proof(self) -> SplitProof:
        return SplitProof(
            replace(self.split, end=self.limit),
            lines=self.records - self.tombstones - len(self.aside),
            records=self.records,
            gaps=self.limit - self.split.start - self.records,
            bytes=self.bytes,
            clamped=self.clamped,
            aside=tuple(self.aside),
            oldest=self.oldest,
            sampled=self.sample.tried,
            json_objects=self.sample.json_objects,
            stop=self.stop,
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
        max_bytes: Where a read ends, in bytes of values; at least one record is read. None: where its ranges do.
        text_until: Whether values are judged; by partition up to where odd ones were seen to stand among text. None:
            they are text, whatever they look like.
        longest_word: Bytes without a space; a partition ends before a value with more, unless the quarantine puts it
            aside. None: of any length, where values are not counted.
    """

    connection: KafkaConnection
    isolation: str
    window_us: int
    latest_ms: int
    gapless: bool = False
    quarantine: Quarantine = NOTHING
    max_bytes: int | None = None
    text_until: Mapping[int, int] | None = None
    longest_word: int | None = LONGEST_WORD

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the ranges divided into about ``tasks`` pieces of equal size."""
        ranges = [split for split in splits if isinstance(split, KafkaSplit)]
        piece = max(1, -(-sum(split.end - split.start for split in ranges) // max(tasks, 1)))
        return [[part] for split in ranges for part in cut_range(split, piece)]

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the values as text, one value a line, and return the proofs.

        A partition that cannot be read on ends early, and its proof says where and why; the others are read on.

        Raises:
            PlanAgain: A range is no longer there.
            GapsFound: A range has gaps and must not.
            SourceUnavailable: The cluster refuses us.
        """
        progress = [_Progress.of(split) for split in splits if isinstance(split, KafkaSplit)]
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
                for text in _joined(chosen):
                    if pending and pending_bytes + len(text) > CHUNK_BYTES + (CHUNK_BYTES >> 1):
                        yield from _drained(pending)
                        pending_bytes = 0
                    pending.setdefault(window, []).append(text)
                    pending_bytes += len(text)
            if pending_bytes >= CHUNK_BYTES:
                yield from _drained(pending)
                pending_bytes = 0
        yield from _drained(pending)
        if gaps := tuple(seen.gap for seen in progress if seen.gap is not None):
            raise GapsFound(gaps)
        return tuple(seen.proof() for seen in progress)

    def _judges(self, seen: _Progress) -> bool:
        return self.text_until is not None and seen.next_offset >= self.text_until.get(seen.split.partition, 0)

    def sample(self, split: KafkaSplit) -> Sample:
        """Return a sample of a short range's values, of as many as are soon there and fit into memory."""
        progress = _Progress.of(split)
        progress.sample = Sample(split.end - split.start, 0)
        bounded = replace(self, max_bytes=CHUNK_BYTES, text_until=None, longest_word=None)
        for _ in bounded._values([progress]):
            pass
        return progress.sample

    def values(self, split: KafkaSplit) -> list[bytes]:
        """Return the values of a short range as they are, tombstones left out.

        Raises:
            ShortRead: It cannot be read to its end.
        """
        whole = replace(self, quarantine=NOTHING, max_bytes=None, longest_word=None)
        progress = _Progress.of(split)
        found = [value for values, _ in whole._values([progress]) for value in values]
        whole.settle([split], [progress.proof()])
        return found

    def settle(self, splits: Sequence[Split], pieces: Sequence[SplitProof]) -> None:
        """Accept a batch whose pieces were read side by side, so that all of it is counted or nothing.

        Raises:
            ShortRead: A piece ended early, or all together have more bytes than a batch may.
        """
        stops = tuple(piece.stop for piece in pieces if piece.stop is not None)
        fitting = fitting_ranges(splits, pieces, self.max_bytes)
        if stops or fitting:
            raise ShortRead(stops, fitting)

    def _values(self, progress: Sequence[_Progress]) -> Iterator[tuple[list[bytes], Ints]]:
        """Yield values that are not tombstones with the window each falls into."""
        by_partition = {seen.split.partition: seen for seen in progress}
        if len(by_partition) != len(progress):
            # One consumer has one position a partition: pieces of one partition are read one after the other.
            for seen in progress:
                yield from self._values([seen])
            return
        with attempt(self.connection.bootstrap, [seen.split for seen in progress]) as fatal:
            if fatal:
                self._check_first(progress, fatal)
            while not all(seen.done for seen in progress):
                # More than once only where it turned out how much may be fetched at once.
                yield from self._read_on(by_partition, careful=bool(fatal))

    def _check_first(self, progress: Sequence[_Progress], fatal: Fatal) -> None:
        """Check the checksums of ranges that may end a process; end each where they are wrong or enough is checked.

        Raises:
            SourceUnavailable: A leader does not answer.
        """
        ranges = [seen.split for seen in progress]
        checked = check(self.connection, ranges, CHECKED_BYTES // len(ranges), ahead=FETCHED_AHEAD_BYTES // len(ranges))
        damaged: list[KafkaSplit] = []
        for seen, found in zip(progress, checked, strict=True):
            if found.damage:
                damaged.append(replace(seen.split, start=found.end, end=found.end + 1))
            if found.end < seen.split.end:
                halt = Halt.UNREADABLE if found.damage else Halt.FULL
                reason = found.damage or "so much was checked"
                seen.halt(halt, reason, found.end)
                # All before that is to be read.
                seen.done = seen.limit <= seen.split.start
                seen.next_offset = seen.split.start
        if not any(seen.stop is not None and seen.stop.halt is Halt.FULL for seen in progress):
            fatal.settle(self.connection.bootstrap, damaged)

    def _read_on(self, by_partition: dict[int, _Progress], *, careful: bool) -> Iterator[tuple[list[bytes], Ints]]:
        # A range that ended a process may have unpacked to more than there was memory: it is fetched in small pieces.
        open_splits = [seen for seen in by_partition.values() if not seen.done]
        topic = open_splits[0].split.topic
        reports = Reports(topic)
        known = None if careful else _SWELL.get((self.connection.bootstrap, topic))
        renewed = known is None and not careful
        try:
            consumer = Consumer({**self.settings(reports, known), "check.crcs": not careful})
        except KafkaException as error:
            raise ConfigError(f"Kafka settings for {self.connection.bootstrap}: {error.args[0].str()}") from error
        try:
            consumer.assign([TopicPartition(topic, s.split.partition, s.next_offset) for s in open_splits])
            for taken in self._consume(consumer, by_partition, reports, known):
                yield taken
                if renewed and _left(by_partition) > RENEWED_ABOVE and reports.swell() is not None:
                    break
        except KafkaException as error:
            raise _explained(error.args[0], self.connection) from error
        finally:
            consumer.close()
            if (swell := reports.swell()) is not None:
                _SWELL[self.connection.bootstrap, topic] = swell

    def _consume(
        self, consumer: Consumer, by_partition: dict[int, _Progress], reports: Reports, known: Swell | None
    ) -> Iterator[tuple[list[bytes], Ints]]:
        # Before the first record nothing is known of their size; of a topic that is fetched with care it may be huge.
        average = float(CHUNK_BYTES // (64 if response_bytes(known) > CAREFUL_BYTES else 1))
        while open_splits := [seen for seen in by_partition.values() if not seen.done]:
            if min(seen.idle for seen in open_splits) >= min(UNSEEN_SECONDS, STALL_SECONDS):
                self._give_up_idle(open_splits, reports)
                if all(seen.done for seen in open_splits):
                    return
            left = sum(seen.split.end - seen.next_offset for seen in open_splits)
            # consume() waits for as many as it is asked for, and holds them all: never ask for more than is left,
            # nor for more than about a chunk of bytes.
            wanted = max(1, min(left, MAX_FETCH, int(CHUNK_BYTES / average)))
            before = [seen.next_offset for seen in open_splits]
            began = time.monotonic()
            with _collector_paused():
                taken = self._fetch(consumer, wanted, by_partition, reports)
            # Bounded, because a process that was stopped for an hour has not waited for an hour.
            waited = min(time.monotonic() - began, 2 * POLL_SECONDS)
            for seen, offset in zip(open_splits, before, strict=True):
                seen.idle = 0.0 if seen.next_offset > offset else seen.idle + waited
            if taken is None:
                continue
            values, windows, mean = taken
            average = max(1.0, mean, average / 8)
            yield values, windows

    def _give_up_idle(self, open_splits: Sequence[_Progress], reports: Reports) -> None:
        """End partitions of which no visible record comes, if they only pass invisible ones, or for too long none."""
        passed = reports.passed()
        reached = [passed.get(seen.split.partition, 0) for seen in open_splits]
        advanced = [at > seen.next_offset for seen, at in zip(open_splits, reached, strict=True)]
        if not all(advanced) and min(seen.idle for seen in open_splits) < STALL_SECONDS:
            return
        detail = f" ({reports.complaint})" if reports.complaint else ""
        for seen, at, moved in zip(open_splits, reached, advanced, strict=True):
            if moved:
                seen.halt(Halt.UNSEEN, "no visible record for long", at)
            else:
                seen.halt(Halt.SILENT, f"nothing arrived for {STALL_SECONDS:.0f} s{detail}")

    def _fetch(
        self, consumer: Consumer, wanted: int, by_partition: dict[int, _Progress], reports: Reports
    ) -> tuple[list[bytes], Ints, float] | None:
        """Return values, their windows and the records' mean size, keys and headers included; None if no record came.

        Messages end here.
        """
        messages = consumer.consume(wanted, POLL_SECONDS)
        records = [message for message in messages if message.error() is None]
        events: list[Message] = []
        if len(records) != len(messages):
            records = _before_damage(messages)
            events = [message for message in messages if message.error() is not None]
        taken = self._take(consumer, records, by_partition) if records else None
        # After the records: an end of a partition says something of what came before it.
        self._events(consumer, events, by_partition)
        if taken is None:
            return None
        values, windows, size = taken
        return values, windows, size / len(records) + reports.weigh(records)

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
        tombstones, sizes = _sizes(values)
        total = int(sizes.sum())
        full = False
        if self.max_bytes is not None:
            fits = _fitting(sizes, total, self.max_bytes, sum(seen.bytes for seen in by_partition.values()))
            full = fits < count
            if full:
                values, partitions, offsets, stamps = values[:fits], partitions[:fits], offsets[:fits], stamps[:fits]
                tombstones, sizes = tombstones[:fits], sizes[:fits]
        keep = np.ones(len(values), np.bool_)
        believable = np.clip(stamps, EARLIEST_MS, self.latest_ms)
        absurd = believable != stamps
        self._sample(consumer, values, partitions, offsets, tombstones, by_partition)
        self._end_before_longer(values, sizes, partitions, offsets, by_partition)
        for partition in np.unique(partitions).tolist():
            seen = by_partition[partition]
            mine = partitions == partition
            inside = mine & (offsets < seen.limit)
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
            if seen.next_offset >= seen.limit or seen.gap is not None:
                self._finish(consumer, seen)
        if full:
            for seen in by_partition.values():
                if not seen.done:
                    seen.halt(Halt.FULL, "the batch has its bytes (max_bytes)")
        micros = believable * 1000
        windows = micros - micros % self.window_us
        keep &= ~tombstones
        if self.quarantine:
            self._put_aside(values, partitions, offsets, keep, by_partition)
        if keep.all():
            return values, windows, total
        chosen = np.flatnonzero(keep)
        return [values[index] for index in chosen.tolist()], windows[chosen], total

    def _end_before_longer(
        self,
        values: Sequence[Any],
        sizes: Ints,
        partitions: Ints,
        offsets: Ints,
        by_partition: Mapping[int, _Progress],
    ) -> None:
        """End each partition before its first value that holds more without a space than is counted."""
        longest = self.longest_word
        # Of records that no more fit the batch none is left.
        if longest is None or self.quarantine or int(sizes.max(initial=0)) <= longest:
            return
        for index in np.flatnonzero(sizes > longest).tolist():
            seen, offset = by_partition[int(partitions[index])], int(offsets[index])
            if seen.next_offset <= offset < seen.limit and holds_longer(values[index], longest):
                seen.limit = offset
                seen.stop = Stop(Halt.TOO_LONG, replace(seen.split, start=offset), too_long(len(values[index])))

    def _sample(
        self,
        consumer: Consumer,
        values: Sequence[Any],
        partitions: Ints,
        offsets: Ints,
        tombstones: npt.NDArray[np.bool_],
        by_partition: Mapping[int, _Progress],
    ) -> None:
        """Look at a few values of each partition, first and now and then; one whose values seem no text ends before."""
        arrived = np.bincount(partitions).tolist()
        for seen in by_partition.values():
            partition = seen.split.partition
            count = arrived[partition] if partition < len(arrived) else 0
            again = count >= JUDGED_AGAIN and self.text_until is not None
            if not again and not (count and seen.sample.wanted):
                continue
            sample = seen.sample if seen.sample.wanted else Sample(OF_AGAIN, 0)
            begin = int(np.argmax(partitions == partition))
            end = begin + sample.wanted
            mine = (partitions[begin:end] == partition) & (offsets[begin:end] >= seen.next_offset)
            mine &= (offsets[begin:end] < seen.limit) & ~tombstones[begin:end]
            chosen = [values[begin + place] for place in np.flatnonzero(mine).tolist()]
            sample.add(value for value in chosen if self.quarantine.reason(value) is None)
            kind = sample.verdict
            if kind is not None and self._judges(seen):
                self._halt(consumer, seen, Halt.NOT_TEXT, str(kind))

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
            seen.next_offset = seen.limit
            consumer.incremental_unassign([TopicPartition(seen.split.topic, seen.split.partition)])

    def _events(self, consumer: Consumer, messages: list[Message], by_partition: dict[int, _Progress]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                continue
            partition, offset = message.partition(), message.offset()
            seen = by_partition.get(partition) if message.topic() is not None and partition is not None else None
            if seen is not None and seen.done:
                # Once a partition is damaged its client reads on in the middle of nowhere: only its first error counts.
                continue
            if error.code() == KafkaError._PARTITION_EOF:
                assert seen is not None
                assert offset is not None
                # The tail of a range may be control, aborted or compacted records: the end is reached by position.
                if offset >= seen.limit:
                    seen.done = True
                    if self.gapless and seen.gap is None and seen.next_offset < seen.limit:
                        seen.gap = replace(seen.split, start=seen.next_offset, end=offset)
            elif is_damage(error):
                # An error without a name may be about any of them.
                for suspect in [seen] if seen is not None else list(by_partition.values()):
                    self._halt_damaged(consumer, suspect, error, offset)
            elif error.code() in _GONE or error.code() in _DENIED:
                raise _explained(error, self.connection)
            elif seen is not None:
                self._halt(consumer, seen, Halt.SILENT, error.str())
            elif error.code() not in _PASSING:
                raise _explained(error, self.connection)

    def _halt_damaged(self, consumer: Consumer, seen: _Progress, error: KafkaError, offset: int | None) -> None:
        if offset is not None and offset >= seen.limit:
            # What was fetched ahead: all before it has come.
            self._finish(consumer, seen)
        else:
            self._halt(consumer, seen, Halt.UNREADABLE, error.str())

    @staticmethod
    def _halt(consumer: Consumer, seen: _Progress, halt: Halt, reason: str) -> None:
        # After the first error of a partition its client reads on in the middle of nowhere.
        if not seen.done:
            seen.halt(halt, " ".join(reason.split()))
            consumer.incremental_unassign([TopicPartition(seen.split.topic, seen.split.partition)])

    def settings(self, reports: Reports, swell: Swell | None) -> dict[str, object]:
        """Return librdkafka's settings.

        Args:
            reports: Takes what the client tells of itself.
            swell: How much the topic's data swells, if that is known.
        """
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
            # One flipped bit on a broker's disk would be counted as another word. Costs nothing measurable.
            "check.crcs": True,
            "fetch.wait.max.ms": 10,
            **fetch_settings(swell),
            "statistics.interval.ms": SWELL_MS if swell is None else 1000,
            "stats_cb": reports.take,
            "error_cb": partial(_complained, reports),
            "log_level": 2,
        }


def _complained(reports: Reports, error: KafkaError) -> None:
    if error.code() not in _PASSING:
        reports.complaint = " ".join(error.str().split())


def _left(by_partition: dict[int, _Progress]) -> int:
    return sum(seen.limit - seen.next_offset for seen in by_partition.values() if not seen.done)


def _before_damage(messages: list[Message]) -> list[Message]:
    """Return the records without those that come after their partition's first error: they may be anything."""
    records: list[Message] = []
    damaged: set[int | None] = set()
    for message in messages:
        error = message.error()
        if error is None:
            if message.partition() not in damaged:
                records.append(message)
        elif error.code() != KafkaError._PARTITION_EOF:
            if message.topic() is None and is_damage(error):
                break
            damaged.add(message.partition())
    return records


def _fitting(sizes: Ints, total: int, most: int, spent: int) -> int:
    """Return how many of these records a batch still takes: at least one if it has none."""
    if spent + total <= most:
        return len(sizes)
    fits = int(np.searchsorted(np.cumsum(sizes), most - spent, "right"))
    return fits if spent else max(fits, 1)


def too_long(size: int) -> str:
    """Return why a value of so many bytes is not counted."""
    return f"a value of {size} bytes has more than {LONGEST_WORD} bytes without a space, more than can be counted"


def _joined(values: list[bytes]) -> Iterator[bytes]:
    """Yield values joined by a space each, in texts that can be counted at once."""
    if sum(map(len, values)) <= CHUNK_BYTES:
        yield b" ".join(values)
        return
    values.reverse()
    while values:
        part = [values.pop()]
        size = len(part[0])
        while values and size + len(values[-1]) <= CHUNK_BYTES:
            part.append(values.pop())
            size += len(part[-1])
        if len(part) > 1:
            yield b" ".join(part)
        else:
            yield from cut_at_spaces(part.pop(), CHUNK_BYTES)


def fitting_ranges(
    splits: Sequence[Split], pieces: Sequence[SplitProof], max_bytes: int | None
) -> tuple[KafkaSplit, ...]:
    """Return what of a batch's ranges was read without a hole and fits a batch; nothing where all of it is that.

    Args:
        splits: The batch's.
        pieces: Proofs of their pieces, in any order.
        max_bytes: What a batch may hold.
    """
    reached: dict[KafkaSplit, int] = {}
    held = 0
    for split in splits:
        assert isinstance(split, KafkaSplit)
        at = split.start
        for piece in sorted((p for p in pieces if p.split.what == split.what), key=lambda p: p.split.start):
            if piece.split.start == at:
                at = piece.split.end
                held += piece.bytes
        reached[split] = at
    # A tenth less than would just fit: sizes vary.
    share = 0.9 * max_bytes / held if max_bytes is not None and held > max_bytes else 1.0
    fitting = tuple(
        replace(split, end=split.start + max(1, int((at - split.start) * share)))
        for split, at in reached.items()
        if at > split.start
    )
    return () if fitting == tuple(splits) else fitting


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
_DENIED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
_DAMAGE = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNDERFLOW,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_RECORD,
}
"""What lies in the log is not what should: it is so each time it is read."""


def is_damage(error: KafkaError) -> bool:
    """Return whether an error is about what the log holds, not about who serves it."""
    return error.code() in _DAMAGE


def _explained(error: KafkaError, connection: KafkaConnection) -> Exception:
    if error.code() in _GONE:
        return PlanAgain(f"an offset range is no longer there ({error.str()})")
    if error.code() in _DENIED:
        return SourceUnavailable(f"Kafka at {connection.bootstrap}: not allowed to read ({error.str()}); grant READ")
    return SourceUnavailable(f"Kafka at {connection.bootstrap}: {error.str()}")

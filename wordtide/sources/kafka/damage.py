"""Finds out by trying which offsets of a partition cannot be decoded: the client's errors name a begin and no end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wordtide.core.model import KafkaSplit, Parked
from wordtide.core.problems import SourceUnavailable
from wordtide.sources.kafka.checksums import check
from wordtide.sources.kafka.fetch import LARGEST_BATCH_BYTES, Reports
from wordtide.sources.kafka.read import KafkaReader, is_damage

ANSWER_SECONDS = 3.0
"""For one try; a broker that answers does so within ms."""
SEARCH_SECONDS = 30.0
"""For one partition: a batch of a million records takes some forty tries of 10 ms."""
TRIES = 100

_CODECS = {"0x1": "gzip", "0x2": "snappy", "0x3": "lz4", "0x4": "zstd"}
_UNPACKING = re.compile(r"Decompression \(codec (0x\w+)\) of message at \d+ of (\d+) bytes failed: (?:Local: )?(.+)")


class Outcome(StrEnum):
    """What came first from an offset on."""

    READABLE = "readable"
    """A record, or the partition's end."""
    DAMAGED = "damaged"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came first from an offset on.

    Attributes:
        outcome: Its kind.
        offset: Of the record, or the end; of what is damaged where it begins, which may be before what was asked for.
        reason: What the client says of it.
    """

    outcome: Outcome
    offset: int = -1
    reason: str = ""


class SearchEnded(Exception):
    """No end was found in time, or nobody answers."""


def answer_at(reader: KafkaReader, where: KafkaSplit) -> Answer:
    """Try to read from a range's start.

    Raises:
        SearchEnded: The broker does not answer, which says nothing of what it holds.
    """
    try:
        return answers_at(reader, [where], ANSWER_SECONDS)[where.partition]
    except SourceUnavailable as error:
        raise SearchEnded(str(error)) from error


def answers_at(reader: KafkaReader, ranges: Sequence[KafkaSplit], seconds: float, ahead: int = 1) -> dict[int, Answer]:
    """Try to read from the start of each range, with a consumer of their own: one that met an error is lost.

    Aborted records are readable.

    Args:
        reader: Whose settings count.
        ranges: Of one topic, one a partition.
        seconds: For the checksums, and once more for the rest.
        ahead: Bytes of each whose checksums are checked; at least one batch.

    Returns:
        By partition what came first. A wrong checksum further on, within what was checked, comes as damage there.

    Raises:
        SourceUnavailable: A broker does not answer.
    """
    found: dict[int, Answer] = {}
    checked = check(reader.connection, ranges, ahead, seconds)
    for where, sums in zip(ranges, checked, strict=False):
        if sums.damage and (sums.end <= where.start or (ahead > 1 and sums.end < where.end)):
            found[where.partition] = Answer(Outcome.DAMAGED, sums.end, sums.damage)
    try:
        # The client's own check of checksums might end the process.
        consumer = Consumer(
            {**reader.settings(Reports(where.topic), None), "isolation.level": "read_uncommitted", "check.crcs": False}
        )
        try:
            open_ranges = {where.partition: where for where in ranges if where.partition not in found}
            consumer.assign([TopicPartition(where.topic, p, where.start) for p, where in open_ranges.items()])
            deadline = time.monotonic() + seconds
            while open_ranges and (left := deadline - time.monotonic()) > 0:
                message = consumer.poll(left)
                if message is None or (partition := message.partition()) is None:
                    continue
                answer = _answer(message)
                if answer is not None and partition in open_ranges:
                    found[partition] = answer
                    consumer.incremental_unassign([TopicPartition(open_ranges.pop(partition).topic, partition)])
        finally:
            consumer.close()
    except KafkaException as error:
        silent = Answer(Outcome.SILENT, reason=str(error.args[0].str()))
        return {where.partition: found.get(where.partition, silent) for where in ranges}
    return {where.partition: found.get(where.partition, Answer(Outcome.SILENT)) for where in ranges}


def _answer(message: Message) -> Answer | None:
    """Return what a message says of its partition; None if nothing."""
    error, offset = message.error(), message.offset()
    at = -1 if offset is None else offset
    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
        return Answer(Outcome.READABLE, at)
    return Answer(Outcome.DAMAGED, at, explained(error.str())) if is_damage(error) else None


def find_damage(ask: Callable[[int], Answer], at: int, end: int) -> tuple[int, int, str] | None:
    """Return ``[begin, end)`` of the first damaged batch from an offset on, and what is wrong with it.

    Args:
        ask: Tries to read from an offset on.
        at: Where reading got to.
        end: Where the partition ends.

    Returns:
        None if what follows can be read after all, or nothing answers.

    Raises:
        SearchEnded: The tries or the time are used up.
    """
    first = ask(at)
    if first.outcome is not Outcome.DAMAGED:
        return None
    begin = first.offset if at < first.offset < end else at

    def inside(offset: int) -> bool:
        answer = ask(offset)
        # Another batch's error is behind this one.
        return answer.outcome is Outcome.SILENT or (answer.outcome is Outcome.DAMAGED and answer.offset == first.offset)

    outside = _first_outside(inside, begin, end)
    # Of some damage the client says nothing but at its begin, and goes on behind it.
    return begin, outside if outside == end else min(max(outside, ask(outside).offset), end), first.reason


def find_silence(ask: Callable[[int], Answer], at: int, end: int) -> tuple[int, int, str] | None:
    """Return ``[at, end)`` of what gives nothing, though what follows can be read; else None.

    Raises:
        SearchEnded: The tries or the time are used up.
    """
    if ask(at).outcome is not Outcome.SILENT or ask(end).outcome is Outcome.SILENT:
        return None
    found = _first_outside(lambda offset: ask(offset).outcome is Outcome.SILENT, at, end)
    return at, found, "neither records nor an error arrive, although later offsets can be read"


def _first_outside(inside: Callable[[int], bool], begin: int, end: int) -> int:
    """Return the first offset behind ``begin`` that is not inside: by doubling steps, then by halving the last."""
    low, high, step = begin, end, 1
    while low + step < high:
        if inside(low + step):
            low, step = low + step, 2 * step
        else:
            high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if inside(middle):
            low = middle
        else:
            high = middle
    return high


def bounded(ask: Callable[[int], Answer]) -> Callable[[int], Answer]:
    """Return the same, for at most `TRIES` tries and `SEARCH_SECONDS`; each offset is tried once."""
    deadline = time.monotonic() + SEARCH_SECONDS
    known: dict[int, Answer] = {}

    def asked(offset: int) -> Answer:
        if offset not in known:
            if len(known) >= TRIES or time.monotonic() > deadline:
                raise SearchEnded(f"the end of the damage was not found within {TRIES} tries or {SEARCH_SECONDS:.0f} s")
            known[offset] = ask(offset)
        return known[offset]

    return asked


def parked(where: KafkaSplit, reason: str) -> Parked:
    """Return a damaged range as the ledger records it."""
    return Parked(where.what, f"offsets [{where.start}, {where.end}) cannot be read: {reason}", where)


def explained(said: str) -> str:
    """Return what the client says of a damaged batch, with what its number of a codec stands for."""
    line = " ".join(said.split())
    found = _UNPACKING.fullmatch(line)
    if found is None:
        return line
    number, size, why = found.groups()
    codec = _CODECS.get(number)
    if codec is None:
        return f"unknown compression codec {number}"
    most = LARGEST_BATCH_BYTES >> 20
    limit = f", or too large: more than {most} MB decompressed, {most // 3} MB where the size is not stated"
    return f"its {codec} data ({size} bytes) cannot be decompressed: {why}{limit if codec == 'zstd' else ''}"

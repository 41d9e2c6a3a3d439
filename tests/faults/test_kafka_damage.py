"""Batches of a topic that cannot be decoded, in a real broker's log: parked by name, and nothing else waits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Generator

import pytest

from tests.damage import BATCHES, damage, fill, flip, no_codec, no_magic, scramble
from tests.servers import OwnBroker
from tests.support import Place, assert_contiguous, decide, topic_of
from wordtide.config import Stream, load_streams
from wordtide.core.model import Halt, KafkaSplit, SplitProof
from wordtide.core.text import Text
from wordtide.doctor.brokers import kafka_check
from wordtide.doctor.findings import SourceSeen
from wordtide.doctor.positions import read_at_position
from wordtide.sources.kafka.attempts import attempt
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.read import KafkaReader

SPAWN = multiprocessing.get_context("spawn")


def drained(place: Place, stream: Stream) -> list[str]:
    """Drain in a process of its own, again where the client aborts it at a wrong checksum; return what is parked."""
    for _ in range(len(BATCHES)):
        process = SPAWN.Process(target=drain, args=(place, stream.name))
        process.start()
        process.join(120)
        if process.exitcode != -signal.SIGABRT:
            break
    assert process.exitcode == 0
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    return sorted(snapshot.ledger.parked)


def drain(place: Place, name: str) -> None:
    place.drain(load_streams(place.streams_yaml)[name])


def words_of_batches(*words: str) -> Counter[str]:
    return Counter({word: 5 * 31 * words.count(word) for word in words})


def parked(place: Place, stream: Stream) -> list[tuple[int, int, int]]:
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    splits = [waiting.split for waiting in snapshot.ledger.parked.values()]
    return sorted((split.partition, split.start, split.end) for split in splits)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("codec", "how", "isolation"),
    [
        ("none", flip, "read_committed"),
        ("zstd", scramble, "read_uncommitted"),
        ("lz4", no_codec, "read_committed"),
    ],
)
def test_each_damaged_batch_is_parked_exactly_and_everything_around_it_is_counted(
    own: Place, broker: OwnBroker, codec: str, how: Callable[[bytearray], None], isolation: str
) -> None:
    stream = own.topic_stream(partitions=4, engine="local", kafka={"isolation": isolation})
    topic = topic_of(stream)
    fill(own, stream, codec, 4)
    broker.stop()
    # In the middle and right behind it, at the begin, at the end; partition 3 is well.
    for partition, numbers in ((0, {1, 2}), (1, {0}), (2, {3})):
        damage(broker, topic, partition, numbers, how)
    broker.start()
    assert drained(own, stream) == [f"{topic}/{partition}" for partition in range(3)]
    assert parked(own, stream) == [(0, 5, 10), (1, 0, 5), (2, 15, 20)]
    assert own.counted(stream) == words_of_batches("one", *BATCHES[:3], *BATCHES)
    for partition in range(3):
        decide(own, stream, f"{topic}/{partition}", "skip")
    # The second damaged batch is another decision.
    assert drained(own, stream) == [f"{topic}/0"]
    assert parked(own, stream) == [(0, 10, 15)]
    decide(own, stream, f"{topic}/0", "skip")
    assert drained(own, stream) == []
    assert own.counted(stream) == words_of_batches("one", "four", *BATCHES[1:], *BATCHES[:3], *BATCHES)
    assert own.drain(stream).batches == 0


def test_a_format_that_is_not_known_is_parked_though_the_client_passes_over_it_in_silence(
    own: Place, broker: OwnBroker
) -> None:
    stream = own.topic_stream(engine="local")
    fill(own, stream, "gzip")
    broker.stop()
    damage(broker, topic_of(stream), 0, {1}, no_magic)
    broker.start()
    assert drained(own, stream) == [f"{topic_of(stream)}/0"]
    assert parked(own, stream) == [(0, 5, 10)]
    decide(own, stream, f"{topic_of(stream)}/0", "skip")
    assert drained(own, stream) == []
    assert own.counted(stream) == words_of_batches("one", "three", "four")


def test_what_can_be_read_again_is_counted_by_recount(own: Place, broker: OwnBroker) -> None:
    stream = own.topic_stream(engine="local")
    topic = topic_of(stream)
    fill(own, stream, "none")
    broker.stop()
    damage(broker, topic, 0, {1}, flip)
    broker.start()
    assert drained(own, stream) == [f"{topic}/0"]
    decide(own, stream, f"{topic}/0", "recount")
    # Still damaged: parked once more.
    assert drained(own, stream) == [f"{topic}/0"]
    assert parked(own, stream) == [(0, 5, 10)]
    broker.stop()
    # The same flip twice is none: a replica that was repaired.
    damage(broker, topic, 0, {1}, flip)
    broker.start()
    decide(own, stream, f"{topic}/0", "recount")
    assert drained(own, stream) == []
    assert own.counted(stream) == words_of_batches(*BATCHES)
    assert_contiguous(own.ledger(stream), {0: 20})


def test_a_range_that_ended_a_process_is_read_with_care_and_its_damage_is_parked(own: Place, broker: OwnBroker) -> None:
    stream = own.topic_stream(partitions=2, engine="local")
    topic = topic_of(stream)
    fill(own, stream, "none", 2)
    broker.stop()
    damage(broker, topic, 0, {1}, flip)
    broker.start()
    # As an assertion of the client's does at some wrong checksums.
    ranges = [KafkaSplit(topic, 0, 0, 20), KafkaSplit(topic, 1, 0, 20)]
    died = SPAWN.Process(target=die_reading, args=(broker.address, ranges))
    died.start()
    died.join(60)
    assert died.exitcode == -signal.SIGABRT
    reader = KafkaReader(KafkaConnection(broker.address), "read_committed", 60_000_000, 2**50)
    reading = reader.read(ranges)
    proofs = ended(reading)
    assert [(proof.split.partition, proof.split.end, proof.records) for proof in proofs] == [(0, 5, 5), (1, 20, 20)]
    assert proofs[0].stop is not None
    assert (proofs[0].stop.halt, proofs[0].stop.rest.start) == (Halt.UNREADABLE, 5)
    assert proofs[0].stop.reason == "its checksum is wrong (CRC32C)"
    # Whoever begins before the damage would meet it again.
    with attempt(broker.address, [KafkaSplit(topic, 0, 0, 5)]) as fatal:
        assert fatal
    with attempt(broker.address, [KafkaSplit(topic, 0, 10, 20), KafkaSplit(topic, 1, 0, 20)]) as fatal:
        assert not fatal
    assert drained(own, stream) == [f"{topic}/0"]
    assert parked(own, stream) == [(0, 5, 10)]
    assert own.counted(stream) == words_of_batches("one", *BATCHES)


def test_damage_behind_a_range_that_ended_a_process_is_known_to_the_next_read(own: Place, broker: OwnBroker) -> None:
    stream = own.topic_stream(engine="local")
    topic = topic_of(stream)
    fill(own, stream, "none")
    broker.stop()
    damage(broker, topic, 0, {2}, flip)
    broker.start()
    # It was fetched ahead.
    died = SPAWN.Process(target=die_reading, args=(broker.address, [KafkaSplit(topic, 0, 0, 5)]))
    died.start()
    died.join(60)
    reader = KafkaReader(KafkaConnection(broker.address), "read_committed", 60_000_000, 2**50)
    (proof,) = ended(reader.read([KafkaSplit(topic, 0, 0, 5)]))
    assert (proof.split.end, proof.stop) == (5, None)
    (proof,) = ended(reader.read([KafkaSplit(topic, 0, 5, 20)]))
    assert proof.split.end == 10
    # What was read with care says so in words that are not the client's.
    assert proof.stop is not None
    assert proof.stop.reason == "its checksum is wrong (CRC32C)"


def die_reading(bootstrap: str, ranges: list[KafkaSplit]) -> None:
    """End this process while it reads."""
    with attempt(bootstrap, ranges):
        os.abort()


def ended(reading: Generator[Text, None, tuple[SplitProof, ...]]) -> tuple[SplitProof, ...]:
    """Return the proofs of what was read to its end."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            proofs: tuple[SplitProof, ...] = end.value
            return proofs


@pytest.mark.parametrize(
    ("codec", "how", "reason"),
    [("none", flip, "checksum is wrong"), ("zstd", scramble, "cannot be decompressed")],
)
def test_the_doctor_reads_at_the_position_and_names_what_a_drain_cannot_read(
    own: Place, broker: OwnBroker, codec: str, how: Callable[[bytearray], None], reason: str
) -> None:
    stream = own.topic_stream(partitions=2, engine="local")
    topic = topic_of(stream)
    fill(own, stream, codec, 2)
    # Not founded: what its first batch would begin with; and where nothing is wrong nothing is said.
    broker.stop()
    damage(broker, topic, 1, {0}, how)
    broker.start()
    found = read_at_position(stream, KafkaConnection(broker.address))
    assert [line.partition(": ")[0] for line in found.unreadable] == [f"{topic}/1 from offset 0"]
    assert reason in found.unreadable[0]
    assert own.table(stream).open() is None
    assert drained(own, stream) == [f"{topic}/1"]
    found = read_at_position(stream, KafkaConnection(broker.address))
    assert found.unreadable == ()
    assert [line.partition(": ")[0] for line in found.parked] == [f"{topic}/1"]
    # Founded, and damaged behind the position.
    decide(own, stream, f"{topic}/1", "skip")
    assert drained(own, stream) == []
    fill(own, stream, codec, 1)
    broker.stop()
    damage(broker, topic, 0, {4}, how)
    broker.start()
    outcomes = list(kafka_check(KafkaConnection(broker.address), [stream]).run())
    (seen,) = [one for one in outcomes if isinstance(one, SourceSeen)]
    assert seen.finding.stops
    assert f"1 partition cannot be read on, the rest flows: {topic}/0 from offset 20: " in seen.finding.what
    assert reason in seen.finding.what

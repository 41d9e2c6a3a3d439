"""What a topic does to a reader when reality is untidy: each case decided, recorded, and put right by a decision."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient

from tests.dagster.support import by_hand, check_of, definitions, instance, start, tick
from tests.invariants.conftest import At
from tests.servers import OwnBroker
from tests.support import (
    SECONDS,
    Place,
    add_partitions,
    assert_contiguous,
    assert_numbered,
    create_topic,
    decide,
    delete_records,
    delete_topic,
    produce,
    some_lines,
    topic_of,
    unique,
    wait_until,
    words_of,
)
from wordtide.config import Stream
from wordtide.core.problems import DecisionRefused, SourceUnavailable
from wordtide.drain.loop import Step, Summary
from wordtide.drain.pacing import Pace
from wordtide.embedded.cluster import ClusterAddress
from wordtide.sources.kafka.read import KafkaReader
from wordtide.sources.kafka.source import KafkaTopic

ONE_BY_ONE = {"batch.num.messages": "1"}
"""A batch a record, so that a broker's log can be cut anywhere."""


def follow(place: Place, stream: Stream) -> Summary:
    """Drain as a run of the sensor does."""
    source = place.source(stream)
    try:
        return place.drainer(stream, source=source).run(Pace.of(stream.config, by_hand=False))
    finally:
        source.close()


def noted(place: Place, stream: Stream, status: str) -> list[tuple[int | None, int | None, int | None, str]]:
    """Return (partition, start, end, reason) of what the ledger holds under a status."""
    rows = [row for row in place.ledger(stream) if row["status"] == status]
    return [(s["partition"], s["start"], s["end"], s["reason"]) for row in rows for s in row["splits"]]


def transactional(place: Place) -> Producer:
    settings = {"bootstrap.servers": place.cluster.kafka, "transactional.id": unique("t"), "linger.ms": 0}
    producer = Producer(settings)
    producer.init_transactions(SECONDS)
    return producer


def send_open(producer: Producer, topic: str, *values: str, partition: int = 0) -> None:
    """Begin a transaction and write to it."""
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=partition)
    producer.flush(SECONDS)


def await_end(place: Place, stream: Stream, end: int, partition: int = 0) -> None:
    """Wait until what can be taken of a partition ends there: the marker of a transaction is written after its end."""
    source = place.source(stream)
    assert isinstance(source, KafkaTopic)
    wait_until(f"partition {partition} ends at {end}", lambda: source.snapshot().partitions[partition].end == end)
    source.close()


def test_a_retention_loss_fails_the_check_by_name_and_skip_goes_on_behind_it(place: Place) -> None:
    stream = place.topic_stream(partitions=2, engine="local")
    topic = topic_of(stream)
    first, lost, others = some_lines(10, 1), some_lines(30, 2), some_lines(20, 3)
    place.produce(stream, first, partition=0)
    place.drain(stream)
    place.produce(stream, lost, partition=0)
    place.produce(stream, others, partition=1)
    delete_records(place.cluster, topic, {0: 25})
    with instance() as home:
        result = by_hand(definitions(place, stream), stream, home)
        assert result.success
        check = check_of(result)
        assert not check.passed
        assert check.description == f"waiting for a decision: {topic}/0"
        assert place.counted(stream) == words_of([*first, *others])
        assert [row[:3] for row in noted(place, stream, "parked")] == [(0, 10, 25)]
        decide(place, stream, f"{topic}/0", "skip")
        check = check_of(by_hand(definitions(place, stream), stream, home))
        assert check.passed
    assert place.counted(stream) == words_of([*first, *others, *lost[15:]])
    assert_numbered(place.ledger(stream))


@pytest.mark.parametrize("step", [Step.READ, Step.COMMIT])
def test_a_topic_recreated_while_a_batch_is_read_is_parked_and_taken_from_its_beginning(
    place: Place, at: At, step: Step
) -> None:
    stream = place.topic_stream()
    topic = topic_of(stream)
    place.produce(stream, ["old"])
    place.drain(stream)
    place.produce(stream, ["gone", "gone"])

    def recreate() -> None:
        delete_topic(place.cluster, topic)
        create_topic(place.cluster, topic)
        place.produce(stream, ["new"] * 9)

    at(step, recreate)
    place.drain(stream)
    if step is Step.READ:
        assert place.counted(stream) == {"old": 1}
    else:
        # Proved before it was recreated: what was read is the old topic's, and counted.
        assert place.counted(stream) == {"old": 1, "gone": 2}
    assert place.drain(stream).parked == [topic]
    ((_, _, _, reason),) = noted(place, stream, "parked")
    assert "recreated" in reason
    before = place.counted(stream)
    decide(place, stream, topic, "from-earliest")
    assert place.drain(stream).parked == []
    assert place.counted(stream) == before + Counter(new=9)


def test_partitions_added_during_a_run_are_taken_from_their_beginning(place: Place, at: At) -> None:
    stream = place.topic_stream(linger="1s")
    place.produce(stream, ["old"] * 5)

    def grow() -> None:
        add_partitions(place.cluster, topic_of(stream), 3)
        place.produce(stream, ["new"] * 4, partition=1)
        place.produce(stream, ["new"] * 3, partition=2)

    at(Step.READ, grow)
    summary = follow(place, stream)
    assert (summary.parked, summary.stalled) == ([], [])
    assert place.counted(stream) == {"old": 5, "new": 7}
    assert_contiguous(place.ledger(stream), {0: 5, 1: 4, 2: 3})


def test_partitions_added_during_a_run_by_hand_wait_for_the_next(place: Place, at: At) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["old"])

    def grow() -> None:
        add_partitions(place.cluster, topic_of(stream), 2)
        place.produce(stream, ["new"] * 4, partition=1)

    at(Step.READ, grow)
    place.drain(stream)
    assert place.counted(stream) == {"old": 1}
    place.drain(stream)
    assert place.counted(stream) == {"old": 1, "new": 4}


def test_an_endless_transaction_is_recorded_once_and_fails_the_check_until_it_ends(place: Place) -> None:
    stream = place.topic_stream(partitions=2, engine="local", linger="0s", kafka={"stalled": "400ms"})
    topic = topic_of(stream)
    place.produce(stream, ["before"] * 3, partition=0)
    producer = transactional(place)
    send_open(producer, topic, "within", "within")
    place.produce(stream, ["behind"] * 5, partition=0)
    place.produce(stream, ["other"], partition=1)
    assert place.drain(stream).stalled == []
    defs = definitions(place, stream)
    with instance() as home:
        # An open transaction is everyday life until it is recorded; from then on the run's check says so.
        (request,) = tick(defs, stream, home).run_requests or ()
        result = start(defs, stream, home, request)
        assert result.success
        check = check_of(result)
        assert not check.passed
        assert check.description is not None
        assert check.description.startswith(f"stalled: {topic}/0: held back by an open transaction at offset 3: 7 offs")
        assert place.counted(stream) == {"before": 3, "other": 1}
        # It is recorded: nothing is left to do, and a run by hand still says so.
        assert not tick(defs, stream, home).run_requests
        check = check_of(by_hand(defs, stream, home))
        assert not check.passed
        ((partition, begin, end, reason),) = noted(place, stream, "stalled")
        assert (partition, begin, end) == (0, 3, 10)
        assert "since 20" in reason
        assert noted(place, stream, "parked") == []
        # The others flow meanwhile; when it ends, it goes on by itself.
        place.produce(stream, ["other"], partition=1)
        place.drain(stream)
        producer.commit_transaction(SECONDS)
        await_end(place, stream, 11)
        check = check_of(by_hand(defs, stream, home))
        assert check.passed
    assert place.counted(stream) == {"before": 3, "within": 2, "behind": 5, "other": 2}
    assert len(noted(place, stream, "stalled")) == 1
    assert_contiguous(place.ledger(stream), {0: 11, 1: 2})


def test_each_transaction_that_does_not_end_is_an_episode_of_its_own(place: Place) -> None:
    stream = place.topic_stream(linger="0s", kafka={"stalled": "300ms"})
    producer = transactional(place)
    for number in range(2):
        send_open(producer, topic_of(stream), f"w{number}")
        assert len(follow(place, stream).stalled) == 1
        producer.abort_transaction(SECONDS)
        await_end(place, stream, 2 * number + 2)
        assert follow(place, stream).stalled == []
    assert [row[:3] for row in noted(place, stream, "stalled")] == [(0, 0, 1), (0, 2, 3)]
    assert place.counted(stream) == {}


def test_transactions_that_end_in_time_are_no_news(place: Place) -> None:
    stream = place.topic_stream(linger="0s")
    producer = transactional(place)
    send_open(producer, topic_of(stream), "a")
    assert place.drain(stream).stalled == []
    producer.commit_transaction(SECONDS)
    await_end(place, stream, 2)
    follow(place, stream)
    assert place.counted(stream) == {"a": 1}
    assert noted(place, stream, "stalled") == []


def test_the_first_gap_parks_its_partition_and_skip_goes_on_behind_it(place: Place) -> None:
    stream = place.topic_stream(partitions=2, kafka={"gaps": "park"})
    topic = topic_of(stream)
    place.produce(stream, ["a", "b"], partition=0)
    producer = transactional(place)
    for values, end in ((["x"] * 3, 6), (["y"], 9)):
        send_open(producer, topic, *values)
        producer.abort_transaction(SECONDS)
        await_end(place, stream, end)
        place.produce(stream, ["c"], partition=0)
    place.produce(stream, ["other"] * 2, partition=1)
    # Offsets 2 to 5: three aborted and their marker; 6: c; 7 and 8: one aborted and its marker; 9: c.
    assert place.drain(stream).parked == [f"{topic}/0"]
    assert place.counted(stream) == {"a": 1, "b": 1, "other": 2}
    assert [row[:3] for row in noted(place, stream, "parked")] == [(0, 2, 6)]
    decide(place, stream, f"{topic}/0", "skip")
    assert place.drain(stream).parked == [f"{topic}/0"]
    assert [row[:3] for row in noted(place, stream, "parked")] == [(0, 2, 6), (0, 7, 9)]
    assert place.counted(stream) == {"a": 1, "b": 1, "c": 1, "other": 2}
    decide(place, stream, f"{topic}/0", "skip")
    assert place.drain(stream).parked == []
    assert place.counted(stream) == {"a": 1, "b": 1, "c": 2, "other": 2}
    assert sum(row["gaps"] for row in place.ledger(stream)) == 0


def test_gaps_of_a_compacted_topic_are_never_parked(place: Place) -> None:
    stream = place.streams({"s": {"kafka": {"topic": unique("kept"), "gaps": "park"}, "batch_interval": "100ms"}})["s"]
    create_topic(place.cluster, topic_of(stream), config={"cleanup.policy": "compact,delete"})
    producer = transactional(place)
    for word, end in (("lost", producer.abort_transaction), ("kept", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic_of(stream), word, key=word, partition=0)
        producer.flush(SECONDS)
        end(SECONDS)
    await_end(place, stream, 4)
    assert place.drain(stream).parked == []
    assert place.counted(stream) == {"kept": 1}


def test_a_record_of_20_mb_is_counted(place: Place) -> None:
    stream = place.streams({"s": {"kafka": {"topic": unique("large")}, "batch_interval": "100ms"}})["s"]
    create_topic(place.cluster, topic_of(stream), config={"max.message.bytes": "30000000"})
    large = "large " * 3_500_000 + "end"
    config = {"message.max.bytes": "30000000"}
    place.produce(stream, ["small", large, "small", large], config=config)
    place.drain(stream)
    assert place.counted(stream) == {"small": 2, "large": 7_000_000, "end": 2}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A broker to be stopped at will."""
    broker = OwnBroker(tmp_path_factory.mktemp("first"))
    yield broker
    broker.kill()


@pytest.fixture(scope="module")
def second(first: OwnBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A second one in its cluster."""
    broker = OwnBroker(tmp_path_factory.mktemp("second"), joins=first)
    yield broker
    broker.kill()


@pytest.fixture
def own(first: OwnBroker, place: Place) -> Place:
    """A place whose topics are on the broker of our own."""
    return Place(place.folder, ClusterAddress(first.address, place.cluster.hdfs, place.cluster.webhdfs))


def test_another_cluster_is_parked_and_the_old_one_goes_on_where_it_was(place: Place, own: Place) -> None:
    stream = place.topic_stream()
    topic = topic_of(stream)
    place.produce(stream, ["here"] * 4)
    place.drain(stream)
    create_topic(own.cluster, topic)
    produce(own.cluster, topic, ["there"] * 9)
    assert own.drain(stream).parked == [topic]
    ((partition, _, _, reason),) = noted(place, stream, "parked")
    assert partition is None
    ids = [str(AdminClient({"bootstrap.servers": p.cluster.kafka}).list_topics().cluster_id) for p in (place, own)]
    assert all(cluster_id in reason for cluster_id in ids)
    place.produce(stream, ["here"] * 2)
    # Back at the old address: still parked until somebody says so.
    assert place.drain(stream).parked == [topic]
    decide(place, stream, topic, "skip")
    assert place.drain(stream).parked == []
    assert place.counted(stream) == {"here": 6}
    assert_contiguous(place.ledger(stream), {0: 6})


def cut_log(folder: Path, keep: int) -> None:
    """Cut the only segment of a partition of a broker that is down, so that it ends at offset ``keep``."""
    (log,) = folder.glob("*.log")
    content = log.read_bytes()
    position = 0
    while position < len(content):
        offset, length = struct.unpack_from(">qi", content, position)
        if offset >= keep:
            break
        position += 12 + length
    log.write_bytes(content[:position])
    for file in (*folder.glob("*index"), *folder.glob("*.snapshot"), folder / "leader-epoch-checkpoint"):
        file.unlink(missing_ok=True)
    # Without these the broker looks at every segment again, as after a power cut.
    for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint", ".kafka_cleanshutdown"):
        (folder.parent / name).unlink(missing_ok=True)


def test_an_end_before_the_position_is_parked_and_skip_goes_on_from_the_new_end(own: Place, first: OwnBroker) -> None:
    stream = own.topic_stream(partitions=2)
    topic = topic_of(stream)
    own.produce(stream, [f"w{n}" for n in range(10)], partition=0, config=ONE_BY_ONE)
    own.drain(stream)
    first.kill()
    cut_log(first.data / f"{topic}-0", 6)
    first.start()
    own.produce(stream, ["other"], partition=1)
    assert own.drain(stream).parked == [f"{topic}/0"]
    ((partition, begin, end, reason),) = noted(own, stream, "parked")
    assert (partition, begin, end) == (0, 6, 10)
    assert "[6, 10)" in reason
    # While it waits, the broker gives the same offsets out again.
    own.produce(stream, ["again"] * 2, partition=0)
    decide(own, stream, f"{topic}/0", "skip")
    own.produce(stream, ["again"] * 3, partition=0)
    assert own.drain(stream).parked == []
    assert own.counted(stream) == Counter({**{f"w{n}": 1 for n in range(10)}, "other": 1, "again": 5})


def small_fetches(monkeypatch: pytest.MonkeyPatch, after_first: Callable[[], None]) -> None:
    """Let readers fetch little at a time, and do something once when the first records are there."""
    settings = KafkaReader.settings
    fetch = KafkaReader._fetch
    done = threading.Event()

    def few(reader: KafkaReader, *arguments: Any) -> dict[str, object]:
        little = {"queued.min.messages": 1, "queued.max.messages.kbytes": 1, "fetch.message.max.bytes": 1000}
        return {**settings(reader, *arguments), **little}

    def fetch_few(reader: KafkaReader, consumer: Consumer, wanted: int, *arguments: Any) -> Any:
        taken = fetch(reader, consumer, min(wanted, 10), *arguments)
        if taken is not None and not done.is_set():
            done.set()
            after_first()
        return taken

    monkeypatch.setattr(KafkaReader, "settings", few)
    monkeypatch.setattr(KafkaReader, "_fetch", fetch_few)


def test_a_broker_killed_mid_batch_and_back_is_waited_for(
    own: Place, first: OwnBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = own.topic_stream(partitions=2)
    lines = some_lines(3000)
    own.produce(stream, lines, config={"batch.num.messages": "20"})
    restarting = threading.Thread(target=first.start)

    def restart() -> None:
        first.kill()
        restarting.start()

    small_fetches(monkeypatch, restart)
    own.drain(stream)
    restarting.join(90)
    assert own.counted(stream) == words_of(lines)
    assert_numbered(own.ledger(stream))


def test_a_broker_that_stays_away_ends_the_drain_in_one_line_and_the_next_goes_on(
    own: Place, first: OwnBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.STALL_SECONDS", 1.0)
    monkeypatch.setattr("wordtide.sources.kafka.source.BOOTSTRAP_TIMEOUT_MS", 1000)
    stream = own.topic_stream(partitions=2)
    lines = some_lines(3000)
    own.produce(stream, lines[:100])
    own.drain(stream)
    own.produce(stream, lines[100:], config={"batch.num.messages": "20"})
    with monkeypatch.context() as patched:
        small_fetches(patched, first.kill)
        with pytest.raises(SourceUnavailable, match="no answer") as ended:
            own.drain(stream)
    assert "\n" not in str(ended.value)
    assert own.counted(stream) == words_of(lines[:100])
    first.start()
    own.drain(stream)
    assert own.counted(stream) == words_of(lines)
    assert_numbered(own.ledger(stream))


@pytest.fixture
def spread(own: Place, second: OwnBroker) -> Stream:
    """A stream whose partition 0 is on the first broker and whose partition 1 is on the second."""
    topic = unique("spread")
    kafka = {"topic": topic, "stalled": "300ms"}
    stream = own.streams({"s": {"kafka": kafka, "batch_interval": "100ms", "linger": "600ms", "engine": "local"}})["s"]
    admin = KafkaAdminClient(bootstrap_servers=own.cluster.kafka)
    admin.create_topics({topic: {"assignments": {0: [1], 1: [2]}}})
    admin.close()
    wait_until("both partitions are led", lambda: leaders(own, stream) == [1, 2])
    return stream


def leaders(place: Place, stream: Stream) -> list[int]:
    admin = AdminClient({"bootstrap.servers": place.cluster.kafka})
    partitions = admin.list_topics(topic_of(stream), timeout=SECONDS).topics[topic_of(stream)].partitions
    return [partitions[number].leader for number in sorted(partitions)]


def test_a_partition_without_leader_is_recorded_once_while_the_others_flow(
    own: Place, second: OwnBroker, spread: Stream
) -> None:
    topic = topic_of(spread)
    for partition in (0, 1):
        own.produce(spread, ["a"] * 4, partition=partition)
    own.drain(spread)
    own.produce(spread, ["late"] * 2, partition=1)
    second.stop()
    try:
        wait_until("partition 1 has no leader", lambda: leaders(own, spread) == [1, -1])
        own.produce(spread, ["b"] * 3, partition=0)
        # Not yet for long, so not yet recorded; but it was left out, and that is said.
        (said,) = own.drain(spread).stalled
        assert said.startswith(f"{topic}/1: no leader")
        assert own.counted(spread) == {"a": 8, "b": 3}
        with instance() as home:
            defs = definitions(own, spread)
            (request,) = tick(defs, spread, home).run_requests or ()
            result = start(defs, spread, home, request)
            assert result.success
            check = check_of(result)
            assert not check.passed
            assert check.description == f"stalled: {topic}/1: no leader; going on at offset 4 when it answers"
            assert not tick(defs, spread, home).run_requests
        assert len(follow(own, spread).stalled) == 1
        assert [row[:3] for row in noted(own, spread, "stalled")] == [(1, 4, 4)]
        # A decision needs the whole topic, and says so.
        with pytest.raises(SourceUnavailable, match=r"partition 1 of topic .*: no leader"):
            own.source(spread).found()
    finally:
        second.start()
    assert own.drain(spread).stalled == []
    assert own.counted(spread) == {"a": 8, "b": 3, "late": 2}
    assert_contiguous(own.ledger(spread), {0: 7, 1: 6})


def test_a_broker_that_came_later_is_found_on_a_connection_that_was_kept(
    own: Place, second: OwnBroker, spread: Stream
) -> None:
    second.stop()
    source = own.source(spread)
    assert isinstance(source, KafkaTopic)
    try:
        assert source.look().seen.silent == {1: "no leader"}
    finally:
        second.start()
    wait_until("partition 1 is led again", lambda: leaders(own, spread) == [1, 2])
    wait_until("partition 1 answers", lambda: source.look().seen.silent == {}, seconds=5)
    source.close()


def test_a_leader_that_cannot_be_reached_does_not_keep_the_other_partitions(
    own: Place, second: OwnBroker, spread: Stream
) -> None:
    own.drain(spread)
    for partition in (0, 1):
        own.produce(spread, ["a"] * 4, partition=partition)
    assert second.proxy is not None
    with second.proxy.closed():
        # Its controller sees nothing wrong: the partition keeps its leader.
        (said,) = own.drain(spread).stalled
        assert said.startswith(f"{topic_of(spread)}/1: its leader, broker 2, does not answer")
        assert own.counted(spread) == {"a": 4}
        assert leaders(own, spread) == [1, 2]
    assert own.drain(spread).stalled == []
    assert own.counted(spread) == {"a": 8}


class Deaf(Consumer):
    """Hears nothing of partition 1."""

    def assign(self, partitions: list[TopicPartition], *rest: Any, **options: Any) -> None:
        """Assign the others."""
        super().assign([one for one in partitions if one.partition != 1], *rest, **options)


def test_a_fetch_that_stalls_does_not_keep_the_other_partitions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.STALL_SECONDS", 1.0)
    stream = place.topic_stream(partitions=3)
    for partition in range(3):
        place.produce(stream, ["a"] * 4, partition=partition)
    with monkeypatch.context() as patched:
        patched.setattr("wordtide.sources.kafka.read.Consumer", Deaf)
        summary = place.drain(stream)
    assert summary.stalled == [f"{topic_of(stream)}/1: nothing arrived for 1 s; going on at offset 0 when it answers"]
    assert place.counted(stream) == {"a": 8}
    assert place.drain(stream).stalled == []
    assert place.counted(stream) == {"a": 12}
    assert_contiguous(place.ledger(stream), {0: 4, 1: 4, 2: 4})


def test_what_gave_nothing_is_tried_again_and_recorded_if_that_lasts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.STALL_SECONDS", 0.3)
    monkeypatch.setattr("wordtide.sources.kafka.source.LEFT_OUT_SECONDS", 0.2)
    monkeypatch.setattr("wordtide.sources.kafka.read.Consumer", Deaf)
    stream = place.topic_stream(partitions=2, linger="0s", kafka={"stalled": "2s"})
    for partition in range(2):
        place.produce(stream, ["a"] * 4, partition=partition)
    assert len(follow(place, stream).stalled) == 1
    assert place.counted(stream) == {"a": 4}
    # Left out for 0.2, 0.4, 0.8 … s: it is held since the first time.
    assert [row[:3] for row in noted(place, stream, "stalled")] == [(1, 0, 4)]
    monkeypatch.setattr("wordtide.sources.kafka.read.Consumer", Consumer)
    assert follow(place, stream).stalled == []
    assert place.counted(stream) == {"a": 8}


def test_a_broker_frozen_mid_batch_does_not_keep_the_partitions_of_others(
    own: Place, second: OwnBroker, spread: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.STALL_SECONDS", 1.0)
    monkeypatch.setattr("wordtide.sources.kafka.source.REQUEST_TIMEOUT_MS", 3000)
    topic = topic_of(spread)
    for partition in (0, 1):
        own.produce(spread, ["a"] * 4, partition=partition)
    source = own.source(spread)
    reader = source.reader

    def reader_of_the_frozen(latest_ms: int) -> Any:
        second.freeze()
        return reader(latest_ms)

    monkeypatch.setattr(source, "reader", reader_of_the_frozen)
    try:
        (said,) = own.drain(spread, source=source).stalled
        assert f"{topic}/1" in said
        assert own.counted(spread) == {"a": 4}
    finally:
        second.thaw()
    wait_until("partition 1 is led again", lambda: leaders(own, spread) == [1, 2])
    assert own.drain(spread).stalled == []
    assert own.counted(spread) == {"a": 8}
    assert_contiguous(own.ledger(spread), {0: 4, 1: 4})


def test_what_is_parked_of_a_topic_that_is_another_by_now_is_not_resolved_by_itself(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(10))
    place.drain(stream)
    place.produce(stream, some_lines(10))
    delete_records(place.cluster, topic_of(stream), {0: 15})
    (what,) = place.drain(stream).parked
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream))
    place.produce(stream, ["new"])
    with pytest.raises(DecisionRefused, match="its topic has been replaced"):
        decide(place, stream, what, "skip")
    assert place.drain(stream).parked == sorted([topic_of(stream), what])
    decide(place, stream, topic_of(stream), "from-earliest")
    assert place.drain(stream).parked == []
    assert place.counted(stream) == words_of([*some_lines(10), "new"])

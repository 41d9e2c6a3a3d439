"""Reading exactly ``[start, end)`` of topics whose offsets are not all records."""

import pickle
import time
from collections import Counter

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support import SECONDS, assert_contiguous, create_topic, topic_of, unique, wait_until
from wordtide.batch import KafkaSplit
from wordtide.errors import PlanAgain
from wordtide.reading.kafka import GapsFound, KafkaReader, StalledRead
from wordtide.table.ledger import Ledger

LATEST_MS = 4_000_000_000_000


def read(place, splits, isolation="read_committed"):
    reading = KafkaReader(place.kafka, isolation, 60_000_000, LATEST_MS).read(splits)
    texts = []
    while True:
        try:
            texts.append(next(reading))
        except StopIteration as end:
            return texts, end.value


def gaps_of(place, splits):
    reader = KafkaReader(place.kafka, "read_committed", 60_000_000, LATEST_MS, gapless=True)
    with pytest.raises(GapsFound) as found:
        list(reader.read(splits))
    return [(gap.start, gap.end) for gap in found.value.gaps]


@pytest.fixture
def topic(cluster):
    name = unique("reading")
    create_topic(cluster, name)
    return name


def transactional(place, topic, *transactions):
    """Send transactions: (values, whether to commit)."""
    producer = Producer({"bootstrap.servers": place.cluster.kafka, "transactional.id": unique("t"), "linger.ms": 0})
    producer.init_transactions(SECONDS)
    for values, commits in transactions:
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        producer.flush(SECONDS)
        (producer.commit_transaction if commits else producer.abort_transaction)(SECONDS)


def wait_for_markers(place, topic, end):
    """Wait until what can be taken ends there: the marker of a transaction is written after its end."""
    consumer = Consumer({"bootstrap.servers": place.cluster.kafka, "group.id": "test"})
    wait_until("the markers are written", lambda: consumer.get_watermark_offsets(TopicPartition(topic, 0))[1] == end)
    consumer.close()


def test_of_a_transactional_topic_only_committed_records_are_counted_and_each_range_closes(place):
    stream = place.topic_stream()
    topic = topic_of(stream)
    transactional(place, topic, (["a b", "c"], True), (["lost"] * 3, False), ([None, b"\xff"], True), (["lost"], False))
    place.drain(stream)
    assert place.counted(stream) == Counter({"a": 1, "b": 1, "c": 1, "\ufffd": 1})
    rows = place.ledger(stream)
    # Records and a marker a transaction: 3 + 4 + 3 + 2 offsets.
    assert_contiguous(rows, {0: 12})
    assert (sum(row["records"] for row in rows), sum(row["gaps"] for row in rows)) == (4, 8)


@pytest.mark.parametrize(("start", "end"), [(0, 12), (2, 3), (3, 7), (5, 6), (7, 12), (10, 12), (11, 12)])
def test_any_range_of_a_transactional_topic_closes(place, topic, start, end):
    transactional(place, topic, (["a", "b"], True), (["lost"] * 3, False), (["c", "d"], True), (["lost"], False))
    visible = {0: b"a", 1: b"b", 7: b"c", 8: b"d"}
    expected = [value for offset, value in visible.items() if start <= offset < end]
    texts, (proof,) = read(place, [KafkaSplit(topic, 0, start, end)])
    assert b" ".join(text.text for text in texts).split() == expected
    assert (proof.records, proof.gaps) == (len(expected), end - start - len(expected))


@pytest.mark.parametrize(
    ("start", "end", "gap"),
    [(0, 12, (2, 7)), (0, 3, (2, 7)), (3, 5, (3, 7)), (5, 12, (5, 7)), (7, 12, (9, 12)), (7, 10, (9, 12))],
)
def test_the_first_gap_of_a_range_reaches_to_the_next_record_or_the_end(place, topic, start, end, gap):
    transactional(place, topic, (["a", "b"], True), (["lost"] * 3, False), (["c", "d"], True), (["lost"], False))
    wait_for_markers(place, topic, 12)
    assert gaps_of(place, [KafkaSplit(topic, 0, start, end)]) == [gap]


def test_a_reader_that_minds_gaps_reads_what_has_none(place, topic):
    transactional(place, topic, (["a", "b"], True), (["lost"], False), (["c"], True))
    wait_for_markers(place, topic, 7)
    for start, end, words in ((0, 2, [b"a", b"b"]), (5, 6, [b"c"])):
        reader = KafkaReader(place.kafka, "read_committed", 60_000_000, LATEST_MS, gapless=True)
        assert b" ".join(text.text for text in reader.read([KafkaSplit(topic, 0, start, end)])).split() == words


def test_one_reading_finds_the_first_gap_of_each_partition_and_piece(place):
    stream = place.topic_stream(partitions=3, kafka={"gaps": "park"})
    topic = topic_of(stream)
    for values in (["a", "b"], ["c"]):
        transactional(place, topic, (values, True))
    wait_for_markers(place, topic, 5)
    place.produce(stream, ["d"] * 3, partition=1)
    # Pieces of a partition, as Spark reads them; the later one's may be the first that is heard of.
    pieces = [KafkaSplit(topic, 0, 4, 5), KafkaSplit(topic, 0, 0, 4), KafkaSplit(topic, 1, 0, 3)]
    assert gaps_of(place, pieces) == [(4, 5), (2, 3)]
    source = place.source(stream)
    ledger = Ledger("", source.found().identity)
    look = source.look()
    assert look.plan(ledger, lambda _app: 0).splits == (KafkaSplit(topic, 0, 0, 5), KafkaSplit(topic, 1, 0, 3))
    source.reject(GapsFound((KafkaSplit(topic, 0, 4, 5), KafkaSplit(topic, 0, 2, 3))))
    assert look.plan(ledger, lambda _app: 0).splits == (KafkaSplit(topic, 0, 0, 2), KafkaSplit(topic, 1, 0, 3))
    source.close()


def test_what_a_task_of_spark_raises_arrives_whole():
    split = KafkaSplit("t", 0, 3, 9)
    for error in (GapsFound((split,)), StalledRead("Kafka at a: nothing", (split,), "nothing")):
        same = pickle.loads(pickle.dumps(error))
        assert (type(same), str(same), same.__dict__) == (type(error), str(error), error.__dict__)


def test_an_open_transaction_holds_back_what_comes_after_it_and_nothing_is_lost(place):
    stream = place.topic_stream()
    producer = Producer({"bootstrap.servers": place.cluster.kafka, "transactional.id": unique("t")})
    producer.init_transactions(SECONDS)
    place.produce(stream, ["before"])
    producer.begin_transaction()
    producer.produce(topic_of(stream), "within", partition=0)
    producer.flush(SECONDS)
    place.produce(stream, ["after"])
    place.drain(stream)
    assert place.counted(stream) == {"before": 1}
    producer.commit_transaction(SECONDS)
    place.drain(stream)
    assert place.counted(stream) == {"before": 1, "within": 1, "after": 1}


def test_a_compacted_topic_closes_its_ranges(place):
    stream = place.streams({"s": {"kafka": {"topic": unique("compacted")}, "batch_interval": "100ms"}})["s"]
    topic = topic_of(stream)
    settings = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "100",
        "delete.retention.ms": "0",
    }
    create_topic(place.cluster, topic, config=settings)
    producer = Producer({"bootstrap.servers": place.cluster.kafka, "linger.ms": 0})
    for number in range(20):
        producer.produce(topic, f"w{number}", key=f"k{number % 2}", partition=0)
    producer.flush(SECONDS)

    def compacted() -> bool:
        # A segment is closed by the next record after its time.
        producer.produce(topic, "tail", key="tail", partition=0)
        producer.flush(SECONDS)
        time.sleep(0.5)
        _texts, (proof,) = read(place, [KafkaSplit(topic, 0, 0, 20)])
        return proof.gaps >= 18

    wait_until("the broker compacts", compacted, 90)
    place.drain(stream)
    rows = place.ledger(stream)
    end = rows[-1]["splits"][0]["end"]
    assert_contiguous(rows, {0: end})
    assert sum(row["records"] + row["gaps"] for row in rows) == end
    assert sum(row["gaps"] for row in rows) >= 18
    assert {"w18", "w19"} <= set(place.counted(stream))


def test_a_value_is_one_line_whatever_it_contains(place, topic):
    place_values = [b"a\nb", b"", None, b"\r\n", b"x" * 2_000_000]
    stream_topic = topic
    producer = Producer({"bootstrap.servers": place.cluster.kafka, "message.max.bytes": 3_000_000})
    for value in place_values:
        producer.produce(stream_topic, value, partition=0)
    assert producer.flush(SECONDS) == 0
    # The topic takes at most 1 MB: the long one was refused by the broker.
    texts, (proof,) = read(place, [KafkaSplit(topic, 0, 0, 4)])
    assert [text.text for text in texts] == [b"a\nb  \r\n"]
    assert (proof.lines, proof.records, proof.gaps, proof.bytes) == (3, 4, 0, 5)


def test_records_fall_into_the_windows_of_their_timestamps_and_absurd_ones_are_clamped(place):
    stream = place.streams({"s": {"kafka": {"topic": unique("late")}, "batch_interval": "100ms"}})["s"]
    create_topic(place.cluster, topic_of(stream), config={"message.timestamp.after.max.ms": str(2**62)})
    for timestamp in (1_700_000_000_000, 1_700_000_060_000, 4_500_000_000_000):
        place.produce(stream, ["w"], timestamp_ms=timestamp)
    place.drain(stream)
    rows = place.handle(stream).to_pyarrow_table(columns=["kind", "window_start", "count"]).to_pylist()
    windows = sorted((row["window_start"], row["count"]) for row in rows if row["kind"] == "count")
    assert [count for _, count in windows] == [1, 1, 1]
    assert windows[1][0].timestamp() - windows[0][0].timestamp() == 60
    assert abs(windows[2][0].timestamp() - time.time() - 86_400) < 300
    assert place.ledger(stream)[1]["clamped"] == 1


def test_a_range_that_retention_took_meanwhile_is_planned_again(place, topic):
    from confluent_kafka.admin import AdminClient

    producer = Producer({"bootstrap.servers": place.cluster.kafka})
    for number in range(10):
        producer.produce(topic, str(number), partition=0)
    producer.flush(SECONDS)
    admin = AdminClient({"bootstrap.servers": place.cluster.kafka})
    for done in admin.delete_records([TopicPartition(topic, 0, 5)]).values():
        done.result(SECONDS)
    with pytest.raises(PlanAgain):
        read(place, [KafkaSplit(topic, 0, 0, 10)])

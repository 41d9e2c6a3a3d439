"""Reading exactly ``[start, end)`` of topics whose offsets are not all records."""

import pickle
import time
from collections import Counter

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support import SECONDS, assert_contiguous, create_topic, produce, topic_of, unique, wait_until
from wordtide.core.model import Halt, KafkaSplit, SplitProof, Stop
from wordtide.core.problems import PlanAgain
from wordtide.sources.kafka.read import GapsFound, KafkaReader, ShortRead
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


def transactional(place, topic, *transactions, **config):
    """Send transactions: (values, whether to commit)."""
    settings = {"bootstrap.servers": place.cluster.kafka, "transactional.id": unique("t"), "linger.ms": 0, **config}
    producer = Producer(settings)
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
    stop = Stop(Halt.UNREADABLE, split, "damaged")
    for error in (GapsFound((split,)), ShortRead((stop,), (split,))):
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


def reader_of(place, **settings):
    return KafkaReader(place.kafka, "read_committed", 60_000_000, LATEST_MS, **settings)


def proofs_of(reader, splits):
    reading = reader.read(splits)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


def test_a_read_ends_where_its_bytes_are_used_up_and_takes_one_record_at_least(place, topic):
    produced = [b"x" * 1000] * 10 + [b"y" * 5000] + [b"x" * 1000] * 3
    produce(place.cluster, topic, produced, partition=0)
    reader = reader_of(place, max_bytes=3500)
    at, ends = 0, []
    while at < len(produced):
        (proof,) = proofs_of(reader, [KafkaSplit(topic, 0, at, len(produced))])
        assert proof.split.start == at
        assert proof.bytes <= 3500 or proof.records == 1
        at = proof.split.end
        ends.append(at)
        assert (proof.stop is None) == (at == len(produced))
    assert ends == [3, 6, 9, 10, 11, 14]


def test_a_batch_of_a_topic_has_no_more_than_its_bytes_and_the_next_one_goes_on(place):
    stream = place.topic_stream(partitions=2, max_bytes="100KB")
    for partition in range(2):
        place.produce(stream, ["w" * 9_999] * 20, partition=partition)
    assert place.drain(stream).backlog == 0
    rows = [row for row in place.ledger(stream) if row["bytes"]]
    assert max(row["bytes"] for row in rows) <= 100_000
    assert len(rows) <= 6
    assert_contiguous(rows, {0: 20, 1: 20})
    assert place.counted(stream) == {"w" * 9_999: 40}


def test_pieces_that_are_counted_together_are_taken_whole_or_planned_again_as_far_as_they_fit(place):
    splits = [KafkaSplit("t", 0, 0, 100), KafkaSplit("t", 1, 0, 50)]

    def piece(partition, start, end, size=0, stop=None):
        return SplitProof(KafkaSplit("t", partition, start, end), end - start, bytes=size, stop=stop)

    reader = reader_of(place, max_bytes=1000)
    reader.settle(splits, [piece(0, 50, 100, 400), piece(0, 0, 50, 400), piece(1, 0, 50, 200)])
    # What lies behind a hole is not taken: the first piece of partition 0 ended early.
    stop = Stop(Halt.UNREADABLE, KafkaSplit("t", 0, 20, 50), "bad")
    with pytest.raises(ShortRead) as short:
        reader.settle(splits, [piece(0, 50, 100), piece(0, 0, 20, stop=stop), piece(1, 0, 50)])
    assert (short.value.stops, short.value.fitting) == ((stop,), (KafkaSplit("t", 0, 0, 20), splits[1]))
    # Twice the bytes that fit, so a tenth less than half of each.
    with pytest.raises(ShortRead) as short:
        reader.settle(splits, [piece(0, 0, 100, 1500), piece(1, 0, 50, 500)])
    assert short.value.fitting == (KafkaSplit("t", 0, 0, 45), KafkaSplit("t", 1, 0, 22))
    # A record is a batch, however large.
    reader.settle([KafkaSplit("t", 0, 0, 1)], [piece(0, 0, 1, 9999)])


def test_what_was_passed_of_invisible_records_is_kept_and_the_next_batch_goes_on_there(place, topic, monkeypatch):
    monkeypatch.setattr("wordtide.sources.kafka.read.UNSEEN_SECONDS", 0.1)
    monkeypatch.setattr("wordtide.sources.kafka.fetch.REPORT_SECONDS", 0.02)
    # A record a response, so that to pass them takes a second or two.
    monkeypatch.setattr("wordtide.sources.kafka.fetch.CAREFUL_BYTES", 1024)
    transactional(place, topic, (["lost" * 500] * 400, False), (["seen"], True), **{"batch.num.messages": 1})
    wait_for_markers(place, topic, 403)
    reached = [0]
    while reached[-1] < 403:
        (proof,) = proofs_of(reader_of(place), [KafkaSplit(topic, 0, reached[-1], 403)])
        assert proof.split.end > reached[-1], proof.stop
        assert proof.stop is None or proof.stop.halt is Halt.UNSEEN
        assert proof.records == (proof.split.end > 401)
        reached.append(proof.split.end)
    assert len(reached) > 2

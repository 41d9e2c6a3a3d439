"""A topic of Avro or Protobuf is parked before a byte of it is counted; a few odd values among text are counted."""

from __future__ import annotations

import struct

import pytest

from tests.support import Place, assert_numbered, decide, delete_records, some_lines, topic_of, words_of
from wordtide.core.model import KafkaSplit
from wordtide.core.problems import DecisionRefused
from wordtide.repair.recount import find_published, recount
from wordtide.repair.resolve import existing


def registered(count: int) -> list[bytes]:
    """Values as a schema registry's serializer writes them."""
    return [b"\0" + struct.pack(">I", 7) + b"\x0cword%d" % number for number in range(count)]


def test_a_partition_of_a_schema_registrys_values_is_parked_and_the_others_flow(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    topic = topic_of(stream)
    place.produce(stream, registered(30), partition=0)
    place.produce(stream, some_lines(30), partition=1)
    for _ in range(2):
        assert place.drain(stream).parked == [f"{topic}/0"]
        assert place.counted(stream) == words_of(some_lines(30))
    parked = existing(place.table(stream)).ledger.parked[f"{topic}/0"]
    assert parked.split == KafkaSplit(topic, 0, 0, 30)
    assert (
        "30 of 30 values around offset 0 seem to be Avro, Protobuf or JSON in a schema registry's format"
        in parked.reason
    )
    # Past the recorded range; what comes then is judged again.
    decide(place, stream, f"{topic}/0", "skip")
    place.produce(stream, some_lines(20, 2), partition=0)
    assert place.drain(stream).parked == []
    assert place.counted(stream) == words_of([*some_lines(30), *some_lines(20, 2)])
    assert_numbered(place.ledger(stream))


def test_an_operators_word_holds_for_the_topic_from_then_on(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    topic = topic_of(stream)
    values = registered(20)
    for partition in (0, 1):
        place.produce(stream, values, partition=partition)
    assert place.drain(stream).parked == [f"{topic}/0", f"{topic}/1"]
    decide(place, stream, f"{topic}/1", "text")
    row = place.ledger(stream)[-1]
    assert (row["status"], row["decision"], row["who"], row["why"]) == ("resolved", "text", "ann", "checked")
    place.produce(stream, values, partition=0)
    # A new table object and a new source each time: the ledger says it.
    assert place.drain(stream).parked == []
    place.produce(stream, values, partition=1)
    assert place.drain(stream).parked == []
    counted = words_of([value.decode() for value in values])
    assert place.counted(stream) == counted + counted + counted + counted
    source, snapshot = place.source(stream), existing(place.table(stream))
    try:
        for published in find_published(snapshot.handle, lambda row: True):
            assert not len(recount(stream, source, snapshot, published).rows)
    finally:
        source.close()
    with pytest.raises(DecisionRefused, match="not parked"):
        decide(place, stream, f"{topic}/0", "text")


def test_an_odd_record_among_text_parks_nothing_even_if_it_comes_alone(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(30))
    place.drain(stream)
    place.produce(stream, registered(1))
    assert place.drain(stream).parked == []
    place.produce(stream, [*registered(1), *some_lines(30, 2)])
    assert place.drain(stream).parked == []
    odd = words_of([value.decode() for value in registered(1)])
    assert place.counted(stream) == words_of(some_lines(30)) + words_of(some_lines(30, 2)) + odd + odd
    # A producer that changed for good is noticed.
    place.produce(stream, registered(200))
    assert place.drain(stream).parked == [f"{topic_of(stream)}/0"]
    assert len(place.counted(stream)) < 200


def test_text_is_no_way_out_for_offsets_that_are_lost(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(10))
    place.drain(stream)
    place.produce(stream, some_lines(10))
    delete_records(place.cluster, topic_of(stream), {0: 15})
    [what] = place.drain(stream).parked
    with pytest.raises(DecisionRefused, match="text applies only to partitions parked because"):
        decide(place, stream, what, "text")


def test_a_producer_that_changes_in_the_middle_of_a_batch_is_noticed_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.MAX_FETCH", 100)
    monkeypatch.setattr("wordtide.sources.kafka.read.JUDGED_AGAIN", 50)
    stream = place.topic_stream()
    place.produce(stream, [*some_lines(300), *registered(1000)])
    [what] = place.drain(stream).parked
    parked = existing(place.table(stream)).ledger.parked[what].split
    assert isinstance(parked, KafkaSplit)
    assert 300 <= parked.start <= 500
    assert parked.end == 1300
    assert sum(row["records"] for row in place.ledger(stream)) == parked.start

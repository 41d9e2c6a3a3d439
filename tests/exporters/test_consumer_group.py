"""The consumer group that shows a table's positions: a real broker's, asked as lag tools ask."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.dagster.support import by_hand, definitions, instance
from tests.support import Place, create_topic, delete_topic, some_lines, topic_of, unique, wait_until, words_of
from wordtide.config import Stream
from wordtide.exporters.consumer_group import GroupMirror
from wordtide.sources.kafka.connection import KafkaConnection


@pytest.fixture
def admin(place: Place):
    client = KafkaAdminClient(bootstrap_servers=place.cluster.kafka)
    yield client
    client.close()


def shown(admin: KafkaAdminClient, group: str) -> dict[int, int]:
    found = admin.list_group_offsets([group])[group]
    return {partition.partition: offset.offset for partition, offset in found.items()}


def positions(place: Place, stream: Stream) -> dict[int, int]:
    return {s["partition"]: s["end"] for row in place.ledger(stream) for s in row["splits"]}


def mirror(place: Place, stream: Stream, said: list[str]) -> GroupMirror:
    assert stream.config.kafka is not None
    return GroupMirror(stream, place.kafka, place.table(stream), stream.config.kafka.group or "", said.append)


def ended(one: GroupMirror) -> None:
    one.close()
    wait_until("it has ended", lambda: not one._thread.is_alive())


def test_a_drain_leaves_the_group_at_the_positions_of_the_table(place: Place, admin: KafkaAdminClient) -> None:
    group = unique("group")
    before = place.topic_stream(partitions=3, engine="local")
    place.produce(before, some_lines(50))
    place.drain(before)
    # A group is no part of what a table means: it may be named at any time.
    source = {"topic": topic_of(before), "group": group}
    stream = place.streams({"s": {"kafka": source, "engine": "local"}})["s"]
    place.produce(stream, some_lines(50))
    with instance() as home:
        assert by_hand(definitions(place, stream), stream, home).success
    # The first commit of all makes the broker set up its groups, which may take longer than a drain waits.
    wait_until("the group is there", lambda: sum(shown(admin, group).values()) == 100)
    assert shown(admin, group) == positions(place, stream)


def test_a_group_that_is_deleted_or_lies_changes_no_count_and_comes_back(place: Place, admin: KafkaAdminClient) -> None:
    group = unique("group")
    stream = place.topic_stream(partitions=2, kafka={"group": group}, engine="local")
    lines = some_lines(90)
    defs = definitions(place, stream)
    with instance() as home:
        for part in (lines[:45], lines[45:90]):
            place.produce(stream, part)
            assert by_hand(defs, stream, home).success
            wait_until("the group is put right", lambda: shown(admin, group) == positions(place, stream))
            lie = {TopicPartition(topic_of(stream), n): OffsetAndMetadata(10**6, "", None) for n in range(2)}
            admin.alter_group_offsets(group, lie)
            place.produce(stream, [part[0]])
            lines.append(part[0])
            assert by_hand(defs, stream, home).success
            wait_until("the group is put right", lambda: shown(admin, group) == positions(place, stream))
            admin.delete_groups([group])
            assert not shown(admin, group)
    assert place.counted(stream) == words_of(lines)


def test_the_older_of_two_drains_does_not_put_the_group_back(place: Place, admin: KafkaAdminClient) -> None:
    group = unique("group")
    stream = place.topic_stream(kafka={"group": group})
    place.produce(stream, ["a"])
    older = mirror(place, stream, [])
    place.drain(stream)
    place.produce(stream, ["b", "c"])
    place.drain(stream)
    # It was told of the first batch only.
    older.close()
    wait_until("the group shows both batches", lambda: shown(admin, group) == {0: 3})


def test_the_group_of_a_recreated_topic_keeps_out_the_positions_of_the_one_before(
    place: Place, admin: KafkaAdminClient
) -> None:
    group = unique("group")
    stream = place.topic_stream(kafka={"group": group})
    place.produce(stream, ["a", "b"])
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream), 1)
    said: list[str] = []
    ended(mirror(place, stream, said))
    assert (shown(admin, group), said) == ({}, [])


def test_a_dead_broker_is_said_once_and_keeps_nobody_waiting(place: Place) -> None:
    stream = place.topic_stream(kafka={"group": "nowhere"})
    place.produce(stream, ["a"])
    place.drain(stream)
    said: list[str] = []
    dead = GroupMirror(stream, KafkaConnection("127.0.0.1:1"), place.table(stream), "nowhere", said.append)
    dead.close()
    wait_until("it is said", lambda: said)
    assert len(said) == 1
    assert said[0].startswith("consumer group nowhere does not show how far s is: Kafka at 127.0.0.1:1: no answer")


def test_a_table_that_is_not_there_yet_shows_nothing(place: Place, admin: KafkaAdminClient) -> None:
    group = unique("group")
    stream = place.topic_stream(kafka={"group": group})
    said: list[str] = []
    ended(mirror(place, stream, said))
    assert (shown(admin, group), said) == ({}, [])
    assert place.table(stream).open() is None

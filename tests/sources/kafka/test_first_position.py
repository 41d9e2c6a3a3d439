"""A stream begins where a consumer group stopped: batch 0 by the same commit as any founding, or one clear line."""

from __future__ import annotations

import getpass
import json

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka import errors as kafka_errors

import wordtide.sources.kafka.source as kafka_source
from tests.cli.conftest import served, shell
from tests.cli.support import Shell
from tests.cli.test_questions import drain
from tests.support import commit_offsets, create_topic, delete_records, produce, unique, wait_until, words_in
from wordtide.config import load_streams
from wordtide.core.problems import DecisionRefused
from wordtide.embedded.cluster import ClusterAddress
from wordtide.sources.kafka.first_position import GroupOffsets, first_positions
from wordtide.sources.kafka.plan import PartitionRange, TopicIdentity, TopicSnapshot
from wordtide.sources.kafka.source import KafkaTopic
from wordtide.wiring import open_table

__all__ = ["served", "shell"]


@pytest.fixture
def group() -> str:
    return unique("group")


@pytest.fixture
def topic(served: Shell, cluster: ClusterAddress) -> str:
    """A topic of three partitions with ten values each, and a stream `s` on it."""
    name = unique("imported")
    create_topic(cluster, name, 3)
    for partition in range(3):
        produce(cluster, name, [f"p{partition}_{number}" for number in range(10)], partition=partition)
    served.streams(f"streams: {{s: {{kafka: {{topic: {name}}}}}}}\n")
    return name


def rows(served: Shell) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(served("ledger", "s", "--json").out)
    return found


def counted() -> set[str]:
    handle = open_table(load_streams()["s"]).open()
    assert handle is not None
    return set(words_in(handle))


def test_counting_goes_on_where_the_group_stopped(
    served: Shell, cluster: ClusterAddress, topic: str, group: str
) -> None:
    commit_offsets(cluster, group, topic, {0: 4, 1: 10})
    answer = served("import-offsets", "s", "--group", group, "--why", "off\nDStreams")
    assert (answer.code, answer.err) == (0, "")
    assert "recorded as batch 0 of s" in answer.out
    [founded] = rows(served)
    assert (founded["batch"], founded["status"], founded["decision"]) == (0, "founded", "import-offsets")
    assert (founded["who"], founded["why"]) == (
        getpass.getuser(),
        f"offsets of consumer group {group}; by kafka.start (earliest): partition 2; off DStreams",
    )
    drain("s")
    assert counted() == {f"p0_{n}" for n in range(4, 10)} | {f"p2_{n}" for n in range(10)}
    assert len(rows(served)) == 2


def test_a_partition_without_a_commit_begins_as_kafka_start_says(
    served: Shell, cluster: ClusterAddress, topic: str, group: str
) -> None:
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}, start: latest}}}}}}\n")
    commit_offsets(cluster, group, topic, {1: 0})
    answer = served("import-offsets", "s", "--group", group, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == {
        "stream": "s",
        "topic": topic,
        "group": group,
        "batch": 0,
        "partitions": [
            {"partition": 0, "position": 10, "end": 10, "committed": False},
            {"partition": 1, "position": 0, "end": 10, "committed": True},
            {"partition": 2, "position": 10, "end": 10, "committed": False},
        ],
    }


def test_a_dry_run_shows_the_positions_and_changes_nothing(
    served: Shell, cluster: ClusterAddress, topic: str, group: str
) -> None:
    commit_offsets(cluster, group, topic, {0: 7})
    answer = served("import-offsets", "s", "--group", group, "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert "nothing was changed" in answer.out
    assert max(len(line) for line in answer.out.splitlines()) <= 80
    assert json.loads(served("import-offsets", "s", "--group", group, "--dry-run", "--json").out)["batch"] is None
    assert rows(served) == []


def test_a_group_that_is_at_work_is_said_to_be(served: Shell, cluster: ClusterAddress, topic: str, group: str) -> None:
    client = Consumer({"bootstrap.servers": cluster.kafka, "group.id": group, "enable.auto.commit": False})
    client.subscribe([topic])
    try:
        wait_until("the group has its partitions", lambda: client.poll(0.1) is not None or client.assignment())
        client.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False)
        answer = served("import-offsets", "s", "--group", group, "--dry-run")
    finally:
        client.close()
    assert answer.code == 0
    assert f"consumer group {group} is at work" in answer.only_line


def test_a_table_that_is_founded_is_left_alone(served: Shell, cluster: ClusterAddress, topic: str, group: str) -> None:
    commit_offsets(cluster, group, topic, {0: 4})
    drain("s")
    before = rows(served)
    answer = served("import-offsets", "s", "--group", group)
    assert answer.code == 1
    assert "is founded already" in answer.only_line
    assert rows(served) == before


def test_a_drain_that_founds_the_table_meanwhile_wins_and_it_is_said(
    served: Shell, cluster: ClusterAddress, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_offsets(cluster, group, topic, {0: 4})
    ask = KafkaTopic.committed

    def ask_while_a_drain_is_faster(source: KafkaTopic, name: str) -> GroupOffsets:
        drain("s")
        return ask(source, name)

    monkeypatch.setattr(KafkaTopic, "committed", ask_while_a_drain_is_faster)
    answer = served("import-offsets", "s", "--group", group)
    assert answer.code == 1
    assert "by somebody else at this moment" in answer.only_line
    assert [row["decision"] for row in rows(served)] == [None, None]
    assert len(counted()) == 30


def test_what_cannot_be_a_first_position_is_one_line_and_founds_nothing(
    served: Shell, cluster: ClusterAddress, topic: str, group: str
) -> None:
    def says(part: str, stream: str = "s", name: str = group) -> None:
        answer = served("import-offsets", stream, "--group", name)
        assert (answer.code, answer.out) == (1, "")
        assert part in answer.only_line
        assert rows(served) == []

    says("or there is none of that name")
    other = unique("other")
    create_topic(cluster, other, 5)
    commit_offsets(cluster, group, other, {4: 0})
    says(f"nothing of topic {topic}, only of {other}")
    commit_offsets(cluster, group, topic, {0: 11})
    says(f"offset 11 of {topic}/0, which holds [0, 10]")
    commit_offsets(cluster, group, topic, {0: 2})
    delete_records(cluster, topic, {0: 3})
    says(f"offset 2 of {topic}/0, which holds [3, 10]: retention took")
    served.streams("streams: {s: {kafka: {topic: no_such_topic}}, f: {landing: {path: ./landing}}}\n")
    says("there is no topic 'no_such_topic'")
    says("reads a folder", stream="f")
    says("no stream 't'", stream="t")


@pytest.mark.parametrize(
    ("offset", "partition", "says"),
    [
        (5, 1, "no such partition"),
        (2, 0, "retention took"),
        (8, 0, "a transaction is open before it"),
        (10, 0, "it was cut off"),
    ],
)
def test_an_offset_that_is_not_of_this_topic_is_refused(offset: int, partition: int, says: str) -> None:
    seen = TopicSnapshot(TopicIdentity("c", "i", "t"), {0: PartitionRange(3, 7, 9)})
    with pytest.raises(DecisionRefused, match=says):
        first_positions(GroupOffsets("g", {partition: offset}), seen, {0: 3}, "stream s")


@pytest.mark.parametrize("offset", [3, 5, 7])
def test_begin_and_end_are_positions_too(offset: int) -> None:
    seen = TopicSnapshot(TopicIdentity("c", "i", "t"), {0: PartitionRange(3, 7, 9)})
    [position] = first_positions(GroupOffsets("g", {0: offset}), seen, {0: 3}, "stream s")
    assert (position.position, position.end, position.committed) == (offset, 7, True)


def test_a_broker_that_never_had_a_group_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "COORDINATOR_PAUSE_SECONDS", 0.0)
    answers = iter([kafka_errors.CoordinatorNotAvailableError(), kafka_errors.NotCoordinatorError(), "offsets"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert kafka_source._of_coordinator(ask) == "offsets"


def test_a_broker_without_a_coordinator_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_source, "COORDINATOR_PAUSE_SECONDS", 0.0)
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        raise kafka_errors.CoordinatorNotAvailableError()

    with pytest.raises(kafka_errors.CoordinatorNotAvailableError):
        kafka_source._of_coordinator(ask)
    assert len(asked) == kafka_source.COORDINATOR_TRIES

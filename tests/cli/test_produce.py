"""`wordtide produce`: a line a message, all of them or one line that says why not."""

from __future__ import annotations

import io
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.cli.support import CLOSED_PORT, Shell
from tests.support import create_topic, unique, wait_until
from wordtide.cli.produce import lines_of
from wordtide.embedded.cluster import ClusterAddress


def values_in(cluster: ClusterAddress, topic: str, count: int, seconds: float = 30.0) -> list[bytes]:
    """Return ``count`` values of a topic, in no particular order, as soon as they are there."""
    consumer = Consumer(
        {"bootstrap.servers": cluster.kafka, "group.id": "test", "topic.metadata.refresh.interval.ms": 500}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=seconds).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        found: list[bytes] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                found.append(message.value() or b"")
        return found
    finally:
        consumer.close()


def test_a_line_end_is_cut_off_and_nothing_else() -> None:
    file = io.BytesIO(b"a\nb\r\n\r\n\nc\r\r\n d \x00\xff\n\xe2\x80\xa8last")
    assert list(lines_of(file)) == [b"a", b"b", b"", b"", b"c\r", b" d \x00\xff", b"\xe2\x80\xa8last"]


def test_a_missing_file_is_one_line_before_anything_is_sent(shell: Shell) -> None:
    # No broker either: the file is looked at first.
    (shell.folder / "there").write_text("x\n")
    answer = shell("produce", "news", shell.folder / "there", "/no/such/file")
    assert (answer.code, answer.out, answer.only_line) == (1, "", "/no/such/file: no such file")


def test_a_folder_is_no_file(shell: Shell) -> None:
    assert "is a folder" in shell("produce", "news", shell.folder).only_line


def test_without_servers_the_line_says_what_to_start(shell: Shell) -> None:
    (shell.folder / "f").write_text("x\n")
    answer = shell("produce", "news", shell.folder / "f")
    assert answer.code == 1
    assert "wordtide up" in answer.only_line


def test_a_broker_that_does_not_answer_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", f"127.0.0.1:{CLOSED_PORT}")
    (shell.folder / "f").write_text("x\n")
    answer = shell("produce", "news", shell.folder / "f")
    assert (answer.code, answer.out) == (1, "")
    assert f"127.0.0.1:{CLOSED_PORT}: no answer" in answer.only_line


def test_lines_of_files_arrive_as_they_are_in_a_topic_that_is_made(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("produced")
    first, second = served.folder / "1", served.folder / "2"
    first.write_bytes(b"one\r\n\ntwo \xff\n")
    second.write_bytes(b"three")
    answer = served("produce", topic, first, second, "--partitions", "3")
    assert (answer.code, answer.out, answer.err) == (0, "", f"sent 4 messages to {topic}\n")
    assert sorted(values_in(cluster, topic, 4)) == [b"", b"one", b"three", b"two \xff"]
    partitions = (
        AdminClient({"bootstrap.servers": cluster.kafka}).list_topics(topic, timeout=30).topics[topic].partitions
    )
    assert len(partitions) == 3


def test_a_topic_keeps_its_partitions_and_says_so(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("kept")
    create_topic(cluster, topic, 2)
    (served.folder / "f").write_text("x\n")
    answer = served("produce", topic, served.folder / "f", "--partitions", "5")
    assert answer.code == 0
    assert f"topic {topic} exists with 2 partitions" in answer.err


def test_standard_input_is_sent_while_it_is_still_open(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("tailed")
    create_topic(cluster, topic)
    process = served.process("produce", topic, "-")
    try:
        assert process.stdin is not None
        process.stdin.write(b"early\n")
        process.stdin.flush()
        assert values_in(cluster, topic, 1) == [b"early"]
        process.stdin.write(b"late\n")
        process.stdin.flush()
        assert values_in(cluster, topic, 2) == [b"early", b"late"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == f"sent 2 messages to {topic}".encode()
    finally:
        process.kill()
        process.communicate()


def test_a_message_the_topic_does_not_take_is_one_line(served: Shell, cluster: ClusterAddress, tmp_path: Path) -> None:
    topic = unique("small")
    create_topic(cluster, topic, config={"max.message.bytes": "1000"})
    # Random, because what counts is the compressed size.
    (tmp_path / "f").write_bytes(random.Random(1).randbytes(5000).replace(b"\n", b"-"))
    answer = served("produce", topic, tmp_path / "f")
    assert (answer.code, answer.out) == (1, "")
    assert "did not take a message of 5,000 bytes" in answer.only_line
    assert "max.message.bytes" in answer.only_line


def test_a_name_no_topic_may_have_is_one_line(served: Shell) -> None:
    (served.folder / "f").write_text("x\n")
    assert "is no topic name" in served("produce", "no good", served.folder / "f").only_line


def test_an_empty_standard_input_sends_nothing(
    served: Shell, cluster: ClusterAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = unique("empty")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert served("produce", topic).err == f"sent 0 messages to {topic}\n"
    admin = AdminClient({"bootstrap.servers": cluster.kafka})
    wait_until("the topic is there", lambda: topic in admin.list_topics(timeout=30).topics)

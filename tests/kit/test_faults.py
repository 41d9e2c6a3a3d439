"""Each fault of the kit does what it says to the real server."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from confluent_kafka import KafkaException

from tests.support import Place, unique
from wordtide.config import Stream
from wordtide.core.problems import SourceUnavailable
from wordtide.storage import HdfsAddress, HdfsStorage
from wordtide.system.ports import listening
from wordtide.testing import topics
from wordtide.testing.files import SlowWriter, append, late_rename, rewrite
from wordtide.testing.network import Proxy, silent
from wordtide.testing.servers import Broker, Hdfs
from wordtide.wiring import open_table


@pytest.fixture(params=["local", "hdfs"])
def folder(request: pytest.FixtureRequest, place: Place) -> Stream:
    return place.folder_stream(landing="" if request.param == "local" else f"hdfs:///{unique('landing')}")


def test_a_recreated_topic_is_another_one_and_empty(wordtide_broker: Broker) -> None:
    name = unique("topic")
    topics.create_topic(wordtide_broker, name, 2)
    topics.produce(wordtide_broker, name, ["a"])
    before = topics.topic_id(wordtide_broker, name)
    topics.recreate_topic(wordtide_broker, name)
    assert topics.topic_id(wordtide_broker, name) != before


def test_the_id_of_a_topic_is_the_one_that_the_ledger_has(place: Place) -> None:
    stream = place.topic_stream()
    place.drain(stream)
    assert stream.config.kafka is not None
    [row] = place.ledger(stream)
    assert topics.topic_id(place.cluster, stream.config.kafka.topic) in row["identity"]


def test_a_silent_broker_answers_nobody_and_then_goes_on(wordtide_broker: Broker) -> None:
    admin = topics.admin_of(wordtide_broker)
    admin.list_topics(timeout=10)
    with silent(wordtide_broker):
        assert listening(int(wordtide_broker.kafka.rpartition(":")[2]))
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=0.5)
    assert admin.list_topics(timeout=10).brokers


def test_a_killed_broker_comes_back_on_its_port_with_what_it_had(wordtide_broker: Broker) -> None:
    name = unique("topic")
    topics.create_topic(wordtide_broker, name)
    before, port = wordtide_broker.process, int(wordtide_broker.kafka.rpartition(":")[2])
    wordtide_broker.kill()
    try:
        assert not before.alive()
        assert not listening(port)
    finally:
        wordtide_broker.restart()
    assert wordtide_broker.process != before
    assert name in topics.admin_of(wordtide_broker).list_topics(timeout=10).topics


def test_a_proxy_closes_its_port_and_opens_it_again(wordtide_hdfs: Hdfs) -> None:
    with Proxy(wordtide_hdfs.hdfs.removeprefix("hdfs://")) as proxy:
        storage = HdfsStorage(HdfsAddress(f"hdfs://{proxy.address}", wordtide_hdfs.webhdfs))
        assert storage.exists("/")
        port = int(proxy.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as open_connection:
            with proxy.closed():
                with suppress(ConnectionResetError):
                    assert open_connection.recv(1) == b""
                assert not listening(port)
            assert storage.exists("/")


def test_a_late_rename_shows_a_file_with_the_time_of_its_writing(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    rename = late_rename(storage, f"{root}/a.txt", b"a\n")
    assert place.drain(folder).batches == 0
    later = place.land(folder, "b.txt", b"b\n")
    found = rename()
    assert found.mtime_ms <= storage.stat(later).mtime_ms
    place.drain(folder)
    assert place.counted(folder) == {"a": 1, "b": 1}


def test_a_rewritten_file_keeps_its_length_or_its_mtime(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", b"a b\n")
    storage, _ = place.landing(folder)
    first = storage.stat(path)
    second = rewrite(storage, path, b"c d\n")
    assert (second.length, second.mtime_ms > first.mtime_ms) == (first.length, True)
    third = rewrite(storage, path, b"e\n", same_mtime=True)
    assert (third.length, third.mtime_ms) == (2, second.mtime_ms)
    with pytest.raises(ValueError, match="same length and same mtime"):
        rewrite(storage, path, b"f\n", same_mtime=True)
    assert b"".join(storage.read_range(path, 0, 2)) == b"e\n"


def test_what_is_appended_is_behind_what_was_there(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", b"a\n")
    storage, _ = place.landing(folder)
    assert append(storage, path, b"b\n").length == 4
    assert b"".join(storage.read_range(path, 0, 4)) == b"a\nb\n"


def test_a_slow_writers_file_is_open_until_it_is_finished(place: Place) -> None:
    stream = place.folder_stream(landing=f"hdfs:///{unique('landing')}")
    storage, root = place.landing(stream)
    block = 1 << 20
    with SlowWriter(place.hdfs, f"{root}/a.txt", block) as writer:
        writer.write(b"x" * (block - 1) + b"\n")
        writer.write(b"y\n")
        assert storage.under_construction(f"{root}/a.txt")
        assert storage.stat(f"{root}/a.txt").length == block + 2
        assert place.drain(stream).batches == 0
        assert writer.finish().length == block + 2
    place.drain(stream)
    assert place.counted(stream) == {"x" * (block - 1): 1, "y": 1}


def test_a_table_that_cannot_be_reached_any_more_says_so_in_one_line(place: Place) -> None:
    stream = place.topic_stream(tables=f"hdfs:///{unique('tables')}")
    place.drain(stream)
    with Proxy(place.cluster.hdfs.removeprefix("hdfs://")) as proxy:
        table = open_table(stream, HdfsAddress(f"hdfs://{proxy.address}", place.cluster.webhdfs))
        snapshot = table.snapshot()
        assert snapshot is not None
        with proxy.closed():
            for ask in (table.snapshot, lambda: snapshot.position("kafka/nobody")):
                with pytest.raises(SourceUnavailable, match="is its file system up") as caught:
                    ask()
                assert "\n" not in str(caught.value)
        assert table.snapshot() is not None

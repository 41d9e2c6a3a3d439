"""The receiver for Flume's Thrift sinks, with a client that speaks as they do."""

from __future__ import annotations

import errno
import os
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.receivers.flume_support import Client, landed, line_events, message, serving
from tests.receivers.support import HOST, files_in, self_signed
from tests.support import SECONDS, unique, wait_until
from wordtide.core.problems import ConfigError, EnvironmentProblem, SourceUnavailable
from wordtide.embedded.cluster import ClusterAddress
from wordtide.receivers import flume
from wordtide.receivers.doubts import Doubts
from wordtide.receivers.flume import listen, server_tls
from wordtide.receivers.flume_journal import Journal, Put
from wordtide.receivers.flume_lines import Lines, Segment, digest_of
from wordtide.receivers.flume_thrift import BadMessage, Status, read_call
from wordtide.storage import HdfsAddress, LocalStorage, storage_for

LINES = [b"line %d" % number for number in range(300)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "landing"


def test_ok_means_landed_and_bodies_are_lines(root: Path) -> None:
    with serving(root) as (port, running):
        client = Client(port)
        bodies = [b"one two", b"", b"\xff\xc3 raw", "größer".encode()]
        assert client.batch(line_events(bodies)) == 0
        assert landed(root) == bodies
        assert (running.now.events, running.now.waiting_bytes, running.now.dropped_repeats) == (4, 0, 0)


def test_repeats_are_dropped_however_batches_are_cut_and_after_a_restart(root: Path) -> None:
    events = line_events(LINES)
    with serving(root) as (port, running):
        client = Client(port)
        assert client.batch(events[:137]) == 0
        assert Client(port).batch(events[100:200]) == 0
        assert running.now.dropped_repeats == 37
        assert running.now.reconnects == 1
    with serving(root) as (port, running):
        client = Client(port)
        assert client.batch(events[150:170]) == 0
        assert client.batch(events[199:]) == 0
        assert running.now.dropped_repeats == 21
    assert landed(root) == LINES


def test_what_has_no_place_in_a_file_is_landed_at_least_once_and_it_says_so(root: Path) -> None:
    with serving(root) as (port, running):
        client = Client(port)
        for _ in range(2):
            assert client.batch([({"file": "/a"}, b"x"), ({"file": "/a", "byteoffset": "-1"}, b"y")]) == 0
        assert client.batch(line_events([b"z"])) == 0
        lacking = "its events lack TAILDIR's headers (fileHeader and byteOffsetHeader = true)"
        assert [line for line in running.said if "at least" in line] == [f"agent at {HOST}: at least once: {lacking}"]
        assert len([line for line in running.said if "exactly once" in line and "named agent" in line]) == 1
    assert sorted(landed(root)) == [b"x", b"x", b"y", b"y", b"z"]


def test_agents_with_names_may_have_files_of_one_name(root: Path) -> None:
    with serving(root) as (port, running):
        clients = {name: Client(port) for name in ("one", "two")}
        for name, client in clients.items():
            assert client.batch(line_events([name.encode()] * 3, agent=name)) == 0
            assert client.batch(line_events([name.encode()] * 3, agent=name)) == 0
        assert [line.partition(":")[0] for line in running.said] == [f"agent {n!r} at {HOST}" for n in clients]
    assert sorted(landed(root)) == [b"one"] * 3 + [b"two"] * 3


def test_several_agents_at_once_share_files(root: Path) -> None:
    sent = {name: [f"{name} {number}".encode() for number in range(300)] for name in "abcdef"}
    with serving(root) as (port, _):

        def deliver(name: str) -> None:
            client, events = Client(port), line_events(sent[name], agent=name)
            for at in range(0, 300, 20):
                assert client.batch(events[at : at + 20]) == 0
                assert client.batch(events[at : at + 20]) == 0

        threads = [threading.Thread(target=deliver, args=(name,)) for name in sent]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    found = landed(root)
    for name, lines in sent.items():
        assert [line for line in found if line.startswith(name.encode())] == lines


class Away(LocalStorage):
    """A disk that can be away."""

    def set(self, away: bool) -> None:
        object.__setattr__(self, "away", away)

    def write_durably(self, *arguments: Any, **options: Any) -> Any:
        if getattr(self, "away", False):
            raise SourceUnavailable("the disk is away")
        return LocalStorage.write_durably(self, *arguments, **options)


def test_while_nothing_can_land_the_answer_is_failed_and_what_comes_again_lands_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flume, "_LAND_SECONDS", 0.2)
    monkeypatch.setattr(flume, "_ROOM_SECONDS", 0.1)
    disk, events = Away(), line_events(LINES)
    with serving(root, disk, batch=20_000) as (port, running):
        disk.set(True)
        client = Client(port)
        assert client.batch(events[:100]) == 1
        assert client.batch(events[:60]) == 1
        assert running.now.dropped_repeats == 60
        assert landed(root) == []
        # As much as memory may hold, then nothing more is taken.
        for _ in range(8):
            assert client.batch([({}, b"x" * 9999)]) == 1
        assert running.now.waiting_bytes < 2 * 20_000 + 10_000
        disk.set(False)
        wait_until("it goes on by itself", lambda: running.now.waiting_bytes == 0)
        wait_until("the agent's next try works", lambda: client.batch(events) == 0)
    assert [line for line in landed(root) if line.startswith(b"line")] == LINES


def test_told_to_stop_it_ends_with_idle_agents_connected(root: Path) -> None:
    with serving(root) as (port, _):
        idle, half = Client(port), Client(port)
        half.connection.sendall(struct.pack("!i", 100) + b"half")
        assert Client(port).batch(line_events([b"x"])) == 0
    assert idle.answer() is None
    assert landed(root) == [b"x"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (struct.pack("!i", (1 << 20) + 1), "batch of 1,048,577 bytes"),
        (struct.pack("!i", -1), "batch of -1 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n", "is it a Thrift sink"),
        (b"\x16\x03\x01\x02\x00\x01", "is it a Thrift sink"),
        (struct.pack("!i", 5) + b"hello", "not Thrift's compact protocol"),
    ],
)
def test_what_is_no_sink_is_hung_up_on_and_others_are_served(root: Path, sent: bytes, said: str) -> None:
    with serving(root) as (port, running):
        good, bad = Client(port), Client(port)
        bad.connection.sendall(sent)
        running.wait_said(said)
        assert good.batch(line_events([b"x"])) == 0


def test_a_slow_client_is_hung_up_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flume, "_FRAME_SECONDS", 0.1)
    monkeypatch.setattr(flume, "_TICK_SECONDS", 0.05)
    with serving(root) as (port, running):
        slow = Client(port)
        slow.connection.sendall(struct.pack("!i", 1000) + b"x")
        assert slow.answer() is None
        running.wait_said("too slow")


def test_connections_have_a_bound_and_those_that_bring_nothing_make_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flume, "MAX_CONNECTIONS", 3)
    events = line_events([b"x", b"y", b"z"])
    with serving(root) as (port, running):
        first = Client(port)
        assert first.batch(events[:1]) == 0
        idle, half, *_others = [Client(port) for _ in range(5)]
        half.connection.sendall(struct.pack("!i", 1000) + b"half")
        assert idle.answer() is None
        assert half.answer() is None
        second = Client(port)
        assert second.batch(events[:2]) == 0
        assert first.batch(events) == 0
        assert len([line for line in running.said if "there are 3 connections already" in line]) == 1
    assert landed(root) == [b"x", b"y", b"z"]


def test_too_many_open_files_end_one_connection_and_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, left = flume._Visitor, [1]

    def visitor(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made(*arguments)

    with serving(root) as (port, running):
        first = Client(port)
        assert first.batch(line_events([b"x"])) == 0
        monkeypatch.setattr(flume, "_Visitor", visitor)
        assert Client(port).answer() is None
        running.wait_said("a connection cannot be accepted (Too many open files)")
        assert Client(port).batch(line_events([b"x", b"y"])) == 0
        assert first.batch(line_events([b"x", b"y", b"z"])) == 0
    assert landed(root) == [b"x", b"y", b"z"]


def test_half_frames_keep_no_memory_from_a_good_agent(root: Path) -> None:
    with serving(root) as (port, _):
        others = [Client(port) for _ in range(8)]
        for other in others:
            other.connection.sendall(struct.pack("!i", 1 << 20) + b"half")
        assert Client(port).batch([({}, b"x" * 60_000)] * 16) == 0


def test_frames_that_come_slowly_give_way_when_others_wait(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flume, "_SHORT_FRAME_SECONDS", 0.1)
    monkeypatch.setattr(flume, "_TICK_SECONDS", 0.05)
    with serving(root) as (port, running):
        others = [Client(port) for _ in range(8)]
        for other in others:
            other.connection.sendall(struct.pack("!i", 1 << 20) + b"x" * 100_000)
        assert Client(port).batch([({}, b"x" * 60_000)] * 16) == 0
        running.wait_said("too slow")


def test_batches_become_objects_one_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, at_once, most = flume.read_call, [0], [0]

    def counted(content: bytes) -> Any:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        found = read(content)
        at_once[0] -= 1
        return found

    monkeypatch.setattr(flume, "read_call", counted)
    with serving(root) as (port, _):
        clients = [Client(port) for _ in range(4)]
        for number, client in enumerate(clients):
            client.send(message(line_events(LINES, agent=str(number))))
        assert [client.answer() for client in clients] == [0] * 4
    assert most == [1]


def test_who_would_wait_too_long_for_its_turn_is_told_to_send_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flume, "_ROOM_SECONDS", 0.1)
    read, goes_on, begun = flume.read_call, threading.Event(), threading.Event()

    def slow(content: bytes) -> Any:
        begun.set()
        goes_on.wait(SECONDS)
        return read(content)

    monkeypatch.setattr(flume, "read_call", slow)
    with serving(root) as (port, _):
        first, second = Client(port), Client(port)
        first.send(message(line_events([b"one"])))
        assert begun.wait(SECONDS)
        assert second.batch(line_events([b"two"], agent="other")) == 1
        goes_on.set()
        assert first.answer() == 0
        assert second.batch(line_events([b"two"], agent="other")) == 0
    assert landed(root) == [b"one", b"two"]


def test_garbage_of_many_sizes_is_one_line(root: Path) -> None:
    with serving(root) as (port, running):
        for size in range(-5, 0):
            client = Client(port)
            client.connection.sendall(struct.pack("!i", size))
            assert client.answer() is None
        assert len(running.said) == 1


def test_a_large_event_is_refused_and_said_once(root: Path) -> None:
    with serving(root, event=100) as (port, running):
        client = Client(port)
        for _ in range(2):
            assert client.batch([({}, b"x" * 101), ({}, b"y")]) == 1
        assert client.batch([({}, b"x" * 100)]) == 0
        assert len([line for line in running.said if "--max-event" in line]) == 1


def test_a_path_used_twice_loses_nothing_and_is_said(root: Path) -> None:
    with serving(root) as (port, running):
        client = Client(port)
        assert client.batch(line_events([b"first", b"file"])) == 0
        assert client.batch(line_events([b"other", b"file"])) == 0
        running.wait_said("/in/a.log: this path has been used for a second file")
    assert landed(root) == [b"first", b"file", b"other", b"file"]


def test_hdfs_keeps_lines_and_marks_too(cluster: ClusterAddress) -> None:
    storage, root = storage_for(f"hdfs:///{unique('flume')}", HdfsAddress(cluster.hdfs, cluster.webhdfs))
    for end in (200, 300):
        with serving(root, storage) as (port, _):
            client = Client(port)
            assert client.batch(line_events(LINES[:100])) == 0
            assert client.batch(line_events(LINES[:end])) == 0
    journal = Journal(storage, root)
    journal.open()
    note = {"1": Put({"[]": [Segment(Lines([0], [digest_of(b"x")]))]}, Doubts())}
    journal.write(f"{root}/other.txt", bytearray(b"x\n"), note)
    # As if its success had not been heard of.
    journal.write(f"{root}/other.txt", bytearray(b"x\n"), note)
    assert b"".join(files_in(storage, root)) == b"".join(line + b"\n" for line in [*LINES, b"x"])


CALL = message(line_events([b"a", b"b"]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        CALL[:-1],
        CALL[:20],
        # A list of 2^31 events; of 2^40 values of no size; an integer that never ends; structs in structs.
        b"\x82\x21\x01\x0bappendBatch\x19\xfc\xff\xff\xff\xff\x07",
        b"\x82\x21\x01\x0bappendBatch\x29\xf0\xff\xff\xff\xff\xff\x1f",
        b"\x82\x21" + b"\xff" * 100_000,
        b"\x82\x21\x01\x0bappendBatch" + b"\x2c" * 100_000,
        b"\x82\x21\x01\x0bappendBatch\x00",
        b"\x82\x21\x01\x0bappendBatch\x19\x1c\x00\x00",
    ],
)
def test_hostile_messages_are_refused_cheaply(content: bytes) -> None:
    with pytest.raises(BadMessage):
        read_call(content)


def test_another_call_is_told_that_it_is_unknown() -> None:
    # Message type 3 is an exception.
    events, reply = read_call(b"\x82\x21\x01\x04ping\x00")
    assert events is None
    assert reply(Status.OK).startswith(b"\x82\x61\x01\x04ping")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_tls_takes_the_same_events_and_hangs_up_on_those_without(root: Path, certificate: Path) -> None:
    tls = server_tls(str(certificate / "cert.pem"), str(certificate / "key.pem"))
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    with serving(root, tls=tls) as (port, running):
        client = Client(port, lambda plain: trusting.wrap_socket(plain, server_hostname=HOST))
        assert client.batch(line_events([b"secret"])) == 0
        Client(port).send(CALL)
        running.wait_said("TLS failed")
    assert landed(root) == [b"secret"]


def test_a_certificate_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no certificate and its key"):
        server_tls(str(tmp_path / "missing"), str(tmp_path / "missing"))
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"and its key \(\[SSL\] PEM lib\)"):
        server_tls(str(tmp_path / "none.pem"), str(tmp_path / "none.pem"))


def test_a_port_that_is_taken_is_one_line() -> None:
    with (
        listen(HOST, 0) as taken,
        pytest.raises(EnvironmentProblem, match=r"\(Address already in use\): choose another"),
    ):
        listen(HOST, taken.getsockname()[1])

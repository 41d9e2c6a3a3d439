"""What the demonstration says on a socket and writes for Flume: it knows all of it, whatever was deleted between."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.cli.support import Shell
from tests.receivers.support import HOST, LineServer
from tests.support import SECONDS, wait_until
from wordtide.config import SocketConfig, Stream, load_streams
from wordtide.demo.feed import Arrivals
from wordtide.demo.received import FlumeFeed, SocketFeed, local_receiver
from wordtide.storage import LocalStorage
from wordtide.system.address import Server
from wordtide.system.process import ProcessId


@pytest.fixture
def landing(shell: Shell) -> Path:
    folder = shell.folder / "landing"
    folder.mkdir()
    return folder


def stream(shell: Shell, receiver: str) -> Stream:
    shell.streams(f"streams: {{s: {{landing: {{path: landing}}, {receiver}}}}}\n")
    return load_streams()["s"]


def test_a_server_of_somebody_else_is_never_used_and_a_taken_port_is_another(shell: Shell) -> None:
    with LineServer() as taken:
        ours = local_receiver(
            stream(
                shell, f"socket: {{server: 'elsewhere.example:{taken.port}', tls: true, metrics_port: {taken.port}}}"
            )
        )
        assert isinstance(ours, SocketConfig)
        server = Server.parse(ours.server)
        assert (server.host, ours.tls) == (HOST, False)
        assert server.port not in {0, taken.port}
        assert ours.metrics_port not in {None, 0, taken.port}


def test_what_was_said_on_the_socket_is_what_a_client_heard(shell: Shell, landing: Path) -> None:
    with LineServer() as probe:
        port = probe.port
    (landing / "socket-earlier.txt").write_bytes(b"landed earlier\n")
    feed = SocketFeed(stream(shell, f"socket: {{server: '{HOST}:{port}'}}"), LocalStorage(), str(landing), Arrivals())
    feed.start()
    with socket.create_connection((HOST, port), timeout=SECONDS) as client, client.makefile("rb") as heard:
        lines = [heard.readline() for _ in range(20)]
        feed.stop()
        lines += heard.readlines()
    feed.close()
    (landing / "by-hand.txt").write_bytes(b"put there\nby hand\n")
    (landing / "socket-later.txt").write_bytes(b"what was received is told by what was said\n")
    expected = [b"landed earlier", *(line[:-1] for line in lines), b"put there", b"by hand"]
    assert sorted(feed.lines()) == sorted(expected)
    assert feed.expected() == len(expected)


class Written(FlumeFeed):
    """The feed without its agent."""

    def _launch(self) -> ProcessId:
        return ProcessId(0, "never")

    def write(self, name: str, content: bytes) -> None:
        (self._written / f"{name}.log").write_bytes(content)


def test_what_has_to_come_through_flume_is_what_was_written_whatever_was_deleted(shell: Shell, landing: Path) -> None:
    def feed() -> Written:
        return Written(flume, LocalStorage(), str(landing), Arrivals())

    flume = stream(shell, "flume: {port: 4141}")
    first = feed()
    first.write("1", b"one\ntwo\nnot whole")
    assert list(first.lines()) == [b"one", b"two"]
    (landing / "flume-1.txt").write_bytes(b"one\n")
    # The rest comes when the agent is there again.
    assert list(feed().lines()) == [b"one", b"two"]
    shutil.rmtree(shell.folder / "home")
    assert list(feed().lines()) == [b"one"]
    again = feed()
    again.write("2", b"three\n")
    assert list(again.lines()) == [b"one", b"three"]
    (landing / "flume-1.txt").unlink()
    assert list(feed().lines()) == []


def test_an_agent_that_ends_is_told_in_one_line(shell: Shell, landing: Path) -> None:
    feed = Written(stream(shell, "flume: {port: 4141}"), LocalStorage(), str(landing), Arrivals())
    feed.start()
    wait_until("it is told", lambda: feed.problem)
    assert "the Flume agent has ended" in str(feed.problem)
    feed.stop()

"""Feeds what receivers take in: a TCP server that says lines, and a Flume agent that follows a file."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from wordtide.config import PROJECT_ROOT, FlumeConfig, SocketConfig, Stream, home
from wordtide.core.problems import EnvironmentProblem
from wordtide.demo.feed import Arrivals, Feed, paced
from wordtide.demo.text import endless
from wordtide.embedded.jars import flume_jars
from wordtide.sources.files.names import is_candidate
from wordtide.storage import FileInfo, Storage
from wordtide.system.address import Server
from wordtide.system.java import find_java
from wordtide.system.process import ProcessId, launch, stop, telling_line

LOOPBACK = "127.0.0.1"
LINES_A_SECOND = 40
_TICK_SECONDS = 0.5
_SEND_SECONDS = 30.0
_CHUNK_SECONDS = 1.0
_AGENT_SECONDS = 10.0
_CONFIGURATION = PROJECT_ROOT / "examples" / "flume" / "agent.conf"


def local_receiver(stream: Stream) -> SocketConfig | FlumeConfig:
    """Return a stream's receiver as the demo runs it: on this machine, at its own port if that is free, without TLS."""
    receiver = stream.receiver
    assert receiver is not None
    metrics = receiver.metrics_port and free_port(receiver.metrics_port)
    if isinstance(receiver, SocketConfig):
        port = free_port(Server.parse(receiver.server).port)
        here = {"server": str(Server(LOOPBACK, port)), "tls": False, "ca": None}
    else:
        here = {"port": free_port(receiver.port), "listen": LOOPBACK, "cert": None, "key": None}
    return receiver.model_copy(update={**here, "metrics_port": metrics})


def free_port(wanted: int) -> int:
    """Return a port of this machine that nobody has, the wanted one if possible."""
    try:
        probe = socket.create_server((LOOPBACK, wanted))
    except OSError:
        probe = socket.create_server((LOOPBACK, 0))
    with probe:
        return int(probe.getsockname()[1])


class ReceivedFeed(Feed):
    """Feeds a stream through its receiver; knows every line that has to arrive.

    Args:
        stream: With a receiver on this machine.
        storage: Where it lands.
        root: The folder there; made if missing.
        arrivals: Told what is sent.
    """

    def __init__(self, stream: Stream, storage: Storage, root: str, arrivals: Arrivals) -> None:
        super().__init__(stream.name)
        assert stream.receiver is not None
        assert stream.config.landing is not None
        self._config = stream.config.landing
        self._prefix = "socket-" if isinstance(stream.receiver, SocketConfig) else "flume-"
        self._storage = storage
        self._root = root
        self._arrivals = arrivals
        storage.mkdirs(root)
        self._before = self._landed()
        arrivals.expect(root, {file.path for file in self._before})

    def lines(self) -> Iterator[bytes]:
        """Yield everything that has to be counted: what was ever sent, and what somebody else put into the folder."""
        yield from self._sent_lines()
        for file in self._landed():
            if not self._received(file):
                yield from self._content(file).splitlines()

    def expected(self) -> int:
        """Return how many lines that are."""
        return sum(1 for _ in self.lines())

    def close(self) -> None:
        """End what was started for it."""
        raise NotImplementedError

    def _sent_lines(self) -> Iterator[bytes]:
        raise NotImplementedError

    def _landed(self) -> list[FileInfo]:
        files = self._storage.list_files(self._root)
        skip, glob, in_progress = len(self._root) + 1, self._config.glob, self._config.in_progress
        return [file for file in files if is_candidate(file.path[skip:], glob, in_progress)]

    def _received(self, file: FileInfo) -> bool:
        return file.path.rpartition("/")[2].startswith(self._prefix)

    def _content(self, file: FileInfo) -> bytes:
        return b"".join(self._storage.read_range(file.path, 0, file.length))


class SocketFeed(ReceivedFeed):
    """A line server on this machine; whoever connects hears lines at a steady rate.

    TCP has no replay, so what counts from before is what had landed when we came.
    """

    def __init__(self, stream: Stream, storage: Storage, root: str, arrivals: Arrivals) -> None:
        super().__init__(stream, storage, root, arrivals)
        assert isinstance(stream.receiver, SocketConfig)
        server = Server.parse(stream.receiver.server)
        try:
            self._listener = socket.create_server((server.host, server.port))
        except OSError as error:
            why = error.strerror or error
            raise EnvironmentProblem(f"nothing can listen at {server} any more ({why}): start again") from error
        self._listener.settimeout(_TICK_SECONDS)
        # The text has some hundred lines, whatever their number in the end.
        self._sent: Counter[bytes] = Counter()

    def _sent_lines(self) -> Iterator[bytes]:
        for file in self._before:
            if self._received(file):
                yield from self._content(file).splitlines()
        yield from self._sent.elements()

    def close(self) -> None:
        """Listen no more, also if it was never started."""
        self._listener.close()

    def _feed(self) -> None:
        with self._listener:
            while not self._stop.is_set():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                # A receiver that went comes back and is heard again.
                with connection, suppress(OSError):
                    connection.settimeout(_SEND_SECONDS)
                    self._speak(connection)

    def _speak(self, connection: socket.socket) -> None:
        text = endless()
        for due in paced(self._stop, LINES_A_SECOND):
            lines = list(islice(text, due))
            connection.sendall(b"".join(line + b"\n" for line in lines))
            self._sent.update(lines)
            self._arrivals.lines(self._root, len(lines), time.time())


class FlumeFeed(ReceivedFeed):
    """Appends to a file that a real Flume agent follows; what it has to deliver is what is in its files."""

    def __init__(self, stream: Stream, storage: Storage, root: str, arrivals: Arrivals) -> None:
        super().__init__(stream, storage, root, arrivals)
        assert isinstance(stream.receiver, FlumeConfig)
        self._folder = home() / "demo" / stream.name
        self._written = self._folder / "in"
        self._earlier = self._folder / "landed-earlier.txt"
        self._log = home() / "logs" / f"flume-{stream.name}.log"
        self._port = stream.receiver.port
        self._end_predecessor()
        landed = b"".join(self._content(file) for file in self._before if self._received(file))
        self._found(landed)
        # What an earlier demonstration wrote and its agent had not delivered: nobody knows when that was.
        arrivals.lines(root, sum(1 for _ in self._sent_lines()) - landed.count(b"\n"), None)
        self._agent = self._launch()

    def _found(self, landed: bytes) -> None:
        """Make the agent's folder; anew if one of the two, that or what has landed, was deleted."""
        if not landed:
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._earlier.exists():
            self._written.mkdir(parents=True, exist_ok=True)
            self._earlier.write_bytes(landed)

    def _sent_lines(self) -> Iterator[bytes]:
        for path in (self._earlier, *sorted(self._written.glob("*.log"))):
            with path.open("rb") as file:
                # One without its end has not been written yet.
                yield from (line[:-1] for line in file if line.endswith(b"\n"))

    def close(self) -> None:
        """End the agent; what it had not delivered it delivers next time."""
        stop([self._agent], grace=_AGENT_SECONDS)
        self._claim.unlink(missing_ok=True)

    @property
    def _claim(self) -> Path:
        return self._folder / "agent.json"

    def _feed(self) -> None:
        text = endless()
        # A name of its own each time: Flume's exactly once rests on that.
        with (self._written / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log").open("ab", buffering=0) as file:
            while not self._stop.wait(_CHUNK_SECONDS):
                lines = list(islice(text, int(LINES_A_SECOND * _CHUNK_SECONDS)))
                file.write(b"".join(line + b"\n" for line in lines))
                self._arrivals.lines(self._root, len(lines), time.time())
                if not self._agent.alive():
                    raise EnvironmentProblem(f"the Flume agent has ended: {telling_line(self._log)}; see {self._log}")

    def _end_predecessor(self) -> None:
        """End the agent of a demonstration that was killed: it holds the folder."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            left = json.loads(self._claim.read_text())
            stop([ProcessId(int(left["pid"]), str(left["started"]))], grace=_AGENT_SECONDS)

    def _launch(self) -> ProcessId:
        java = find_java()
        command = [
            *(str(java), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-cp", f"{flume_jars(java)}/*", "org.apache.flume.node.Application"),
            *("-n", "wordtide", "-f", str(_CONFIGURATION), "--no-reload-conf"),
        ]
        variables = {
            "FLUME_FILES": f"{self._written}/.*\\.log",
            "FLUME_STATE": str(self._folder / "state"),
            "FLUME_AGENT": "demo",
            "WORDTIDE_HOST": LOOPBACK,
            "WORDTIDE_PORT": str(self._port),
        }
        try:
            agent = launch(command, log=self._log, cwd=self._folder, environment={**os.environ, **variables})
        except OSError as error:
            raise EnvironmentProblem(f"the Flume agent cannot be started: {error.strerror or error}") from error
        self._claim.write_text(json.dumps({"pid": agent.pid, "started": agent.started}))
        return agent

"""Real Flume 1.11 agents, fetched and checked as the embedded servers are, and a client like their Thrift sink."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thriftpy2.protocol.compact import TCompactProtocol
from thriftpy2.transport import TMemoryBuffer

from tests.receivers.support import HOST, Running
from tests.support import SECONDS
from wordtide.embedded.jars import flume_jars
from wordtide.receivers.flume import Bounds, FlumeReceiver, listen
from wordtide.receivers.flume_journal import Journal
from wordtide.receivers.flume_thrift import MODULE
from wordtide.receivers.landing import Lander, Limits
from wordtide.receivers.metrics import Metrics
from wordtide.storage import LocalStorage, Storage
from wordtide.system.java import find_java

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "flume"
EVENT = tuple[Mapping[str, str], bytes]


class Agent:
    """A Flume agent in a process of its own.

    Args:
        configuration: Its file, as it is.
        name: Which agent of that.
        state: Its folder; what it needs to go on after it was killed.
        variables: Its environment.
    """

    def __init__(self, configuration: Path, name: str, state: Path, **variables: object) -> None:
        state.mkdir(exist_ok=True)
        self._command = [
            *(str(find_java()), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-cp", f"{flume_jars(find_java())}/*", "org.apache.flume.node.Application"),
            *("-n", name, "-f", str(configuration), "--no-reload-conf"),
        ]
        self._environment = {key: str(value) for key, value in variables.items()} | {"FLUME_STATE": str(state)}
        self._log = state / "agent.log"
        self.start()

    def start(self) -> None:
        """Run it, again if it was killed."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self._command, env={**os.environ, **self._environment}, stdout=log, stderr=log, cwd=self._log.parent
            )

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait(SECONDS)

    def log(self) -> str:
        """Return what it said."""
        return self._log.read_text(errors="replace")


@contextmanager
def agent(configuration: Path, name: str, state: Path, **variables: object) -> Iterator[Agent]:
    """Run an agent for the length of a ``with`` block."""
    made = Agent(configuration, name, state, **variables)
    try:
        yield made
    finally:
        made.kill()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def line_events(lines: list[bytes], file: str = "/in/a.log", **headers: str) -> list[EVENT]:
    """Return the events of a file's lines as TAILDIR makes them."""
    events, at = [], 0
    for line in lines:
        events.append(({"file": file, "byteoffset": str(at), **headers}, line))
        at += len(line) + 1
    return events


def message(events: list[EVENT]) -> bytes:
    """Return a call of appendBatch, without its frame."""
    written = TMemoryBuffer()
    protocol = TCompactProtocol(written)
    protocol.write_message_begin("appendBatch", 1, 1)
    made = [MODULE.FlumeEvent(headers=dict(headers), body=body) for headers, body in events]
    MODULE.ThriftSourceProtocol.appendBatch_args(events=made).write(protocol)
    protocol.write_message_end()
    content: bytes = written.getvalue()
    return content


class Client:
    """A connection like a Thrift sink's."""

    def __init__(self, port: int, wrap: Any = None) -> None:
        self.connection = socket.create_connection((HOST, port), timeout=SECONDS)
        if wrap is not None:
            self.connection = wrap(self.connection)

    def send(self, content: bytes) -> None:
        """Send a frame."""
        self.connection.sendall(struct.pack("!i", len(content)) + content)

    def answer(self) -> int | None:
        """Return the status that comes; None if it is hung up."""
        with self.connection.makefile("rb") as stream:
            head = stream.read(4)
            if len(head) < 4:
                return None
            buffer = TMemoryBuffer(stream.read(struct.unpack("!i", head)[0]))
        protocol = TCompactProtocol(buffer)
        assert protocol.read_message_begin()[:2] == ("appendBatch", 2)
        result = MODULE.ThriftSourceProtocol.appendBatch_result()
        result.read(protocol)
        return int(result.success)

    def batch(self, events: list[EVENT]) -> int | None:
        """Send a batch and return the answer."""
        self.send(message(events))
        return self.answer()


@contextmanager
def serving(
    root: Path | str,
    storage: Storage | None = None,
    *,
    port: int = 0,
    batch: int = 1 << 20,
    event: int = 1 << 16,
    tls: Any = None,
) -> Iterator[tuple[int, Running]]:
    """Run a receiver for the length of a ``with`` block; yield its port and what it does."""
    storage = storage or LocalStorage()
    running = Running(Metrics())
    journal = Journal(storage, str(root))
    marks = journal.open()
    lander = Lander(
        storage, str(root), "flume", Limits(batch, 0.0), running.metrics, running.said.append, journal.write
    )
    listener = listen(HOST, port)
    receiver = FlumeReceiver(listener, lander, marks, running.metrics, running.said.append, Bounds(batch, event), tls)
    stop = threading.Event()
    lander.start()
    thread = threading.Thread(target=receiver.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], running
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive()
        lander.close(SECONDS)


def landed(root: Path) -> list[bytes]:
    """Return the lines of what has landed, files in the order of their names; hidden ones are nobody's."""
    contents = [path.read_bytes() for path in sorted(root.glob("[!.]*"))]
    return [line for content in contents for line in content.split(b"\n")[:-1]]

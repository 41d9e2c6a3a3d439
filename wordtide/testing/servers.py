"""One real broker and one real HDFS on free loopback ports, ended by their own pids."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wordtide.embedded.cluster import ClusterAddress, down, up
from wordtide.system.cluster import SERVERS, read_record
from wordtide.system.ports import Ports, listening
from wordtide.system.process import ProcessId, stop
from wordtide.testing.waiting import wait_until

ANY_PORTS = Ports(kafka=0, controller=0, hdfs=0, webhdfs=0)


def _process(home: Path, name: str) -> ProcessId:
    record = read_record(home)
    server = record.server(name) if record else None
    if server is None:
        raise AssertionError(f"no {name} runs in {home}")
    return server.process


@dataclass(frozen=True, slots=True)
class Broker:
    """A real Kafka broker.

    Attributes:
        home: The home of its cluster; `WORDTIDE_HOME` of whoever shall find it by itself.
        kafka: ``host:port``.
    """

    home: Path
    kafka: str

    @property
    def process(self) -> ProcessId:
        """Its process, which is another after a restart."""
        return _process(self.home, "kafka")

    def kill(self) -> None:
        """End it with SIGKILL: its port is closed until `restart`."""
        _kill(self.process, self.kafka)

    def restart(self) -> None:
        """Start it again on the same port, with what it held; returns when it answers.

        What `delete_records` deleted in its last minute may be back: a broker writes that down once a minute.
        """
        assert up(self.home, ANY_PORTS).kafka == self.kafka, "somebody else has taken the broker's port"


@dataclass(frozen=True, slots=True)
class Hdfs:
    """A real HDFS: a NameNode and two DataNodes in one process.

    Attributes:
        home: The home of its cluster.
        hdfs: ``hdfs://host:port`` of the NameNode.
        webhdfs: ``host:port`` of its HTTP server.
    """

    home: Path
    hdfs: str
    webhdfs: str

    @property
    def process(self) -> ProcessId:
        """Its process, which is another after a restart."""
        return _process(self.home, "hdfs")

    def kill(self) -> None:
        """End it with SIGKILL: its ports are closed until `restart`."""
        _kill(self.process, self.hdfs, self.webhdfs)

    def restart(self) -> None:
        """Start it again on the same ports, with what it held; returns when it answers."""
        assert up(self.home, ANY_PORTS).hdfs == self.hdfs, "somebody else has taken the NameNode's port"


def _kill(process: ProcessId, *addresses: str) -> None:
    if process.alive():
        os.kill(process.pid, signal.SIGKILL)
    # It is dead already: this only waits for it and collects it.
    stop([process])
    # A process of many threads counts as dead before the last of them has let go of its ports.
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    wait_until("its ports are closed", lambda: not any(map(listening, ports)))


def end_for_sure(home: Path) -> None:
    """End the servers of a home, by force if they refuse; only those that the home has recorded."""
    record = read_record(home)
    try:
        down(home)
    finally:
        for name in SERVERS if record else ():
            server = record.server(name) if record else None
            if server is not None:
                with suppress(ProcessLookupError):
                    os.kill(server.process.pid, signal.SIGKILL)


@contextmanager
def serving(home: Path) -> Iterator[ClusterAddress]:
    """Start both servers in a home and end them afterwards.

    Raises:
        EnvironmentProblem: They do not start; one line says why.
    """
    try:
        yield up(home, ANY_PORTS)
    finally:
        end_for_sure(home)

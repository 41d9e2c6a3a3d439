"""One real Kafka broker and one real HDFS per test session, on free loopback ports."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wordtide.embedded import cds, kafka
from wordtide.embedded.cluster import ClusterAddress
from wordtide.embedded.jars import server_jars
from wordtide.system.java import find_java
from wordtide.system.ports import HOST, Reservations
from wordtide.system.process import ProcessId, launch, stop
from wordtide.testing.network import Proxy
from wordtide.testing.place import Place
from wordtide.testing.servers import ANY_PORTS, end_for_sure

__all__ = ["ANY_PORTS", "OwnBroker", "cluster", "cluster_home", "end_for_sure"]


@pytest.fixture(scope="session")
def cluster_home(wordtide_home: Path) -> Path:
    """The home of the session's cluster, for what is started with `WORDTIDE_HOME`; ended with the session."""
    return wordtide_home


@pytest.fixture(scope="session")
def cluster(wordtide_cluster: ClusterAddress) -> ClusterAddress:
    """The addresses of the session's broker and HDFS, which answer."""
    return wordtide_cluster


class OwnBroker:
    """A broker of a test's own, without HDFS: to be stopped, killed, frozen, and its log cut while it is down.

    Args:
        home: Its folder; ports and data stay in it from start to start.
        joins: The broker whose cluster it joins, as node 2, led by that one's controller. Clients are told to find it
            behind ``proxy``, so that they can be cut off while the controller is not.
    """

    def __init__(self, home: Path, joins: OwnBroker | None = None) -> None:
        self._home = home
        self._joins = joins
        self._java = find_java()
        self._jars = server_jars(self._java)
        self._process: ProcessId | None = None
        with Reservations(self._jars.cache / "ports.lock") as reservations:
            self._port = reservations.get()
            self.proxy = Proxy(self.address) if joins else None
            self._controller: int = joins._controller if joins else reservations.get()
            self.start()

    @property
    def address(self) -> str:
        """Where it is found."""
        return f"{HOST}:{self._port}"

    @property
    def data(self) -> Path:
        """The folder of its log."""
        return self._home / "data"

    def start(self) -> None:
        """Start it, on the ports it had, and wait until it answers."""
        log = self._home / "broker.log"
        environment = dict(os.environ)
        if self._joins is None:
            ports = {"port": self._port, "controller": self._controller}
            self._process = kafka.start(self._home, log, self._java, self._jars, environment, **ports)
        else:
            self._process = self._start_second(log, environment)
        kafka.wait_until_ready(self._process, self._home, log, self._port, time.monotonic() + 90)

    def _start_second(self, log: Path, environment: dict[str, str]) -> ProcessId:
        assert self._joins is not None
        self._home.mkdir(parents=True, exist_ok=True)
        text = kafka.properties(self._port, self._controller)
        text = text.replace("broker,controller", "broker").replace("node.id=1", "node.id=2")
        text = text.replace(f",CONTROLLER://{HOST}:{self._controller}\n", "\nlistener.security.protocol.map=" + _PLAIN)
        assert self.proxy is not None
        text += f"advertised.listeners=PLAINTEXT://{self.proxy.address}\n"
        (self._home / "server.properties").write_text(text)
        archive = cds.flags("kafka", self._java, self._jars.kafka, cache=self._jars.cache, home=self._home)
        flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Djava.net.preferIPv4Stack=true"]
        command = [str(self._java), *archive, *flags, "-cp", ":".join(map(str, self._jars.kafka))]
        if not self.data.exists():
            lines = (self._joins.data / "meta.properties").read_text().splitlines()
            (cluster_id,) = (line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id="))
            tool = [*command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"]
            subprocess.run(tool, cwd=self._home, check=True, capture_output=True, timeout=120)
        return launch([*command, "kafka.Kafka", "server.properties"], log=log, cwd=self._home, environment=environment)

    def stop(self) -> None:
        """End it as an operator does."""
        assert self._process is not None
        self._signal(signal.SIGCONT)
        stop([self._process])

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._signal(signal.SIGKILL)
        stop([self._process])

    def freeze(self) -> None:
        """Let it answer nobody, without closing a connection."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.alive():
            os.kill(self._process.pid, number)


_PLAIN = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A broker to be stopped at will."""
    one = OwnBroker(tmp_path_factory.mktemp("broker"))
    yield one
    one.kill()


@pytest.fixture
def own(broker: OwnBroker, place: Place) -> Place:
    """A place whose topics are on it."""
    return Place(place.folder, ClusterAddress(broker.address, place.cluster.hdfs, place.cluster.webhdfs))

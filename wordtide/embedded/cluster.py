"""The embedded cluster of a home directory: start it, end it, ask for it.

The servers run in the background and belong to nobody; `cluster.json` in the home says where they are. Data stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cds, hdfs, kafka
from wordtide.embedded.jars import ServerJars, cache_dir, server_jars
from wordtide.system.cluster import SERVERS, ClusterAddress, Record, Server, read_record, write_record
from wordtide.system.java import find_java
from wordtide.system.locks import exclusive
from wordtide.system.ports import USUAL, Ports, Reservations, listening
from wordtide.system.process import STOP_GRACE, ProcessId, stop

__all__ = ["ClusterAddress", "ClusterStatus", "down", "status", "up"]

START_TIMEOUT = 180.0
"""Seconds both servers together have to answer; 3 to 6 on a quiet machine, 30 on a busy one."""
_INTERRUPTED_GRACE = 0.5
"""Seconds that servers have to end whose start was interrupted; nobody has written anything to them."""

_PORTS_OF = {"kafka": ("kafka", "controller"), "hdfs": ("hdfs", "webhdfs")}


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What runs in a home.

    Attributes:
        home: the home directory.
        address: where the cluster is found; None unless all of it runs.
        kafka: the broker's address; None unless it runs.
        hdfs: the file system's address; None unless it runs.
    """

    home: Path
    address: ClusterAddress | None
    kafka: str | None
    hdfs: str | None


def up(
    home: Path, wanted: Ports = USUAL, waiting: Callable[[str], AbstractContextManager[object]] = nullcontext
) -> ClusterAddress:
    """Start what does not run of the cluster in `home`, and return when all of it answers.

    May be called by several processes at once; the first one starts it, all get the same address.

    Args:
        home: where its data is and stays; created.
        wanted: ports for a home that has none yet; others are taken when these are not free.
        waiting: shows that the servers are starting, while its context is open; fetching jars shows itself before.

    Raises:
        EnvironmentProblem: no Java, no jars, or a server does not start; then nothing that was started is left running.
        ConfigError: the environment names an Ivy settings file that is not there.
    """
    home = home.absolute()
    running = _answering(read_record(home))
    if running:
        return running
    java = find_java()
    jars = server_jars(java)
    try:
        with (
            waiting("starting Kafka and HDFS"),
            _locked(home),
            Reservations(jars.cache / "ports.lock") as reservations,
        ):
            record = read_record(home) or Record(wanted)
            return _answering(record) or _start(home, record, java, jars, reservations, wanted)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot start the servers in {home}: {error.strerror or error}; let this user write there, or set"
            " WORDTIDE_HOME to a folder where it can"
        ) from error


def down(home: Path, grace: float = STOP_GRACE) -> bool:
    """End the servers of `home`; its data and ports stay.

    Args:
        home: where they run.
        grace: seconds they have to end by themselves.

    Returns:
        Whether there was anything to end.

    Raises:
        EnvironmentProblem: another process starts or ends them and does not finish.
    """
    home = home.absolute()
    if read_record(home) is None:
        return False
    try:
        with _locked(home):
            record = read_record(home)
            if record is None:
                return False
            running = any(record.server(name) for name in SERVERS)
            _stop(home, record, SERVERS, grace)
            return running
    except OSError as error:
        raise EnvironmentProblem(f"cannot end the servers of {home}: {error.strerror or error}") from error


def status(home: Path) -> ClusterStatus:
    """Return what runs in `home`."""
    home = home.absolute()
    record = read_record(home)
    if record is None:
        return ClusterStatus(home, None, None, None)
    address = ClusterAddress.of(record.ports)
    alive = {name: (server := record.server(name)) is not None and server.ready for name in SERVERS}
    return ClusterStatus(
        home, record.address(), address.kafka if alive["kafka"] else None, address.hdfs if alive["hdfs"] else None
    )


def _answering(record: Record | None) -> ClusterAddress | None:
    """Return the address if both servers run and accept connections."""
    if record is None or any(_missing(record, name) for name in SERVERS):
        return None
    return record.address()


def _missing(record: Record, name: str) -> bool:
    server = record.server(name)
    return server is None or not server.ready or not listening(getattr(record.ports, name))


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    timeout = START_TIMEOUT + 2 * STOP_GRACE
    with exclusive(home / "cluster.lock", timeout=timeout, holder="`wordtide up` or `wordtide down`"):
        yield


def _start(
    home: Path, record: Record, java: Path, jars: ServerJars, reservations: Reservations, wanted: Ports
) -> ClusterAddress:
    deadline = time.monotonic() + START_TIMEOUT
    missing = [name for name in SERVERS if _missing(record, name)]
    # One that lives but never answered belongs to an `up` that was killed; one that stopped answering is of no use.
    record = _stop(home, record, missing)
    record = replace(record, ports=_reserve(record.ports, missing, reservations, wanted))
    starting = _Starting(home, java, jars, record)
    try:
        # Side by side: while we talk HDFS through its start, the broker comes up by itself.
        if "hdfs" in missing:
            starting.launch_hdfs()
        if "kafka" in missing:
            starting.launch_kafka()
        if "hdfs" in missing:
            starting.finish_hdfs(deadline)
        if "kafka" in missing:
            starting.finish_kafka(deadline)
    except BaseException as error:
        # Also on Ctrl-C: servers that nobody was told about must not stay.
        _stop(home, starting.record, missing, STOP_GRACE if isinstance(error, Exception) else _INTERRUPTED_GRACE)
        raise
    return ClusterAddress.of(record.ports)


class _Starting:
    """The effects of one `up`; `record` says at any moment what it has started."""

    def __init__(self, home: Path, java: Path, jars: ServerJars, record: Record) -> None:
        self.record = record
        self._home = home
        self._java = java
        self._jars = jars
        # The JVMs would write paths outside ASCII as question marks under the C locale.
        self._environment = {**os.environ, "LC_ALL": "C.UTF-8"}

    def launch_hdfs(self) -> None:
        process = hdfs.start(self._home / "hdfs", self._log("hdfs"), self._java, self._jars, self._environment)
        self._note("hdfs", process, ready=False)

    def launch_kafka(self) -> None:
        ports = self.record.ports
        process = kafka.start(
            self._home / "kafka",
            self._log("kafka"),
            self._java,
            self._jars,
            self._environment,
            port=ports.kafka,
            controller=ports.controller,
        )
        self._note("kafka", process, ready=False)

    def finish_hdfs(self, deadline: float) -> None:
        process, ports = self._process("hdfs"), self.record.ports
        hdfs.configure(
            process,
            self._log("hdfs"),
            self._home / "hdfs",
            self._jars.cache,
            port=ports.hdfs,
            web_port=ports.webhdfs,
            deadline=deadline,
        )
        self._note("hdfs", process, ready=True)

    def finish_kafka(self, deadline: float) -> None:
        process = self._process("kafka")
        kafka.wait_until_ready(process, self._home / "kafka", self._log("kafka"), self.record.ports.kafka, deadline)
        self._note("kafka", process, ready=True)

    def _log(self, name: str) -> Path:
        return self._home / "logs" / f"{name}.log"

    def _process(self, name: str) -> ProcessId:
        server = self.record.recorded(name)
        assert server is not None
        return server.process

    def _note(self, name: str, process: ProcessId, *, ready: bool) -> None:
        self.record = self.record.with_server(name, Server(process, ready))
        # At once: if we are killed now, the next `up` or `down` finds it.
        write_record(self._home, self.record)


def _reserve(had: Ports, missing: Sequence[str], reservations: Reservations, wanted: Ports) -> Ports:
    """Return the ports of a start: a server that runs keeps its own, the others get theirs back if they are free."""
    again = {
        name: reservations.get(getattr(had, name), getattr(wanted, name))
        for server in missing
        for name in _PORTS_OF[server]
    }
    return replace(had, **again)


def _stop(home: Path, record: Record, names: Sequence[str], grace: float = STOP_GRACE) -> Record:
    """End these servers as far as they run, and record that they do not."""
    alive = [name for name in names if record.server(name) is not None]
    recorded = {name: server.process for name in names if (server := record.recorded(name)) is not None}
    ended = stop(list(recorded.values()), grace=grace)
    for name in alive:
        if recorded[name] in ended:
            cds.publish(cache_dir(), home / name)
    for name in recorded:
        record = record.with_server(name, None)
    if recorded:
        write_record(home, record)
    return record

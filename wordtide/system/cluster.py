"""`cluster.json`: what a home knows about its servers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordtide.core.problems import EnvironmentProblem
from wordtide.system.ports import HOST, Ports
from wordtide.system.process import ProcessId

FILE = "cluster.json"
SERVERS = ("kafka", "hdfs")


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where an embedded cluster is found.

    Attributes:
        kafka: the broker, `host:port`.
        hdfs: the file system, `hdfs://host:port`.
        webhdfs: the NameNode's HTTP address, `host:port`.
    """

    kafka: str
    hdfs: str
    webhdfs: str

    @classmethod
    def of(cls, ports: Ports) -> ClusterAddress:
        """Return the address of a cluster on these ports."""
        return cls(f"{HOST}:{ports.kafka}", f"hdfs://{HOST}:{ports.hdfs}", f"{HOST}:{ports.webhdfs}")


@dataclass(frozen=True, slots=True)
class Server:
    """A server process, and whether it has answered yet."""

    process: ProcessId
    ready: bool


@dataclass(frozen=True, slots=True)
class Record:
    """The ports of a home, kept across restarts, and its processes, which may have died since."""

    ports: Ports
    kafka: Server | None = None
    hdfs: Server | None = None

    def recorded(self, name: str) -> Server | None:
        """Return the server `kafka` or `hdfs`, be it alive or not."""
        return self.kafka if name == "kafka" else self.hdfs

    def server(self, name: str) -> Server | None:
        """Return the server `kafka` or `hdfs` if its process lives."""
        server = self.recorded(name)
        return server if server is not None and server.process.alive() else None

    def with_server(self, name: str, server: Server | None) -> Record:
        """Return this record with another server `kafka` or `hdfs`."""
        return replace(self, kafka=server) if name == "kafka" else replace(self, hdfs=server)

    def address(self) -> ClusterAddress | None:
        """Return the address if both servers live and have answered."""
        servers = [self.server(name) for name in SERVERS]
        return ClusterAddress.of(self.ports) if all(server and server.ready for server in servers) else None


def read_record(home: Path) -> Record | None:
    """Return what `home` has recorded; None if no cluster was ever started there.

    Raises:
        EnvironmentProblem: the file is damaged.
    """
    file = home / FILE
    try:
        content = json.loads(file.read_text())
        ports = Ports(**{name: int(port) for name, port in content["ports"].items()})
        return Record(ports, *(_server(content["servers"].get(name)) for name in SERVERS))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentProblem(f"{file} is damaged: end its servers by hand if they run, then delete it") from error


def write_record(home: Path, record: Record) -> None:
    """Replace what `home` has recorded; a reader sees the old or the new, whole.

    Raises:
        OSError: it cannot be written.
    """
    address = ClusterAddress.of(record.ports)
    content = {
        "kafka": address.kafka,
        "hdfs": address.hdfs,
        "webhdfs": address.webhdfs,
        "ports": {name: getattr(record.ports, name) for name in Ports.__slots__},
        "servers": {name: _plain(record.recorded(name)) for name in SERVERS},
    }
    arriving = home / f".{FILE}.{os.getpid()}"
    with arriving.open("w") as stream:
        stream.write(json.dumps(content, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    arriving.replace(home / FILE)


def _server(content: Any) -> Server | None:
    if content is None:
        return None
    return Server(ProcessId(int(content["pid"]), str(content["started"])), bool(content["ready"]))


def _plain(server: Server | None) -> dict[str, Any] | None:
    if server is None:
        return None
    return {"pid": server.process.pid, "started": server.process.started, "ready": server.ready}


def read_address(home: Path) -> ClusterAddress | None:
    """Return where the cluster of `home` is found, or None unless all of it runs; costs no more than reading a file."""
    record = read_record(home)
    return None if record is None else record.address()

"""Which ports the servers get: those they had, else the usual ones, else any that is free."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on loopback; 0 = any."""

    kafka: int
    controller: int
    hdfs: int
    webhdfs: int


USUAL = Ports(kafka=9092, controller=0, hdfs=9000, webhdfs=9870)


def choose(wanted: Iterable[int], take: Callable[[int], bool], any_port: Callable[[], int]) -> int:
    """Return the first port of `wanted` that `take` gets hold of, else one from `any_port`.

    Raises:
        OSError: a hundred times `any_port` named a port that somebody else had.
    """
    for port in wanted:
        if port != 0 and take(port):
            return port
    for _ in range(100):
        port = any_port()
        if take(port):
            return port
    raise OSError("no free port was found in a hundred attempts")


def listening(port: int) -> bool:
    """Return whether anything accepts connections on this loopback port."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((HOST, port)) == 0


class Reservations:
    """Ports promised to servers that are being started and do not listen yet.

    Two clusters started at the same moment would both find 9092 free. So whoever starts one holds a lock on the byte
    number 9092 of one common file until its servers listen; the system lets go of it if the holder dies.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        self._held: set[int] = set()

    def __enter__(self) -> Reservations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def get(self, *wanted: int) -> int:
        """Reserve the first free port of `wanted`, else any free one."""
        return choose(wanted, self._take, _any_port)

    def _take(self, port: int) -> bool:
        if port in self._held or not _free(port):
            return False
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(port)
        return True


def _free(port: int) -> bool:
    with socket.socket() as server:
        # As the servers do: connections of the last run that are still fading away do not make a port taken.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
            server.listen(1)
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as server:
        server.bind((HOST, 0))
        port: int = server.getsockname()[1]
        return port

"""A real TCP line server for tests, and receivers that run in this process."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import SECONDS, wait_until
from wordtide.receivers.landing import Lander, Limits
from wordtide.receivers.metrics import Metrics, Snapshot
from wordtide.receivers.socket import SocketReceiver
from wordtide.storage import LocalStorage, Storage
from wordtide.system.address import Server

HOST = "127.0.0.1"


def lines_in(content: bytes) -> list[bytes]:
    """Return the lines of a text as Java's `readLine` finds them."""
    lines = re.split(rb"\r\n|\r|\n", content)
    return lines if lines[-1] else lines[:-1]


def names_in(storage: Storage, root: str) -> list[str]:
    """Return the names of the files in a folder, in their order; none of them is hidden."""
    names = sorted(file.path.rpartition("/")[2] for file in storage.list_files(root))
    assert not [name for name in names if name.startswith(".")]
    return names


def files_in(storage: Storage, root: str) -> list[bytes]:
    """Return the files' contents in the order of their names."""
    names = names_in(storage, root)
    return [b"".join(storage.read_range(f"{root}/{name}", 0, 1 << 40)) for name in names]


def lines_landed(root: Path) -> list[bytes]:
    """Return the lines of a local folder's landed files, each file read by itself."""
    return [line for content in files_in(LocalStorage(), str(root)) for line in lines_in(content)]


def self_signed(folder: Path) -> Path:
    """Make a certificate for the loopback address that signed itself (``cert.pem``), and its key (``key.pem``)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder


class Peer:
    """The server's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(SECONDS)

    def send(self, content: bytes) -> None:
        """Hand it to the kernel, all of it."""
        self._connection.sendall(content)

    def end(self) -> None:
        """End the connection as a program does that is done (FIN)."""
        if isinstance(self._connection, ssl.SSLSocket):
            # It says goodbye, and fails because the other side is gone before it answered.
            with suppress(ssl.SSLError):
                self._connection.unwrap()
        self._connection.close()

    def cut(self) -> None:
        """End it without TLS's goodbye."""
        self._connection.close()

    def reset(self) -> None:
        """Break it (RST)."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class LineServer:
    """Listens on a loopback port of its own, which can be closed and opened again."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._peers: list[Peer] = []  # One that nobody holds would end its connection.
        self.port = 0
        self.open()

    def __enter__(self) -> LineServer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
        for peer in self._peers:
            peer.cut()

    @property
    def address(self) -> Server:
        """Where it is."""
        return Server(HOST, self.port)

    def open(self) -> None:
        """Listen, on the port it had."""
        self._listener = socket.create_server((HOST, self.port))
        self._listener.settimeout(SECONDS)
        self.port = self._listener.getsockname()[1]

    def close(self) -> None:
        """Listen no more; connections stay."""
        self._listener.close()

    def accept(self) -> Peer:
        """Return the next connection."""
        connection, _ = self._listener.accept()
        if self._tls is not None:
            connection.settimeout(SECONDS)
            connection = self._tls.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
        peer = Peer(connection)
        self._peers.append(peer)
        return peer


@dataclass
class Running:
    """A receiver at work."""

    metrics: Metrics
    said: list[str] = field(default_factory=list)

    @property
    def now(self) -> Snapshot:
        """Its figures."""
        return self.metrics.snapshot()

    def wait(self, **figures: int) -> None:
        """Wait until its figures are these."""
        wait_until(
            f"{figures}, {self.said}", lambda: all(getattr(self.now, name) == value for name, value in figures.items())
        )

    def wait_said(self, part: str) -> None:
        """Wait until it has said something."""
        wait_until(f"it says {part!r}, not only {self.said}", lambda: any(part in line for line in self.said))


@contextmanager
def receiving(
    server: Server,
    storage: Storage,
    root: str | Path,
    *,
    max_bytes: int = 1 << 20,
    max_age_s: float = 0.05,
    **options: Any,
) -> Iterator[Running]:
    """Run a receiver for the length of a ``with`` block; at its end it is told to stop and lands the rest."""
    running = Running(Metrics())
    lander = Lander(
        storage, os.fspath(root), f"socket-{server}", Limits(max_bytes, max_age_s), running.metrics, running.said.append
    )
    receiver = SocketReceiver(server, lander, running.metrics, running.said.append, **options)
    stop = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(stop,), daemon=True)
    lander.start()
    thread.start()
    try:
        yield running
    finally:
        stop.set()
        thread.join(SECONDS)
        assert not thread.is_alive()
        lander.close(SECONDS)

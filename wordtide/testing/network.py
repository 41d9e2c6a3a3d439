"""A server that cannot be reached: its port closed and opened again, or silence."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from wordtide.system.ports import HOST
from wordtide.system.process import ProcessId


class HasProcess(Protocol):
    """A server of the kit."""

    @property
    def process(self) -> ProcessId:
        """Its process."""
        ...


@contextmanager
def silent(server: HasProcess) -> Iterator[None]:
    """Stop a server's process (SIGSTOP) and let it go on: connections stay open and nothing comes through them.

    For a broker this is the network cut, and the nastier kind: no client is told. A proxy would be of no use there,
    as clients go on to the address that the broker advertises, behind the proxy. For a port that is really closed,
    `Broker.kill` and `Broker.restart` it. After more than three seconds the broker has lost its session and its
    partitions are without a leader for a moment. For a NameNode use `Proxy`, which closes its port.
    """
    process = server.process
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if process.alive():
            os.kill(process.pid, signal.SIGCONT)


class Proxy:
    """A TCP proxy on a loopback port of its own, which can be closed and opened again.

    Good for a NameNode (its HTTP port needs another); DataNodes are reached directly. Not for brokers: see `silent`.

    Args:
        target: ``host:port``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = self._listen(0)
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        """``host:port`` of the proxy, the same for all its life."""
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Close the port and all connections: what is sent now is refused, what is under way is reset."""
        with self._lock:
            listener, self._listener = self._listener, None
            broken, self._open = self._open, set()
        for one in (*((listener,) if listener else ()), *broken):
            # Closing alone would neither wake who waits for it nor tell the other side.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def mend(self) -> None:
        """Open the same port again."""
        if self._listener is None:
            self._listener = self._listen(int(self.address.rpartition(":")[2]))
            threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Close the port for the length of a ``with`` block."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(64)
        return listener

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                if self._listener is not listener:
                    client.close()
                    server.close()
                    return
                self._open |= {client, server}
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    end = client if key.fileobj is client else server
                    content = end.recv(1 << 16)
                    if content:
                        other[end].sendall(content)
                    else:
                        selector.unregister(end)
                        other[end].shutdown(socket.SHUT_WR)
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

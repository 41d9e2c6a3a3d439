"""Connects out to a line server, as Spark's `socketTextStream` does, and puts whole lines into a lander."""

from __future__ import annotations

import socket
import ssl
import threading
import time

from wordtide.core.problems import ConfigError
from wordtide.core.text import LONGEST_WORD
from wordtide.receivers.backoff import Backoff
from wordtide.receivers.changes import Changes
from wordtide.receivers.landing import Lander, Say
from wordtide.receivers.lines import LineCutter, count_lines, last_line_end, stretches
from wordtide.receivers.metrics import Metrics
from wordtide.receivers.reasons import reason_of
from wordtide.system.address import Server

MAX_LINE = LONGEST_WORD
"""Bytes of a line that are held in memory until its end comes: what has no space is counted up to that."""
READ_BYTES = 256 << 10
_TICK_SECONDS = 0.5
_CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# A peer that vanished without a word is noticed after a minute: a quiet one answers these probes.
_PROBE_AFTER, _PROBE_EVERY, _PROBES = 30, 10, 3
_REST_SECONDS, _REST_TICK_SECONDS = 1.0, 0.1
_REST_BYTES = 16 << 20


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how to check the server's certificate and name.

    Args:
        ca_file: PEM file with the certificates to trust instead of the system's.

    Raises:
        ConfigError: The file cannot be read or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"{ca_file}: no certificates can be read from it ({reason_of(error)})") from error


class SocketReceiver:
    """Reads lines from one server, again and again.

    A connection that ends or breaks is followed by another, after a pause that grows from half a second to thirty
    while nothing is received. Nothing is read while the lander has no room: the server is slowed down by TCP.

    Args:
        server: Where to connect to; nowhere else is.
        lander: Where whole lines go.
        metrics: Counts bytes, reconnects and what is lost.
        say: Takes a line at every change between connected and not; see `Changes`.
        tls: Speak TLS, and how to check the server.
        max_line: Bytes of an unfinished line that are held; see `LineCutter`.
    """

    def __init__(
        self,
        server: Server,
        lander: Lander,
        metrics: Metrics,
        say: Say,
        *,
        tls: ssl.SSLContext | None = None,
        max_line: int = MAX_LINE,
    ) -> None:
        self._server = server
        self._lander = lander
        self._metrics = metrics
        self._say = say
        self._changes = Changes(say)
        self._tls = tls
        self._max_line = max_line

    def run(self, stop: threading.Event) -> None:
        """Receive until told to stop, which takes at most two seconds beyond a connection attempt."""
        pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        connected = unreachable = False
        while not stop.is_set():
            try:
                connection = self._connect()
            except OSError as error:
                if not unreachable:
                    self._changes.now(f"{self._server}: cannot be reached ({reason_of(error)}); trying until it can")
                unreachable = True
                self._changes.watch()
                stop.wait(pauses.next())
                continue
            with connection:
                self._changes.now(f"{self._server}: connected")
                self._metrics.add(reconnects=int(connected))
                connected, unreachable = True, False
                if self._receive(connection, stop):
                    pauses.reset()
            stop.wait(pauses.next())

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._server.host, self._server.port), timeout=_CONNECT_SECONDS)
        try:
            if connection.getsockname() == connection.getpeername():
                # The kernel may give a connection to a local port that nobody listens on that very port as its own.
                raise ConnectionRefusedError("nobody listens there")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
            if self._tls is not None:
                # An end without TLS's own goodbye may be anybody's: it counts as broken.
                connection = self._tls.wrap_socket(
                    connection, server_hostname=self._server.host, suppress_ragged_eofs=False
                )
            connection.settimeout(_TICK_SECONDS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _receive(self, connection: socket.socket, stop: threading.Event) -> bool:
        """Read one connection to its end; return whether anything came."""
        cutter = LineCutter(self._max_line)
        before = self._metrics.snapshot().received_bytes
        try:
            while not stop.is_set():
                self._changes.watch()
                if not self._lander.has_room(_TICK_SECONDS):
                    continue
                chunk = _read(connection)
                if chunk is None:
                    self._put(cutter.settle())
                elif chunk:
                    self._take(cutter, chunk)
                else:
                    self._changes.now(f"{self._server}: ended the connection; connecting again")
                    break
            else:
                self._take_the_rest(connection, cutter)
        except OSError as error:
            whole, lost = cutter.give_up()
            self._put(whole)
            self._metrics.add(lost_bytes=lost)
            what = f"the {lost:,} bytes of its unfinished last line are dropped" if lost else "no line was unfinished"
            self._changes.now(f"{self._server}: the connection broke ({reason_of(error)}); {what}")
        else:
            self._put(cutter.finish())
        return self._metrics.snapshot().received_bytes > before

    def _take_the_rest(self, connection: socket.socket, cutter: LineCutter) -> None:
        """Take what has arrived already and the end of the line that is unfinished, if that comes within a second.

        From a server that never pauses, up to a line's end: what comes after it was never asked for.
        """
        connection.settimeout(_REST_TICK_SECONDS)
        begun = time.monotonic()
        taken = 0
        while True:
            chunk = _read(connection)
            late = time.monotonic() - begun
            if not chunk:
                if chunk is not None or cutter.complete or late > _REST_SECONDS:
                    return
                continue
            taken += len(chunk)
            enough = late > _REST_SECONDS / 2 or taken > _REST_BYTES or not self._lander.has_room(0)
            end = last_line_end(chunk) if enough else 0
            self._take(cutter, chunk[:end] if end else chunk)
            if end or late > _REST_SECONDS or taken > 2 * _REST_BYTES:
                return

    def _take(self, cutter: LineCutter, chunk: bytes) -> None:
        self._metrics.add(received_bytes=len(chunk))
        cuts = cutter.cuts
        whole = cutter.feed(chunk)
        if cutter.cuts > cuts:
            if cuts == 0:
                self._say(
                    f"{self._server}: a line of more than {self._max_line:,} bytes is cut, at spaces if it has any"
                )
            self._metrics.add(cuts=cutter.cuts - cuts)
        self._put(whole)

    def _put(self, whole: bytes) -> None:
        for stretch in stretches(whole, self._lander.max_bytes):
            self._lander.put(stretch, count_lines(stretch))


def _read(connection: socket.socket) -> bytes | None:
    """Return some bytes, none at the connection's end; None if nothing came within its timeout."""
    try:
        return connection.recv(READ_BYTES)
    except TimeoutError as error:
        # Python's own timeout has no number. The kernel's has one: the peer answered none of the probes.
        if error.errno is not None:
            raise
        return None

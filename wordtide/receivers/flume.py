"""Serves Flume agents' Thrift sinks, and answers OK once what they sent is durable.

An agent sends a batch again when it did not hear OK in time, and cuts it differently then. So each event of a TAILDIR
source, which carries its file and where in it the line starts, is looked up in the marks of what was taken. One that
was taken is not put again, but OK is said only once it has landed, too.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from wordtide.errors import ConfigError, EnvironmentProblem
from wordtide.receivers.flume_marks import Mark, Recent, Verdict, key_of
from wordtide.receivers.flume_thrift import BadMessage, Event, Status, answer
from wordtide.receivers.landing import Lander, Say, Ticket
from wordtide.receivers.metrics import Metrics

MAX_CONNECTIONS = 64
_FRAMES_IN_MEMORY = 4
_TICK_SECONDS = 0.5
_IDLE_SECONDS = 600.0
_FRAME_SECONDS = 30.0
_HANDSHAKE_SECONDS = 10.0
_STOP_SECONDS = 4.0
# Below the sink's own patience, 20 s unless configured, so that it hears FAILED instead of nothing.
_ROOM_SECONDS, _LAND_SECONDS = 5.0, 10.0
_SAID = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an agent may send.

    Attributes:
        batch: Bytes of a batch, as it is sent. Four of that size are held in memory, however many agents there are.
        event: Bytes of an event's body.
    """

    batch: int
    event: int


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: An address of this machine, or a name of one.
        port: 0 for a free one.

    Raises:
        EnvironmentProblem: It cannot listen there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EnvironmentProblem(f"cannot listen on {host} port {port} ({reason}): choose another") from error


def server_tls(certificate: str, key: str) -> ssl.SSLContext:
    """Return how to speak TLS to agents, whose Thrift sink has no certificate of its own.

    Args:
        certificate: PEM file with the certificate, and those between it and its authority.
        key: PEM file with its private key.

    Raises:
        ConfigError: They cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:
        raise ConfigError(
            f"{certificate} and {key} are no certificate and its key ({error.strerror or error})"
        ) from error
    return context


class FlumeReceiver:
    """Takes events from any number of agents, each connection in a thread of its own.

    Args:
        listener: Where they connect to; `run` closes it.
        lander: Where their lines go; it writes the marks that are given along.
        marks: What has landed already, by `key_of`.
        metrics: Counts bytes, connections and repeats.
        say: Takes a line for each agent and each kind of problem, once.
        bounds: What they may send.
        tls: Speak TLS.
    """

    def __init__(
        self,
        listener: socket.socket,
        lander: Lander,
        marks: dict[str, Mark],
        metrics: Metrics,
        say: Say,
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._lander = lander
        self._metrics = metrics
        self._say = say
        self._bounds = bounds
        self._tls = tls
        self._taking = threading.Lock()
        self._marks = Recent(marks)
        self._last_ticket: Ticket | None = None
        self._said: set[str] = set()
        self._memory = threading.Condition()
        self._free = _FRAMES_IN_MEMORY * bounds.batch

    def run(self, stop: threading.Event) -> None:
        """Receive until told to stop; a batch that has come whole is landed and answered even then."""
        threads: list[threading.Thread] = []
        connections = 0
        with self._listener as listener:
            listener.settimeout(_TICK_SECONDS)
            while not stop.is_set():
                threads = [thread for thread in threads if thread.is_alive()]
                try:
                    connection, address = listener.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    # Of this one connection, or there are too many open files: neither must end the others.
                    self._say_once("", f"a connection cannot be accepted ({error.strerror})")
                    stop.wait(_TICK_SECONDS)
                    continue
                if len(threads) >= MAX_CONNECTIONS:
                    connection.close()
                    self._say_once("", f"{address[0]}: refused, there are {MAX_CONNECTIONS} connections already")
                    continue
                self._metrics.add(reconnects=int(connections > 0))
                connections += 1
                # Daemons: the lander's end is waited for, not theirs.
                thread = threading.Thread(target=self._serve, args=(connection, address[0], stop), daemon=True)
                thread.start()
                threads.append(thread)
        until = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _serve(self, connection: socket.socket, peer: str, stop: threading.Event) -> None:
        try:
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is None:
                    self._converse(connection, peer, stop)
                    return
                connection.settimeout(_HANDSHAKE_SECONDS)
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._converse(secure, peer, stop)
        except BadMessage as error:
            self._say_once(peer, f"{peer}: hung up on, {error}")
        except TimeoutError:
            self._say_once(peer, f"{peer}: hung up on, it was too slow or idle for too long")
        except ssl.SSLError as error:
            self._say_once(peer, f"{peer}: TLS failed ({error.reason or error})")
        except (OSError, EnvironmentProblem):
            # It went, or nothing lands any more: it was not told OK, and sends again.
            return

    def _converse(self, connection: socket.socket, peer: str, stop: threading.Event) -> None:
        connection.settimeout(_TICK_SECONDS)
        while True:
            head = _read(connection, 4, stop, _IDLE_SECONDS)
            if head is None:
                return
            [size] = struct.unpack("!i", head)
            if not 0 < size <= self._bounds.batch:
                raise BadMessage(
                    f"it sent a batch of {size:,} bytes, of at most {self._bounds.batch:,} (--max-batch); is it a"
                    f" Thrift sink{'' if self._tls else ' without TLS'}? A smaller batch-size there helps"
                )
            if not self._reserve(size, stop):
                return
            try:
                content = _read(connection, size, stop, _FRAME_SECONDS)
                if content is None:
                    return
                self._metrics.add(received_bytes=size + 4)
                reply = answer(content, lambda events: self._take(events, peer))
                del content
            finally:
                self._release(size)
            connection.settimeout(_FRAME_SECONDS)
            connection.sendall(struct.pack("!i", len(reply)) + reply)
            connection.settimeout(_TICK_SECONDS)

    def _take(self, events: Sequence[Event], peer: str) -> Status:
        longest = max((len(event.body) for event in events), default=0)
        if longest > self._bounds.event:
            self._say_once(
                peer,
                f"{peer}: an event of {longest:,} bytes is not taken, and the agent sends it for ever: start with a"
                f" larger --max-event than {self._bounds.event:,}",
            )
            return Status.FAILED
        if not self._lander.has_room(_ROOM_SECONDS):
            return Status.FAILED
        ticket = self._put(events, peer)
        return Status.OK if ticket is None or ticket.wait(_LAND_SECONDS) else Status.FAILED

    def _put(self, events: Sequence[Event], peer: str) -> Ticket | None:
        """Put what is new, and return what says that all of it has landed, repeats as well."""
        with self._taking:
            lines = []
            touched: dict[str, Mark] = {}
            for event in events:
                found = _place_of(event, peer)
                self._introduce(event, peer, known=found is not None)
                if found is None:
                    lines.append(event.body)
                    continue
                key, start = found
                mark = self._marks[key] if key in self._marks else Mark()
                verdict = mark.take(start, event.body)
                if verdict is Verdict.REPEAT:
                    continue
                if verdict is Verdict.REUSED:
                    self._say_once(
                        key,
                        f"{event.headers['file']}: this path has been used for a second file, of which nothing can be"
                        " told apart from the first: at least once for it from now on",
                    )
                self._marks[key] = mark
                touched[key] = mark
                lines.append(event.body)
            self._metrics.add(dropped_repeats=len(events) - len(lines))
            if lines:
                notes = {key: mark.note() for key, mark in touched.items()}
                self._last_ticket = self._lander.put(b"".join(line + b"\n" for line in lines), len(lines), notes)
            # Files land in the order of the puts: what was put before this ticket is durable when it is.
            return self._last_ticket

    def _introduce(self, event: Event, peer: str, *, known: bool) -> None:
        """Say once for each agent what it can be promised."""
        name = event.headers.get("agent")
        topic = f"{peer} {name} {known}"
        if topic in self._said:
            return
        who = f"agent {name!r} at {peer}" if name else f"agent at {peer}"
        if not known:
            what = "at least once: its events lack TAILDIR's headers (fileHeader and byteOffsetHeader = true)"
        else:
            what = "exactly once, if its channel is a file channel and no path of its files is used twice"
            if not name:
                what += "; known by its address, so another agent behind that one needs a header named agent"
        self._say_once(topic, f"{who}: {what}", topic=topic)

    def _say_once(self, about: str, text: str, topic: str | None = None) -> None:
        topic = topic or f"{about} {text}"
        # A hostile client must not fill the log either.
        if topic not in self._said and len(self._said) < _SAID:
            self._said.add(topic)
            self._say(text)

    def _reserve(self, size: int, stop: threading.Event) -> bool:
        """Wait until there is memory for a frame; False when told to stop meanwhile."""
        with self._memory:
            while not self._memory.wait_for(lambda: self._free >= size, _TICK_SECONDS):
                if stop.is_set():
                    return False
            self._free -= size
            return True

    def _release(self, size: int) -> None:
        with self._memory:
            self._free += size
            self._memory.notify_all()


def _place_of(event: Event, peer: str) -> tuple[str, int] | None:
    """Return the key of an event's file and where its line starts there; None if it does not say."""
    file, start = event.headers.get("file"), event.headers.get("byteoffset", "")
    if not file or len(start) > 18 or not (start.isascii() and start.isdecimal()):
        return None
    return key_of(event.headers.get("agent") or peer, file), int(start)


def _read(connection: socket.socket, size: int, stop: threading.Event, seconds: float) -> bytes | None:
    """Return exactly so many bytes; None at the connection's end or when told to stop.

    Raises:
        TimeoutError: It takes longer than so many seconds.
        OSError: The connection broke.
    """
    content = bytearray()
    until = time.monotonic() + seconds
    while len(content) < size:
        if stop.is_set():
            return None
        if time.monotonic() > until:
            raise TimeoutError
        with suppress(TimeoutError):
            chunk = connection.recv(min(size - len(content), 1 << 18))
            if not chunk:
                return None
            content += chunk
    return bytes(content)

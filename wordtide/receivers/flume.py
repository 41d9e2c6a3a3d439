"""Serves Flume agents' Thrift sinks, and answers OK once what they sent is durable.

An agent sends a batch again when it did not hear OK in time, and cuts it differently then. So each event of a TAILDIR
source, which carries its file and where in it the line starts, is looked up in the marks of what was taken. One whose
body was taken from that very place is not put again, but OK is said only once it has landed, too.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from wordtide.core.problems import ConfigError, EnvironmentProblem
from wordtide.receivers.doubts import Doubts, DoubtsSaid
from wordtide.receivers.flume_journal import Put
from wordtide.receivers.flume_lines import Lines, Segment, digest_of
from wordtide.receivers.flume_marks import Judgement, Marks, Verdict, Why, key_of
from wordtide.receivers.flume_thrift import BadMessage, Event, Status, read_call, refusal
from wordtide.receivers.landing import Lander, Say, Ticket
from wordtide.receivers.metrics import Metrics
from wordtide.receivers.reasons import reason_of

MAX_CONNECTIONS = 64
_FRAMES_IN_MEMORY = 4
_SMALL_BYTES = 64 << 10
"""A frame, or what of a larger one has to have come before memory is set aside for it: a length alone takes none."""
_TICK_SECONDS = 0.5
_IDLE_SECONDS = 600.0
_FRAME_SECONDS, _SHORT_FRAME_SECONDS = 30.0, 5.0
"""For a frame to come; the second while others wait for the memory that it has."""
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
        reason = reason_of(error) if isinstance(error, OSError) else error
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
        raise ConfigError(f"{certificate} and {key} are no certificate and its key ({reason_of(error)})") from error
    return context


class _Visitor:
    """A connection, as others see it.

    Attributes:
        peer: The other side's address.
        delivered: It has brought a batch.
        busy: A whole batch of it is being taken and answered.
    """

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self.peer = peer
        self.delivered = False
        self.busy = False
        # The connection's own object becomes another one with TLS, and is its thread's.
        self._handle = connection.dup()

    def hang_up(self) -> None:
        """End the connection, whatever its thread waits for."""
        with suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Its thread has ended."""
        self._handle.close()


class _Visitors:
    """Who is connected, in the order of their last batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[_Visitor] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, visitor: _Visitor) -> None:
        with self._lock:
            self._all.append(visitor)

    def remove(self, visitor: _Visitor) -> None:
        with self._lock:
            if visitor in self._all:
                self._all.remove(visitor)
        visitor.forget()

    def delivered(self, visitor: _Visitor) -> None:
        with self._lock:
            visitor.delivered, visitor.busy = True, False
            if visitor in self._all:
                self._all.remove(visitor)
                self._all.append(visitor)

    def make_place(self) -> bool:
        """Hang up on whoever is missed least: before all those who never brought anything, then the quietest."""
        with self._lock:
            waiting = [visitor for visitor in self._all if not visitor.busy]
            chosen = min(waiting, key=lambda visitor: visitor.delivered, default=None)
            if chosen is None:
                return False
            self._all.remove(chosen)
            chosen.hang_up()
            return True


class FlumeReceiver:
    """Takes events from any number of agents, each connection in a thread of its own.

    Args:
        listener: Where they connect to; `run` closes it.
        lander: Where their lines go; it writes the marks that are given along.
        marks: What has landed already.
        metrics: Counts bytes, connections, repeats and doubtful lines.
        say: Takes a line for each agent and each kind of problem, once.
        bounds: What they may send.
        tls: Speak TLS.
    """

    def __init__(
        self,
        listener: socket.socket,
        lander: Lander,
        marks: Marks,
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
        # Also for reading messages: as objects they take many times their bytes.
        self._taking = threading.Lock()
        self._visitors = _Visitors()
        self._marks = marks
        self._changed: dict[str, list[Segment]] = {}  # What the next put is to tell the journal.
        self._doubts = DoubtsSaid(say)
        self._puts = 0
        self._last_ticket: Ticket | None = None
        self._said: set[str] = set()
        self._memory = threading.Condition()
        self._free = _FRAMES_IN_MEMORY * bounds.batch
        self._wanting = 0

    def run(self, stop: threading.Event) -> None:
        """Receive until told to stop; a batch that has come whole is landed and answered even then."""
        threads: list[threading.Thread] = []
        connections = 0
        with self._listener as listener:
            listener.settimeout(_TICK_SECONDS)
            while not stop.is_set():
                self._doubts.watch()
                threads = [thread for thread in threads if thread.is_alive()]
                try:
                    connection, visitor = _accept(listener)
                except TimeoutError:
                    continue
                except OSError as error:
                    # Of this one connection, or there are too many open files: neither must end the others.
                    self._say_once("", f"a connection cannot be accepted ({error.strerror})")
                    stop.wait(_TICK_SECONDS)
                    continue
                if len(self._visitors) >= MAX_CONNECTIONS and not self._make_place(len(threads)):
                    visitor.forget()
                    connection.close()
                    self._say_once("", f"{visitor.peer}: refused, there are {MAX_CONNECTIONS} connections already")
                    continue
                self._metrics.add(reconnects=int(connections > 0))
                connections += 1
                self._visitors.add(visitor)
                # Daemons: the lander's end is waited for, not theirs.
                thread = threading.Thread(target=self._serve, args=(connection, visitor, stop), daemon=True)
                thread.start()
                threads.append(thread)
        until = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _make_place(self, threads: int) -> bool:
        self._say_once(
            "", f"there are {MAX_CONNECTIONS} connections already: for each more the one that is missed least ends"
        )
        # Those that were hung up on need a moment to notice.
        return threads < 2 * MAX_CONNECTIONS and self._visitors.make_place()

    def _serve(self, connection: socket.socket, visitor: _Visitor, stop: threading.Event) -> None:
        peer = visitor.peer
        try:
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is None:
                    self._converse(connection, visitor, stop)
                    return
                connection.settimeout(_HANDSHAKE_SECONDS)
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._converse(secure, visitor, stop)
        except BadMessage as error:
            self._say_once(peer, f"{peer}: hung up on, {error}")
        except TimeoutError:
            self._say_once(peer, f"{peer}: hung up on, it was too slow or idle for too long")
        except ssl.SSLError as error:
            self._say_once(peer, f"{peer}: TLS failed ({reason_of(error).removeprefix('TLS: ')})")
        except (OSError, EnvironmentProblem):
            # It went, or nothing lands any more: it was not told OK, and sends again.
            return
        finally:
            self._visitors.remove(visitor)

    def _converse(self, connection: socket.socket, visitor: _Visitor, stop: threading.Event) -> None:
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
            content = _read(connection, min(size, _SMALL_BYTES), stop, _FRAME_SECONDS)
            if content is None:
                return
            with self._room_for(size - len(content), visitor, stop) as granted:
                if not granted:
                    return
                rest = _read(connection, size - len(content), stop, _FRAME_SECONDS, lambda: self._wanting > 0)
                if rest is None:
                    return
                self._metrics.add(received_bytes=size + 4)
                visitor.busy = True
                reply = self._answer(content + rest, visitor.peer)
                del content, rest
            connection.settimeout(_FRAME_SECONDS)
            connection.sendall(struct.pack("!i", len(reply)) + reply)
            connection.settimeout(_TICK_SECONDS)
            self._visitors.delivered(visitor)

    def _answer(self, content: bytes, peer: str) -> bytes:
        until = time.monotonic() + _ROOM_SECONDS
        room = self._lander.has_room(_ROOM_SECONDS)
        # Whoever waits longer gives up and sends it again: more and more would be read for nobody.
        if not room or not self._taking.acquire(timeout=max(0.0, until - time.monotonic())):
            return refusal(content)
        try:
            events, reply = read_call(content)
            # Others may have taken the room since.
            taken = events is not None and self._may_be_taken(events, peer) and self._lander.has_room(0)
            ticket = self._put(events, peer) if events is not None and taken else None
            del events, content
        finally:
            self._taking.release()
        if not taken:
            return reply(Status.FAILED)
        return reply(Status.OK if ticket is None or ticket.wait(_LAND_SECONDS) else Status.FAILED)

    def _may_be_taken(self, events: Sequence[Event], peer: str) -> bool:
        longest = max((len(event.body) for event in events), default=0)
        if longest > self._bounds.event:
            self._say_once(
                peer,
                f"{peer}: an event of {longest:,} bytes is not taken, and the agent sends it for ever: start with a"
                f" larger --max-event than {self._bounds.event:,}",
            )
        return longest <= self._bounds.event

    def _put(self, events: Sequence[Event], peer: str) -> Ticket | None:
        """Put what is new or doubtful, and return what says that all of it has landed, repeats as well."""
        verdicts = [Verdict.NEW] * len(events)
        doubts = Doubts()
        runs, placeless = _runs(events, peer)
        for name in {events[run.at[0]].headers.get("agent") for run in runs}:
            self._introduce(name, peer, known=True)
        for name in placeless:
            self._introduce(name, peer, known=False)
        for agent, file, at, places in runs:
            lines = Lines(places, (digest_of(events[index].body) for index in at))
            judgement, segment = self._marks.take(agent, file, lines)
            if len(segment.lines) or segment.begins:
                self._changed.setdefault(key_of(agent, file), []).append(segment)
            for index, verdict in zip(at, judgement.verdicts, strict=True):
                verdicts[index] = verdict
            doubts = doubts.more(self._tell(agent, file, judgement), agent, file)
        bodies = [event.body for event, verdict in zip(events, verdicts, strict=True) if verdict is not Verdict.REPEAT]
        self._metrics.add(dropped_repeats=len(events) - len(bodies), doubtful=doubts.lines)
        if bodies:
            self._puts += 1
            notes = {str(self._puts): Put(self._changed, doubts)}
            self._last_ticket = self._lander.put(b"".join(body + b"\n" for body in bodies), len(bodies), notes)
            self._changed = {}
        # Files land in the order of the puts: what was put before this ticket is durable when it is.
        return self._last_ticket

    def _tell(self, agent: str, file: str, judgement: Judgement) -> int:
        """Say what was found out about a file, and return how many of its lines are doubtful."""
        doubtful = judgement.verdicts.count(Verdict.DOUBTFUL)
        if judgement.why is Why.SECOND and judgement.begins:
            self._say_once(
                key_of(agent, file),
                f"{file}: this path has been used for a second file, or by two agents named {agent!r}: all its lines"
                " are landed",
            )
        if doubtful and judgement.why is not None:
            self._doubts.add(doubtful, agent, file, judgement.why.value)
        return doubtful

    def _introduce(self, name: str | None, peer: str, *, known: bool) -> None:
        """Say once for each agent what it can be promised."""
        topic = f"{peer} {name} {known}"
        if topic in self._said:
            return
        who = f"agent {name!r} at {peer}" if name else f"agent at {peer}"
        if not known:
            what = "at least once: its events lack TAILDIR's headers (fileHeader and byteOffsetHeader = true)"
        else:
            what = (
                "exactly once as long as none of its lines is doubtful, if it has a file channel and none of its files'"
                " paths is reused"
            )
            if not name:
                what += "; known by its address, so another agent behind that one needs a header named agent"
        self._say_once(topic, f"{who}: {what}", topic=topic)

    def _say_once(self, about: str, text: str, topic: str | None = None) -> None:
        # Other figures do not make it another problem.
        topic = topic or f"{about} {re.sub('[0-9,]+', '', text)}"
        # A hostile client must not fill the log either.
        if topic not in self._said and len(self._said) < _SAID:
            self._said.add(topic)
            self._say(text)

    @contextmanager
    def _room_for(self, size: int, visitor: _Visitor, stop: threading.Event) -> Iterator[bool]:
        """Wait until there is memory for so much of a frame, and have it; yield False when told to stop meanwhile."""
        # Who has not brought anything yet leaves some to those who have.
        left = 0 if visitor.delivered else self._bounds.batch
        with self._memory:
            self._wanting += 1
            try:
                while not self._memory.wait_for(lambda: size == 0 or self._free - left >= size, _TICK_SECONDS):
                    if stop.is_set():
                        break
                granted = size == 0 or not stop.is_set()
                self._free -= size if granted else 0
            finally:
                self._wanting -= 1
        try:
            yield granted
        finally:
            with self._memory:
                self._free += size if granted else 0
                self._memory.notify_all()


def _accept(listener: socket.socket) -> tuple[socket.socket, _Visitor]:
    connection, address = listener.accept()
    try:
        return connection, _Visitor(connection, address[0])
    except OSError:
        connection.close()
        raise


def _place_of(event: Event) -> int | None:
    """Return where an event's line starts in its file; None if it does not say."""
    start = event.headers.get("byteoffset", "")
    if not event.headers.get("file") or len(start) > 18 or not (start.isascii() and start.isdecimal()):
        return None
    return int(start)


class _Run(NamedTuple):
    """Events of one file that come in ascending order.

    Attributes:
        agent: Its name, or else its address.
        file: The file's path.
        at: Which events of the batch they are.
        places: Where their lines start in the file.
    """

    agent: str
    file: str
    at: list[int]
    places: list[int]


def _runs(events: Sequence[Event], peer: str) -> tuple[list[_Run], set[str | None]]:
    """Return the runs of a batch, those of one file in the order in which they came, and whose events have no place."""
    runs: list[_Run] = []
    placeless: set[str | None] = set()
    latest: dict[tuple[str, str], _Run] = {}
    for index, event in enumerate(events):
        name, place = event.headers.get("agent"), _place_of(event)
        if place is None:
            placeless.add(name)
            continue
        of = (name or peer, event.headers["file"])
        run = latest.get(of)
        if run is None or place <= run.places[-1]:
            run = latest[of] = _Run(*of, [], [])
            runs.append(run)
        run.at.append(index)
        run.places.append(place)
    return runs, placeless


def _read(
    connection: socket.socket,
    size: int,
    stop: threading.Event,
    seconds: float,
    hurry: Callable[[], bool] = lambda: False,
) -> bytes | None:
    """Return exactly so many bytes; None at the connection's end or when told to stop.

    Args:
        connection: Its timeout is short.
        size: How many.
        stop: Says to stop.
        seconds: How long that may take.
        hurry: Whether, now, it may take only `_SHORT_FRAME_SECONDS`.

    Raises:
        TimeoutError: It takes longer.
        OSError: The connection broke.
    """
    content = bytearray()
    begun = time.monotonic()
    while len(content) < size:
        if stop.is_set():
            return None
        late = time.monotonic() - begun
        if late > seconds or (late > _SHORT_FRAME_SECONDS and hurry()):
            raise TimeoutError
        with suppress(TimeoutError):
            chunk = connection.recv(min(size - len(content), 1 << 18))
            if not chunk:
                return None
            content += chunk
    return bytes(content)

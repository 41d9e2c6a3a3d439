"""Whether the receivers that streams name can do their work: their server can be reached, their port is theirs."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import replace

from wordtide.config import FlumeConfig, SocketConfig, Stream, is_url
from wordtide.core.problems import EnvironmentProblem, WordtideError
from wordtide.doctor.brokers import unreachable
from wordtide.doctor.findings import Check, Finding, Line, Outcome, bad, good
from wordtide.storage import storage_for
from wordtide.system.address import Server
from wordtide.wiring import hdfs_address

_SECONDS = 2.0
_DOUBTFUL = "they may be repeats; for the causes see the README, From Flume"
# A call of the compact protocol that a Flume source does not know, and how its answer begins: as an exception.
_PING, _UNKNOWN = b"\x82\x21\x01\x04ping\x00", b"\x82\x61"


def receiver_check(stream: Stream) -> Check:
    """Return the check of a stream's receiver; a drain goes on without it."""
    receiver = stream.receiver
    assert receiver is not None
    where = receiver.server if isinstance(receiver, SocketConfig) else str(Server(receiver.listen, receiver.port))
    line = Line("receiver", where, stream.name)

    def run() -> Iterator[Outcome]:
        if isinstance(receiver, SocketConfig):
            yield _socket(line, receiver)
            return
        found = _flume(line, receiver)
        doubts = _doubts(stream)
        yield replace(found, what=f"{found.what}; {doubts}", do=found.do or _DOUBTFUL) if doubts else found

    return Check([line], run, "correct streams.yaml", stops=False)


def _socket(line: Line, receiver: SocketConfig) -> Finding:
    # Not above, as for Flume: they bring libraries along, and most streams have no receiver.
    from wordtide.receivers.socket import tls_context

    if receiver.tls:
        tls_context(receiver.ca)
    refused = unreachable([receiver.server]).get(receiver.server)
    if refused:
        return bad(line, refused, "start the line server; its receiver tries until it can", stops=False)
    return good(line, "the line server accepts connections")


def _flume(line: Line, receiver: FlumeConfig) -> Finding:
    from wordtide.receivers.flume import listen, server_tls

    if receiver.cert is not None and receiver.key is not None:
        server_tls(receiver.cert, receiver.key)
    try:
        listen(receiver.listen, receiver.port).close()
    except EnvironmentProblem as problem:
        if _serves_agents(receiver):
            return good(line, "a receiver serves Flume agents there")
        what = str(problem).partition(" (")[2].partition(")")[0] or str(problem)
        return bad(line, f"a receiver cannot listen there ({what.lower()})", "name another port", stops=False)
    return good(line, "free for the receiver")


def _doubts(stream: Stream) -> str:
    """Say how many lines have landed that may be repeats; nothing if none."""
    from wordtide.receivers.flume_journal import doubts_of

    assert stream.landing is not None
    try:
        found = doubts_of(*storage_for(stream.landing, hdfs_address() if is_url(stream.landing) else None))
    except WordtideError as error:
        return f"the number of doubtful lines is unknown ({error})"
    if not found.lines or found.at is None:
        return ""
    lines = f"{found.lines:,} doubtful line{'s have' if found.lines > 1 else ' has'} landed"
    return f"{lines}, the last at {found.at:%Y-%m-%dT%H:%M:%SZ} from {found.file} of agent {found.agent!r}"


def _serves_agents(receiver: FlumeConfig) -> bool:
    try:
        with socket.create_connection((receiver.listen, receiver.port), _SECONDS) as plain:
            if receiver.cert is None:
                return _answers(plain)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            # It is asked whether it is there, and told nothing.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as secure:
                return _answers(secure)
    except OSError:
        return False


def _answers(connection: socket.socket) -> bool:
    connection.sendall(struct.pack("!i", len(_PING)) + _PING)
    return connection.makefile("rb").read(4 + len(_UNKNOWN))[4:] == _UNKNOWN

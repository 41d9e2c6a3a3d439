"""What a Flume agent's Thrift sink says, and how it is answered: compact protocol, a call a frame.

`thriftpy2` believes what a message says about its own lengths; here each is checked against the frame first.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import thriftpy2
from thriftpy2.protocol.compact import TCompactProtocol
from thriftpy2.thrift import TException, TProcessor
from thriftpy2.transport import TMemoryBuffer

from wordtide.core.problems import WordtideError

IDL = """
struct FlumeEvent { 1: required map<string, string> headers, 2: required binary body }
enum Status { OK = 0, FAILED = 1, ERROR = 2, UNKNOWN = 3 }
service ThriftSourceProtocol {
  Status append(1: FlumeEvent event),
  Status appendBatch(1: list<FlumeEvent> events)
}
"""
MODULE = thriftpy2.load_fp(io.StringIO(IDL), "wordtide_flume_thrift")
MAX_ELEMENTS = 250_000
"""Events and headers of a message: as an object each takes a hundred times its bytes, and time to become one."""
_LONGEST_VARINT = 12


class Status(IntEnum):
    """The two answers we have.

    Attributes:
        OK: The events are durable.
        FAILED: Send them again.
    """

    OK = 0
    FAILED = 1


class BadMessage(WordtideError):
    """It is not what a Thrift sink sends."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        headers: As the agent set them.
        body: For a line-wise source a line without its end.
    """

    headers: dict[str, str]
    body: bytes


class _Frame:
    """Reads a frame's content, exactly as many bytes as are asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._high = 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def read(self, size: int) -> bytes:
        if size > self.left:
            raise BadMessage("it is cut short")
        found = self._content[self._at : self._at + size]
        self._at += size
        # Integers are read byte by byte for as long as the high bit is set, without a bound.
        self._high = self._high + 1 if size == 1 and found[0] > 0x7F else 0
        if self._high > _LONGEST_VARINT:
            raise BadMessage("an integer has no end")
        return found


class _Guarded(TCompactProtocol):
    """Does not begin a list or map that cannot be in what is left of the frame."""

    def __init__(self, frame: _Frame) -> None:
        super().__init__(frame, strict_decode=True)  # type: ignore[no-untyped-call]
        self._frame = frame
        self._elements = 0

    def _read_collection_begin(self) -> tuple[int, int]:
        kind, size = super()._read_collection_begin()  # type: ignore[no-untyped-call]
        self._check(size)
        return kind, size

    def _read_map_begin(self) -> tuple[int, int, int]:
        key, value, size = super()._read_map_begin()  # type: ignore[no-untyped-call]
        self._check(size)
        return key, value, size

    def _check(self, size: int) -> None:
        self._elements += size
        if size > self._frame.left or self._elements > MAX_ELEMENTS:
            raise BadMessage(
                f"it claims to hold more than it can, or more than {MAX_ELEMENTS:,} events and headers; a smaller"
                " batch-size there helps"
            )


class _Handler:
    def append(self, event: Any) -> list[Event]:
        return [_event(event)]

    def appendBatch(self, events: Any) -> list[Event]:  # noqa: N802 the protocol's
        if events is None:
            raise BadMessage("it holds no events")
        return [_event(event) for event in events]


def read_call(content: bytes) -> tuple[list[Event] | None, Callable[[Status], bytes]]:
    """Return what a call brings, and what makes the answer to it; both without a frame around them.

    Args:
        content: A call of `append` or `appendBatch`; of another one the events are None, and it is told that it is
            unknown whatever the status.

    Raises:
        BadMessage: It is no such call, or damaged.
    """
    processor = TProcessor(MODULE.ThriftSourceProtocol, _Handler())
    try:
        name, number, result, call = processor.process_in(_Guarded(_Frame(content)))
    except (TException, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise BadMessage("it is not Thrift's compact protocol as a Flume agent speaks it") from error
    known = call is not None
    events: list[Event] | None = call() if call is not None else None
    # It holds the events as well.
    del call

    def answer(status: Status) -> bytes:
        written = TMemoryBuffer()  # type: ignore[no-untyped-call]
        protocol = TCompactProtocol(written)  # type: ignore[no-untyped-call]
        if known:
            result.success = int(status)
            processor.send_result(protocol, name, result, number)
        else:
            processor.send_exception(protocol, name, result, number)
        found: bytes = written.getvalue()  # type: ignore[no-untyped-call]
        return found

    return events, answer


def refusal(content: bytes) -> bytes:
    """Return the answer FAILED to a call whose events are not even looked at.

    Raises:
        BadMessage: It is no call.
    """
    try:
        name, _, number = _Guarded(_Frame(content)).read_message_begin()  # type: ignore[no-untyped-call]
    except (TException, ValueError, IndexError, TypeError) as error:
        raise BadMessage("it is not Thrift's compact protocol as a Flume agent speaks it") from error
    result = MODULE.ThriftSourceProtocol.appendBatch_result(success=int(Status.FAILED))
    written = TMemoryBuffer()  # type: ignore[no-untyped-call]
    protocol = TCompactProtocol(written)  # type: ignore[no-untyped-call]
    TProcessor(MODULE.ThriftSourceProtocol, _Handler()).send_result(protocol, name, result, number)
    found: bytes = written.getvalue()  # type: ignore[no-untyped-call]
    return found


def _event(event: Any) -> Event:
    if event is None or not isinstance(event.headers, dict) or not isinstance(event.body, bytes):
        raise BadMessage("an event has no headers or no body")
    return Event(event.headers, event.body)

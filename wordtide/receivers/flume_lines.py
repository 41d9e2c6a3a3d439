"""Which lines of one file have been landed: a digest of each recent body, by the place where its line starts."""

from __future__ import annotations

import base64
import hashlib
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate
from operator import sub
from typing import Any

CHUNK_LINES = 1024
_HEAD_LINES = 16
"""Of a file's first lines these many are kept for good: they tell a second file of that path from the first."""


def digest_of(body: bytes) -> int:
    """Return 64 bits of BLAKE2b of a body as it was delivered, whatever an interceptor has made of the line."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "little")


class Lines:
    """Lines of one file as they are remembered, 16 bytes each.

    Attributes:
        places: Where each starts in the agent's file, an offset in bytes.
        digests: Of their bodies; see `digest_of`.
    """

    __slots__ = ("digests", "places")

    def __init__(self, places: Iterable[int] = (), digests: Iterable[int] = ()) -> None:
        self.places = array("q", places)
        self.digests = array("Q", digests)
        if len(self.places) != len(self.digests):
            raise ValueError("as many places as digests are needed")

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.places, self.digests, strict=True)

    def __getitem__(self, at: slice) -> Lines:
        found = Lines()
        found.places, found.digests = self.places[at], self.digests[at]
        return found

    def extend(self, more: Lines) -> None:
        """Append lines."""
        self.places.extend(more.places)
        self.digests.extend(more.digests)


class Found(Enum):
    """What is known of a place.

    Attributes:
        SAME: This very body was landed from there.
        OTHER: Another one was.
        NOTHING: Nothing was, below what was.
        BEYOND: Nothing was, and all that was lies before it.
        FORGOTTEN: Something may have been; its digest is not kept any more.
    """

    SAME = 1
    OTHER = 2
    NOTHING = 3
    BEYOND = 4
    FORGOTTEN = 5


Earlier = Callable[[int], bool]
"""Whether a version that kept no digests has landed a body of this digest."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A change to what is remembered of a path, or all of it, as the journal keeps it.

    Attributes:
        lines: What was landed, in the order of landing.
        begins: A second file begins with it.
        head: So many of the lines are the file's first ones, kept for good.
        forgotten: Up to this place digests have been forgotten; -1: none.
        undigested: Below this place a version that kept no digests has landed lines; 0: it has not.
        contested: Two files send from the path side by side, so that a place proves nothing.
        unknown: A version that kept no digests knew nothing of the path: what comes first may be repeats.
    """

    lines: Lines
    begins: bool = False
    head: int = 0
    forgotten: int = -1
    undigested: int = 0
    contested: bool = False
    unknown: bool = False

    def note(self) -> dict[str, Any]:
        """Return it as JSON can hold it: places as differences, digests as base64 of 8 little-endian bytes each."""
        places = self.lines.places.tolist()
        return {
            "begins": self.begins,
            "head": self.head,
            "forgotten": self.forgotten,
            "undigested": self.undigested,
            "contested": self.contested,
            "unknown": self.unknown,
            "places": list(map(sub, places, [0, *places])),
            "digests": base64.b64encode(_little(self.lines.digests).tobytes()).decode(),
        }

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Segment:
        """Return what `note` wrote.

        Raises:
            ValueError: It did not.
            TypeError: It did not.
            KeyError: It did not.
        """
        digests = array("Q")
        digests.frombytes(base64.b64decode(note["digests"], validate=True))
        lines = Lines(accumulate(note["places"]), _little(digests))
        return cls(
            lines,
            bool(note["begins"]),
            int(note["head"]),
            int(note["forgotten"]),
            int(note["undigested"]),
            bool(note["contested"]),
            bool(note["unknown"]),
        )


def _little(numbers: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return numbers
    swapped = numbers[:]
    swapped.byteswap()
    return swapped


@dataclass(slots=True)
class Landed:
    """The landed lines of one file, the oldest forgotten first.

    Attributes:
        chunks: What is remembered, in the order of landing, each chunk by place; a place may be there with several
            bodies. Never empty ones.
        count: Lines in them.
        high: The highest place from which something was landed; -1: nothing was.
        forgotten: As of `Segment`.
        undigested: As of `Segment`.
        trimmed: The first chunk is the file's head alone.
        near: Where the last line was found: what comes again is mostly in one chunk.
    """

    chunks: list[Lines] = field(default_factory=list)
    count: int = 0
    high: int = -1
    forgotten: int = -1
    undigested: int = 0
    trimmed: bool = False
    near: Lines | None = None

    @property
    def bound(self) -> int:
        """The place beyond which nothing was landed."""
        return max(self.high, self.forgotten)

    def add(self, lines: Lines) -> None:
        """Remember lines that are landed, in whatever order."""
        at = 0
        while at < len(lines):
            if not self.chunks or len(self.chunks[-1]) >= CHUNK_LINES or (self.trimmed and len(self.chunks) == 1):
                self.chunks.append(Lines())
            at += _move(lines, at, self.chunks[-1])
        self.count += len(lines)
        self.high = max(self.high, max(lines.places, default=-1))
        # An agent that goes on has repeated what it had not been told about.
        if self.high >= self.undigested:
            self.undigested = 0

    def find(self, place: int, digest: int, earlier: Earlier) -> Found:
        """Return what is known of a line."""
        if place > self.bound:
            return Found.BEYOND
        if self.near is not None and _find(self.near, place, digest) is Found.SAME:
            return Found.SAME
        found = Found.NOTHING
        for chunk in self.chunks:
            if chunk.places[0] <= place <= chunk.places[-1]:
                one = _find(chunk, place, digest)
                if one is Found.SAME:
                    self.near = chunk
                    return one
                found = one if one is Found.OTHER else found
        if found is Found.OTHER or place > self.forgotten:
            return found
        if self.trimmed and place <= self.chunks[0].places[-1]:
            return found
        return Found.SAME if place < self.undigested and earlier(digest) else Found.FORGOTTEN

    def forget(self) -> None:
        """Forget some of the oldest lines; the file's head last."""
        self.near = None
        first = self.chunks[0]
        if not self.trimmed and first.places[0] == 0 and len(first) > _HEAD_LINES:
            self.chunks[0], self.trimmed = first[:_HEAD_LINES], True
            self.count -= len(first) - _HEAD_LINES
        else:
            at = 1 if self.trimmed and len(self.chunks) > 1 else 0
            first = self.chunks.pop(at)
            self.trimmed = self.trimmed and at == 1
            self.count -= len(first)
        self.forgotten = max(self.forgotten, first.places[-1])

    def lines(self) -> Lines:
        """Return all that is remembered."""
        found = Lines()
        for chunk in self.chunks:
            found.extend(chunk)
        return found

    def apply(self, segment: Segment) -> None:
        """Take over what a segment says of this file."""
        if segment.head:
            self.add(segment.lines[: segment.head])
            self.trimmed = True
        self.add(segment.lines[segment.head :])
        self.forgotten = max(self.forgotten, segment.forgotten)
        self.undigested = max(self.undigested, segment.undigested)

    def segment(self, *, begins: bool = False, contested: bool = False, unknown: bool = False) -> Segment:
        """Return all of it."""
        head = len(self.chunks[0]) if self.trimmed else 0
        return Segment(self.lines(), begins, head, self.forgotten, self.undigested, contested, unknown)


def _find(chunk: Lines, place: int, digest: int) -> Found:
    places = chunk.places
    found = Found.NOTHING
    for at in range(bisect_left(places, place), len(places)):
        if places[at] != place:
            break
        if chunk.digests[at] == digest:
            return Found.SAME
        found = Found.OTHER
    return found


def _move(lines: Lines, at: int, chunk: Lines) -> int:
    """Add some of the lines from an index on to a chunk that has room, and return how many."""
    places = lines.places
    if chunk.places and places[at] <= chunk.places[-1]:
        to = bisect_right(chunk.places, places[at])
        chunk.places.insert(to, places[at])
        chunk.digests.insert(to, lines.digests[at])
        return 1
    end, most = at + 1, min(len(lines), at + CHUNK_LINES - len(chunk))
    while end < most and places[end] > places[end - 1]:
        end += 1
    chunk.extend(lines[at:end])
    return end - at

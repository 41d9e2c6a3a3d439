"""What of each file that Flume agents read has been taken already, so that what they send again is not landed twice."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_FILES = 10_000
_MAX_STRETCHES = 64
_LINE_END = 2
"""Bytes that TAILDIR may have taken off a line: `\\n` or `\\r\\n`."""


class Verdict(Enum):
    """What to do with an event.

    Attributes:
        NEW: Land it.
        REPEAT: It was taken before.
        REUSED: Land it; its file's path has just been found to be used for a second file.
    """

    NEW = 1
    REPEAT = 2
    REUSED = 3


@dataclass(slots=True)
class Mark:
    """What has been taken of one file.

    While a file is sent in order that is one stretch from its start to a high-water mark. What comes out of order opens
    another, as a gap in what was taken must not be mistaken for a repeat.

    Attributes:
        stretches: Disjoint and ascending [start, end) in bytes. The end leaves out a line's end, so that up to 2
            bytes lie between two stretches that touch, which may also be an empty line that is to come.
        first: Digest of the line at byte 0, by which a second file with the same path is recognized.
        reused: It was. Every event of the path is landed from there on.
    """

    stretches: list[list[int]] = field(default_factory=list)
    first: str = ""
    reused: bool = False

    def take(self, start: int, body: bytes) -> Verdict:
        """Note the line that starts at a byte, and return what to do with it."""
        if self.reused:
            return Verdict.NEW
        if start == 0:
            digest = hashlib.sha256(body).hexdigest()[:32]
            if self.first and self.first != digest:
                self.reused = True
                self.stretches.clear()
                return Verdict.REUSED
            self.first = digest
        # An empty line takes up its first byte too.
        end = start + max(1, len(body))
        at = bisect_right(self.stretches, start, key=lambda stretch: stretch[0])
        if at and start < self.stretches[at - 1][1]:
            return Verdict.REPEAT
        self.stretches.insert(at, [start, end])
        self._join(at)
        self._join(at - 1)
        # A forgotten stretch can lead to a repeat, an invented one to a loss. What comes again is what came last.
        del self.stretches[:-_MAX_STRETCHES]
        return Verdict.NEW

    def _join(self, at: int) -> None:
        if 0 <= at < len(self.stretches) - 1 and self.stretches[at + 1][0] - self.stretches[at][1] <= _LINE_END:
            self.stretches[at][1] = max(self.stretches[at][1], self.stretches[at + 1][1])
            del self.stretches[at + 1]

    def note(self) -> dict[str, Any]:
        """Return a copy that can be written as JSON."""
        return {"taken": [list(stretch) for stretch in self.stretches], "first": self.first, "reused": self.reused}

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Mark:
        """Return what `note` wrote.

        Raises:
            ValueError: It did not.
            TypeError: It did not.
            KeyError: It did not.
        """
        stretches = [[int(start), int(end)] for start, end in note["taken"]]
        return cls(stretches, str(note["first"]), bool(note["reused"]))


class Recent(OrderedDict[str, Any]):
    """A dictionary that forgets what was set longest ago when it holds more than `MAX_FILES`."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > MAX_FILES:
            self.popitem(last=False)


def key_of(agent: str, file: str) -> str:
    """Return what a file's mark is kept under: two agents' files of one name are two files."""
    return json.dumps([agent, file], ensure_ascii=False)

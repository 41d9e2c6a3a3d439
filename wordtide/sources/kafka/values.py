"""What the values of a topic are, by a small sample of each read: text, JSON objects, or no text at all. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from wordtide.core.sniff import BINARY, HEAD_BYTES, Compression, NotText, holds_controls, is_binary, kind_of

JUDGED = 128
"""Values of a read that are judged by their first bytes, at a microsecond each, shared by its partitions …"""
JUDGED_OF_ONE = 16
"""… of a partition at most; of each at least one."""
PARSED = 32
"""Values of a read that are tried as JSON, at ten microseconds each."""
PARSED_BYTES = 4096
"""Of longer ones only the ends are looked at."""

REGISTRY = NotText("Avro, Protobuf or JSON in a schema registry's format")
_REGISTRY_HEAD = 5
NUMBER = NotText("binary numbers")


def kind_of_value(value: bytes) -> NotText | None:
    """Return what a value is if it is no text.

    Text does not begin with two NULs. A schema registry's serializers begin with one and a schema id of four or eight
    bytes, whose first is NUL as well below 16 million; so do the serializers of small numbers, of that length.
    """
    if value.startswith(b"\0\0"):
        if len(value) == 4 or (len(value) == 8 and not any(value[:5])):
            return NUMBER
        if len(value) > _REGISTRY_HEAD:
            return REGISTRY
    kind = kind_of(value[:HEAD_BYTES])
    if isinstance(kind, Compression):
        return None if kind is Compression.PLAIN else NotText(f"values compressed by {kind}", "decompress them")
    return kind


def is_json_object(value: bytes) -> bool:
    """Return whether a value is a JSON object; a long one, whether it has the ends of one."""
    inner = value.strip()
    if not (inner.startswith(b"{") and inner.endswith(b"}")):
        return False
    if len(inner) > PARSED_BYTES:
        return True
    try:
        json.loads(inner)
    except ValueError:
        return False
    return True


@dataclass(slots=True)
class Sample:
    """Some values of one partition.

    Attributes:
        judged: How many values it holds at most.
        parsed: How many of them are tried as JSON at most.
        size: How many it holds.
        tried: How many of them were tried as JSON.
        json_objects: How many of those are objects.
        odd: What those are that are no text.
        doubtful: How many others hold bytes that no text holds; too few each to tell.
        head: The first bytes of those, together.
    """

    judged: int
    parsed: int
    size: int = 0
    tried: int = 0
    json_objects: int = 0
    odd: Counter[NotText] = field(default_factory=Counter)
    doubtful: int = 0
    head: bytes = b""

    @property
    def wanted(self) -> int:
        """How many more values it takes."""
        return self.judged - self.size

    def add(self, values: Iterable[bytes]) -> None:
        """Take some values in."""
        for value in values:
            self.size += 1
            if (kind := kind_of_value(value)) is not None:
                self.odd[kind] += 1
            elif holds_controls(value[:HEAD_BYTES]):
                self.doubtful += 1
                self.head += value[: HEAD_BYTES - len(self.head)]
            if self.tried < self.parsed:
                self.tried += 1
                self.json_objects += is_json_object(value)

    @property
    def suspects(self) -> int:
        """How many values may be no text."""
        return self.odd.total() + self.doubtful

    @property
    def verdict(self) -> NotText | None:
        """What most of the values are if they are no text; a few odd ones among text are text."""
        if 2 * self.odd.total() > self.size:
            return self.odd.most_common(1)[0][0]
        # A short message of Protobuf or MessagePack has few bytes that tell, but each has some.
        return BINARY if 2 * self.suspects > self.size and is_binary(self.head) else None


def samples(partitions: int) -> list[Sample]:
    """Return an empty sample for each partition of a read; all of them together are bounded."""
    judged = max(1, min(JUDGED_OF_ONE, JUDGED // max(1, partitions)))
    each, more = divmod(PARSED, max(1, partitions))
    return [Sample(judged, each + (number < more)) for number in range(partitions)]

"""What a table has taken of its source: values with arithmetic. Dagster's data versions are their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Offsets:
    """The next offset of each partition. Its text is ``partition:offset …``.

    Attributes:
        next: By partition.
    """

    next: Mapping[int, int] = field(hash=False)

    def __str__(self) -> str:
        return " ".join(f"{partition}:{offset}" for partition, offset in sorted(self.next.items()))

    def __bool__(self) -> bool:
        return bool(self.next)

    def with_next(self, offsets: Mapping[int, int | None]) -> Offsets:
        """Return it with some partitions at other offsets, or without those that are at None."""
        moved = {**self.next, **offsets}
        return Offsets({partition: offset for partition, offset in moved.items() if offset is not None})

    def is_behind(self, other: Offsets) -> bool:
        """Return whether it is behind another position in any partition that the other one knows."""
        return any(self.next.get(partition, 0) < offset for partition, offset in other.next.items())

    def joined(self, other: Offsets) -> Offsets:
        """Return the further of two positions, partition by partition; one at 0 adds nothing."""
        ahead = {p: offset for p, offset in other.next.items() if offset > self.next.get(p, 0)}
        # Of a partition without a record only those know that saw it when they began.
        return Offsets({**self.next, **ahead})


@dataclass(frozen=True, slots=True)
class FileCount:
    """How many files were taken: files are their own position. Its text is ``3 files``."""

    count: int

    def __str__(self) -> str:
        return f"{self.count} files"


Position = Offsets | FileCount


def parse(text: str) -> Position | None:
    """Return the position that a text is of; None of any other text."""
    if (files := re.fullmatch(r"([0-9]+) files", text)) is not None:
        return FileCount(int(files[1]))
    pairs = [pair.partition(":") for pair in text.split()]
    if not all(partition.isdecimal() and offset.isdecimal() for partition, _, offset in pairs):
        return None
    return Offsets({int(partition): int(offset) for partition, _, offset in pairs})

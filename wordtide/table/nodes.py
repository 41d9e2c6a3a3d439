"""Finds counted files by what they are known by, in 16 bytes a file: a dict would take five times as much."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator

import numpy as np

NO_KEY = 0


class KeyIndex:
    """The paths of files by a key of 64 bits: node, or length and digest.

    It only ever grows: who asks makes sure that what is found still holds.

    Args:
        entries: Path and key of each.
    """

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        known = [(path, key) for path, key in entries if key != NO_KEY]
        self._keys = array("Q", (key for _, key in known))
        self._paths = [path for path, _ in known]

    def add(self, path: str, key: int) -> None:
        """Take in a file; one without a key cannot be found."""
        if key != NO_KEY:
            self._keys.append(key)
            self._paths.append(path)

    def find(self, keys: Collection[int]) -> Iterator[str]:
        """Yield the paths of files that had one of these keys."""
        wanted = np.array(sorted({key for key in keys if key != NO_KEY}), np.uint64)
        if not len(wanted) or not self._paths:
            return
        # Read at once: an array that is looked into by numpy cannot grow.
        places = np.flatnonzero(np.isin(np.array(self._keys, np.uint64), wanted)).tolist()
        for place in places:
            yield self._paths[place]

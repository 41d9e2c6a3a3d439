"""Finds counted files by what they are known by, in 16 bytes a file: a dict would take five times as much."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator

import numpy as np
import numpy.typing as npt

NO_KEY = 0
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BUCKET_BITS = 16


class KeyIndex:
    """The paths of files by a key of 64 bits: node, or length and digest.

    It only ever grows: who asks makes sure that what is found still holds, and makes a new one where most is past.

    Args:
        entries: Path and key of each.
    """

    def __init__(self, entries: Iterable[tuple[str, int]]) -> None:
        known = [(path, key) for path, key in entries if key != NO_KEY]
        self._keys = array("Q", (key for _, key in known))
        self._paths = [path for path, _ in known]

    def __len__(self) -> int:
        return len(self._paths)

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
        keys_here = np.array(self._keys, np.uint64)
        # Most share no bucket with what is wanted. `isin` alone takes 0.2 s for a hundred keys among a million.
        buckets = np.zeros(1 << _BUCKET_BITS, np.bool_)
        buckets[_bucket(wanted)] = True
        likely = np.flatnonzero(buckets[_bucket(keys_here)])
        for place in likely[np.isin(keys_here[likely], wanted)].tolist():
            yield self._paths[place]


def _bucket(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a number below ``2 ** _BUCKET_BITS`` for each key; keys may differ in a few bits only."""
    return (keys * _MIX) >> np.uint64(64 - _BUCKET_BITS)

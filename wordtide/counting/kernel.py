"""The kernel: counts the words of one contiguous text, in numpy and Arrow, with no Python object for a word.

Short words decide the speed: a word of up to 8 bytes is one 64-bit integer, and sorting integers by SIMD and measuring
runs beats every hash table that can be reached from Python. Words of 9 to 16 bytes are two integers, brought together
by a hash whose clashes are seen and repaired. Longer ones go through Arrow's hash table, and so do all words of a text
with NUL bytes, which would look like padding in an integer. Every path is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa

CHUNK_BYTES = 24 << 20
"""A good size for a text. From 2 MB on the kernel's own speed hardly depends on it; but each doubling, by Zipf's law,
saves a quarter of the distinct words that have to be added up afterwards. Beyond 32 MB the C library takes fresh pages
for each text, which cost more than that."""

TINY_BYTES = 4096
"""Up to here a plain Counter is faster than numpy calls with their fixed cost."""

_BLOCK_BYTES = 1 << 18
"""The text is looked at in pieces whose working arrays stay in the second-level cache and are never returned to the
operating system: its page faults cost as much as the work itself."""

_MAX_BYTES = 2**31 - 1  # Arrow's 32-bit offsets end here

# So many words of a kind are gathered before they are counted, because what counts them holds so many bytes a word:
_SHORT_WORDS = 6_000_000  # 8. Ordinary texts have fewer, and each is counted at once.
_SLICE_WORDS = 1 << 19  # 70. Of the short ones, when they are in order.
_PAIRS = 1 << 19  # 110
_TOKENS = 1 << 18  # 200, and their bytes three times
_TOKEN_BYTES = 8 << 20
_JOINED_BYTES = 1 << 20
"""Up to here all words of a text are one part: each part costs what adds it up a few calls."""

# _MASKS[n] keeps the first n bytes of a little-endian integer; longer words become 0 and are counted elsewhere.
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)] + [0], np.uint64)

_Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Counted:
    """Some words of a text and how often each occurs.

    Attributes:
        word: Distinct words, in no order.
        count: How often each occurs, beside `word`.
        words: The sum of `count`.
    """

    word: pa.StringArray
    count: pa.Int64Array
    words: int


def count_words(text: bytes, keep_empty: bool) -> Iterator[Counted]:
    """Count the words between the spaces of a text.

    Args:
        text: Valid UTF-8 in which 0x20 separates words, as `Tokenizer.normalise` returns it; best `CHUNK_BYTES` long.
        keep_empty: Count the empty strings between, before and after separators, as `str.split(" ")` returns them.

    Yields:
        Parts of the count, each of words of one kind; a dense text has a word in several of them. Beside the text and
        what was yielded some 100 MB are held at most, and copies of the longest word.

    Raises:
        ValueError: The text is longer than Arrow's 32-bit offsets reach (2 GB); the caller has to cut it at a space.
    """
    if len(text) <= TINY_BYTES:
        yield _count_tiny(text, keep_empty)
        return
    if len(text) > _MAX_BYTES:
        raise ValueError(f"a text of {len(text)} bytes is too long to be counted at once: cut it at a space")
    as_integers = b"\0" not in text
    # As many as there can be words; pages that are never written to cost nothing.
    short = np.empty(min(len(text) + 1, _SHORT_WORDS + _BLOCK_BYTES) if as_integers else 0, np.uint64)
    pairs = np.empty((2, min(len(text) // 10 + 1, _PAIRS + _BLOCK_BYTES)), np.uint64)
    bounds: list[_Ints] = []
    empty = shorts = paired = tokens = token_bytes = 0
    for loads, starts, ends, base in _blocks(text):
        lengths = ends - starts
        empty += len(lengths) - int(np.count_nonzero(lengths))
        if as_integers:
            room = short[shorts : shorts + len(starts)]
            np.bitwise_and(loads[starts], _MASKS.take(lengths, mode="clip"), out=room)
            shorts += len(starts)
            rest = np.flatnonzero(lengths > 8)
            middle = rest[lengths[rest] <= 16]
            end = paired + len(middle)
            pairs[0, paired:end] = loads[starts[middle]]
            pairs[1, paired:end] = loads[starts[middle] + 8] & _MASKS[lengths[middle] - 8]
            paired = end
            rest = rest[lengths[rest] > 16]
        else:
            rest = np.flatnonzero(lengths)
        if len(rest):
            bounds.append(np.stack((starts[rest] + base, ends[rest] + base), axis=1).ravel())
            tokens += len(rest)
            token_bytes += int(lengths[rest].sum())
        if shorts >= _SHORT_WORDS:
            yield from _count_short(short[:shorts])
            shorts = 0
        if paired >= _PAIRS:
            yield _count_pairs(pairs[0, :paired], pairs[1, :paired])
            paired = 0
        if tokens >= _TOKENS or token_bytes >= _TOKEN_BYTES:
            yield _count_tokens(text, np.concatenate(bounds))
            bounds.clear()
            tokens = token_bytes = 0
    yield from _rest(text, short[:shorts], pairs[:, :paired], bounds, empty if keep_empty else 0)


def _rest(text: bytes, short: _Keys, pairs: _Keys, bounds: list[_Ints], empty: int) -> Iterator[Counted]:
    """Count what was gathered last: of most texts everything."""
    parts: list[Counted] = []
    if len(text) <= _JOINED_BYTES:
        parts.extend(_count_short(short))
    else:
        yield from _count_short(short)
    if pairs.shape[1]:
        parts.append(_count_pairs(pairs[0], pairs[1]))
    if bounds:
        parts.append(_count_tokens(text, np.concatenate(bounds)))
    if empty:
        parts.append(Counted(strings(np.array([0, 0], np.int32), b""), int64s(np.array([empty])), empty))
    if parts:
        yield _joined(parts)


def strings(offsets: npt.NDArray[np.int32], data: bytes | npt.NDArray[np.uint8]) -> pa.StringArray:
    """An Arrow array over these buffers, unchecked. `pa.array` and `np.asarray` would import pandas: a second."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def int64s(values: _Ints) -> pa.Int64Array:
    """An Arrow array over numpy's memory."""
    return pa.Int64Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def integers(array: pa.Array) -> _Ints:
    """The values of an Arrow array of 64-bit integers without nulls, over its memory."""
    return np.frombuffer(array.buffers()[1], np.int64, len(array), 8 * array.offset)


def _count_tiny(text: bytes, keep_empty: bool) -> Counted:
    counter = Counter(text.split(b" "))
    if not keep_empty:
        del counter[b""]
    offsets = np.fromiter(accumulate(map(len, counter), initial=0), np.int32, len(counter) + 1)
    count = np.fromiter(counter.values(), np.int64, len(counter))
    return Counted(strings(offsets, b"".join(counter)), int64s(count), int(count.sum()))


def _blocks(text: bytes) -> Iterator[tuple[_Keys, _Ints, _Ints, int]]:
    """Where words begin and end, block by block.

    Yields:
        The eight bytes at each position as an integer (up to eight bytes behind the start of any word), the words'
        starts and ends, and the position in the text from which these three are reckoned.
    """
    # Loads reach beyond a word. So the last words, and only they, are copied to where there is room behind them; a
    # separator goes behind the last one.
    cut = text.rfind(b" ", 0, max(len(text) - 24, 0)) + 1
    tail = b"".join((memoryview(text)[cut:], b" ", bytes(16)))
    for buffer, size, base in ((text, cut, 0), (tail, len(tail) - 16, cut)):
        if not size:
            continue
        characters = np.frombuffer(buffer, np.uint8, size)
        # Elements that overlap, one byte apart: unaligned loads, which numpy and the processor do at nearly full speed.
        loads: _Keys = np.ndarray((len(buffer) - 7,), np.dtype("<u8"), buffer, strides=(1,))
        begin = 0
        for at in range(0, size, _BLOCK_BYTES):
            ends = np.flatnonzero(characters[at : at + _BLOCK_BYTES] == 0x20)
            if len(ends):
                ends += at
                starts = np.empty_like(ends)
                starts[0] = begin
                np.add(ends[:-1], 1, out=starts[1:])
                begin = int(ends[-1]) + 1
                yield loads, starts, ends, base


def _runs(differs: npt.NDArray[np.bool_]) -> tuple[_Ints, _Ints]:
    """Where the runs of equal neighbours begin, and their lengths. `differs` is about the 2nd, 3rd … element."""
    first = np.concatenate(([0], np.flatnonzero(differs) + 1))
    return first, np.diff(first, append=len(differs) + 1)


def _words_of(keys: _Keys) -> pa.StringArray:
    """The words in zero-padded integers, a row each. They hold no NUL, so every byte that is not 0 is the word's."""
    table = keys.view(np.uint8).reshape(len(keys), -1)
    used = table != 0
    # Eight booleans are eight bytes of 0 and 1: the product's highest byte is their sum.
    lengths = (used.view(np.uint64) * np.uint64(0x0101010101010101) >> np.uint64(56)).sum(axis=1)
    offsets = np.zeros(len(keys) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return strings(offsets, table[used])


def _joined(parts: list[Counted]) -> Counted:
    count = np.concatenate([integers(part.count) for part in parts])
    return _counted(pa.concat_arrays([part.word for part in parts]), count)


def _counted(word: pa.StringArray, count: _Ints) -> Counted:
    return Counted(word, int64s(count), int(count.sum()))


def _count_short(keys: _Keys) -> Iterator[Counted]:
    """Count words of 1 to 8 bytes; zeros stand for words that are counted elsewhere. Sorts `keys` in place."""
    keys.sort()
    begin = int(np.searchsorted(keys, 1))
    while begin < len(keys):
        end = len(keys)
        if end - begin > _SLICE_WORDS:
            # Behind the last of equal words.
            end = int(np.searchsorted(keys, keys[begin + _SLICE_WORDS], "right"))
        part = keys[begin:end]
        first, count = _runs(part[1:] != part[:-1])
        yield _counted(_words_of(part[first]), count)
        begin = end


def _mix(low: _Keys, high: _Keys) -> _Keys:
    """A hash of 16 bytes whose upper bits are good; the multipliers are the golden ratio's and one of splitmix64's."""
    mixed = (low * np.uint64(0x9E3779B97F4A7C15)) ^ high
    mixed ^= mixed >> np.uint64(32)
    return mixed * np.uint64(0xBF58476D1CE4E5B9)


def _count_pairs(low: _Keys, high: _Keys) -> Counted:
    """Count words of 9 to 16 bytes.

    Equal words come together by sorting hashes; the row's number rides in the lowest bits, which spares an argsort
    (five times a sort). What is equal is decided by the words themselves. Where two words share a hash, their rows may
    alternate: those few rows are put in order by an ordinary sort.
    """
    bits = np.uint64(len(low).bit_length())
    packed = (_mix(low, high) >> bits << bits) | np.arange(len(low), dtype=np.uint64)
    packed.sort()
    row = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    hashed = packed >> bits
    low, high = low[row], high[row]
    differs = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    clashes = hashed[1:][differs & (hashed[1:] == hashed[:-1])]
    if len(clashes):
        mixed_up = np.flatnonzero(np.isin(hashed, clashes))
        order = mixed_up[np.lexsort((high[mixed_up], low[mixed_up], hashed[mixed_up]))]
        low[mixed_up], high[mixed_up] = low[order], high[order]
        differs = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    first, count = _runs(differs)
    return _counted(_words_of(np.stack((low[first], high[first]), axis=1)), count)


def _count_tokens(text: bytes, bounds: _Ints) -> Counted:
    """Count words of any length and content by Arrow's hash table."""
    # Elements of an Arrow array lie side by side: every other one is what lies between two words.
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(text)]
    everything = pa.BinaryArray.from_buffers(pa.binary(), len(bounds) - 1, buffers)
    counted = everything.take(int64s(np.arange(0, len(bounds), 2))).value_counts()
    word = counted.field("values")
    string = pa.StringArray.from_buffers(len(word), word.buffers()[1], word.buffers()[2])
    return _counted(string, integers(counted.field("counts")))

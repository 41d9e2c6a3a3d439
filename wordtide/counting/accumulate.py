"""Partial counts become one sorted table, in bounded memory.

One operation does everything: put rows in order and add up equal neighbours. Partials are collected; when there are too
many they are summed into one sorted run; when that is still large it goes to a temporary file; the result is the merge
of the runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, chain, count
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wordtide.counting.kernel import Counted, int64s, integers, strings

RESULT_SCHEMA = pa.schema([("window_start", pa.timestamp("us", "UTC")), ("word", pa.string()), ("count", pa.int64())])
"""What `Accumulator.result` yields."""

_TABLE_SCHEMA = pa.schema([("window", pa.int64()), ("word", pa.large_string()), ("count", pa.int64())])
_RUN_SCHEMA = pa.schema([("window", pa.int64()), ("word", pa.large_binary()), ("count", pa.int64())])

# _HEADS[n] keeps the first n bytes of a big-endian integer.
_HEADS = np.array([(2**64 - 1) ^ ((1 << 8 * (8 - n)) - 1) for n in range(9)], np.uint64)

_BLOCK_ROWS = 1 << 16
"""Working arrays of this many rows stay in the second-level cache."""

_DEPTH = 4
"""So many times eight bytes are compared as integers; what is equal that far, links and the like, is left to Arrow."""

_EVERYTHING = 1 << 40  # more bytes than a word can have

_Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]
_Bools = npt.NDArray[np.bool_]
_Key = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the accumulator's memory (about 80 bytes a row and twice the words' bytes at the peak).

    Attributes:
        rows: Rows held in memory before they are summed.
        bytes: Bytes of their words.
        batch_rows: Rows of a batch in a file and in the result; the merge holds one batch of each run.
        batch_bytes: Bytes of a batch's words, unless a single word has more.
        runs: Files merged at once; fewer if their batches have more than `bytes` together, but at least two.
    """

    rows: int = 1_250_000
    bytes: int = 40 << 20
    batch_rows: int = 1 << 15
    batch_bytes: int = 1 << 20
    runs: int = 32


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows as numpy sees them. Word i is `data[offsets[i] : offsets[i + 1]]`; offsets need not begin at 0."""

    window: _Ints
    offsets: _Ints
    data: npt.NDArray[np.uint8]
    count: _Ints

    def __len__(self) -> int:
        return len(self.count)

    def size(self) -> int:
        """Bytes of the words."""
        return int(self.offsets[-1] - self.offsets[0])

    def key(self, row: int) -> _Key:
        """What rows are sorted by: Python compares it as the result is to be sorted."""
        return int(self.window[row]), self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def cut(self, begin: int, end: int) -> _Rows:
        """The rows from `begin` to before `end`, without a copy."""
        return _Rows(self.window[begin:end], self.offsets[begin : end + 1], self.data, self.count[begin:end])

    def batches(self, limits: Limits) -> Iterator[_Rows]:
        """The rows in pieces of bounded size, without a copy."""
        begin = 0
        while begin < len(self):
            full = int(np.searchsorted(self.offsets, self.offsets[begin] + limits.batch_bytes, "right")) - 1
            end = max(begin + 1, min(len(self), begin + limits.batch_rows, full))
            yield self.cut(begin, end)
            begin = end


class Accumulator:
    """Adds up partial counts per window and word.

    Use it as a context manager: it may own temporary files. They have no name, so that they are gone with the process,
    however it ends. A full disk is an `OSError` from whichever method writes them.
    """

    def __init__(self, limits: Limits = Limits(), directory: Path | None = None) -> None:
        """Begin empty.

        Args:
            limits: What bounds the memory.
            directory: Where temporary files go; the system's place for them by default.
        """
        self._limits = limits
        self._directory = directory
        self._parts: list[_Rows] = []
        self._rows = 0
        self._bytes = 0
        # By level: a run of level n is the merge of `limits.runs` runs of level n - 1, so no row is rewritten often.
        self._runs: list[list[_Run]] = []
        self._words = 0
        self._distinct = 0
        self._taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and files back. Twice is no error."""
        self._parts.clear()
        for run in chain.from_iterable(self._runs):
            run.close()
        self._runs.clear()

    @property
    def words(self) -> int:
        """The sum of all counts added."""
        return self._words

    @property
    def distinct(self) -> int:
        """The rows the result has yielded so far."""
        return self._distinct

    def add(self, window: int, counted: Counted) -> None:
        """Add the words of one text.

        Args:
            window: Where their window starts, microseconds since 1970 UTC.
            counted: What the kernel counted.
        """
        self._words += counted.words
        self._add(_rows(np.full(len(counted.count), window, np.int64), counted.word, counted.count))

    def add_table(self, table: pa.Table) -> None:
        """Add rows counted elsewhere.

        Args:
            table: `window` (microseconds since 1970 UTC, int64), `word` (string), `count` (int64; may be negative), in
                any order.

        Raises:
            ValueError: There are nulls.
            pyarrow.ArrowInvalid: A column is of another type and cannot be cast.
        """
        table = table.select(_TABLE_SCHEMA.names).cast(_TABLE_SCHEMA)
        if any(column.null_count for column in table.columns):
            raise ValueError("counts to be added up contain nulls")
        for batch in table.to_batches(max_chunksize=self._limits.rows):
            rows = _rows(integers(batch.column("window")), batch.column("word"), batch.column("count"))
            self._words += int(rows.count.sum())
            self._add(rows)

    def result(self) -> Iterator[pa.RecordBatch]:
        """Everything added, summed; can be taken once.

        Yields:
            Batches of `RESULT_SCHEMA`, sorted by window and the word's UTF-8 bytes; each window and word once, none
            whose sum is 0.
        """
        if self._taken:
            raise RuntimeError("the result of an accumulator can be taken once")
        self._taken = True
        return self._result()

    def _result(self) -> Iterator[pa.RecordBatch]:
        last = _in_order(self._parts)
        runs = list(chain.from_iterable(self._runs))
        while (several := self._at_once(runs)) < len(runs):
            runs = [*runs[several:], self._merge(runs[:several])]
            self._runs = [runs]
        for rows in _merged([last.batches(self._limits), *(run.batches() for run in runs)]):
            for batch in rows.batches(self._limits):
                self._distinct += len(batch)
                yield _result_batch(batch)

    def _add(self, rows: _Rows) -> None:
        if not len(rows):
            return
        if self._parts and (
            self._rows + len(rows) > self._limits.rows or self._bytes + rows.size() > self._limits.bytes
        ):
            self._fold()
        self._parts.append(rows)
        self._rows += len(rows)
        self._bytes += rows.size()

    def _fold(self) -> None:
        """Sum what is in memory; what is still large, so that summing it again would soon be due, goes to a file."""
        sums = _in_order(self._parts)
        run = _NO_ROWS
        if len(sums) > self._limits.rows // 2 or sums.size() > self._limits.bytes // 2:
            self._keep(_Run.write(sums.batches(self._limits), self._directory), 0)
        else:
            run = sums.whole()
        self._parts.append(run)
        self._rows, self._bytes = len(run), run.size()

    def _keep(self, run: _Run, level: int) -> None:
        if level == len(self._runs):
            self._runs.append([])
        self._runs[level].append(run)
        if len(self._runs[level]) >= self._limits.runs or self._at_once(self._runs[level]) < len(self._runs[level]):
            merged = self._merge(self._runs[level])
            self._runs[level] = []
            self._keep(merged, level + 1)

    def _at_once(self, runs: list[_Run]) -> int:
        """How many of the first of these may be merged at once: of each a batch is held."""
        held = accumulate(run.widest for run in runs[: self._limits.runs])
        return max(min(2, len(runs)), sum(size <= self._limits.bytes for size in held))

    def _merge(self, runs: list[_Run]) -> _Run:
        batches = chain.from_iterable(rows.batches(self._limits) for rows in _merged([run.batches() for run in runs]))
        merged = _Run.write(batches, self._directory)
        for run in runs:
            run.close()
        return merged


class _Run:
    """Sorted rows, each window and word once, in a file without a name.

    Attributes:
        widest: Bytes of the words of the batch that has most.
    """

    def __init__(self, file: IO[bytes], widest: int) -> None:
        self._file = file
        self.widest = widest

    @classmethod
    def write(cls, batches: Iterable[_Rows], directory: Path | None) -> _Run:
        widest = 0
        with ExitStack() as undo:
            file = undo.enter_context(TemporaryFile(dir=directory))
            with pa.ipc.new_stream(file, _RUN_SCHEMA) as writer:
                for rows in batches:
                    writer.write_batch(_run_batch(rows))
                    widest = max(widest, rows.size())
            file.flush()
            undo.pop_all()
        return cls(file, widest)

    def batches(self) -> Iterator[_Rows]:
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            for batch in reader:
                yield _rows(integers(batch.column("window")), batch.column("word"), batch.column("count"))

    def close(self) -> None:
        self._file.close()


def _rows(window: _Ints, word: pa.Array, count: pa.Array) -> _Rows:
    width: type[np.int32] | type[np.int64] = np.int32 if pa.types.is_string(word.type) else np.int64
    _, offsets, data = word.buffers()
    used = np.frombuffer(offsets, width)[word.offset : word.offset + len(word) + 1]
    return _Rows(window, used.astype(np.int64, copy=False), np.frombuffer(data or b"", np.uint8), integers(count))


def _large_binary(rows: _Rows) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(rows.offsets), pa.py_buffer(rows.data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(rows), buffers)


def _run_batch(rows: _Rows) -> pa.RecordBatch:
    columns = [int64s(rows.window), _large_binary(rows), int64s(rows.count)]
    return pa.RecordBatch.from_arrays(columns, schema=_RUN_SCHEMA)


def _result_batch(rows: _Rows) -> pa.RecordBatch:
    begin, end = int(rows.offsets[0]), int(rows.offsets[-1])
    window = pa.Array.from_buffers(RESULT_SCHEMA.field("window_start").type, len(rows), int64s(rows.window).buffers())
    word = strings((rows.offsets - begin).astype(np.int32), rows.data[begin:end])
    return pa.RecordBatch.from_arrays([window, word, int64s(rows.count)], schema=RESULT_SCHEMA)


def _joined(parts: list[_Rows]) -> _Rows:
    """All rows one after the other, with eight bytes of room behind the words. `parts` is empty afterwards."""
    size = sum(map(len, parts))
    window, count, offsets = np.empty(size, np.int64), np.empty(size, np.int64), np.zeros(size + 1, np.int64)
    data = np.zeros(sum(part.size() for part in parts) + 8, np.uint8)
    row = at = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        end = row + len(part)
        window[row:end], count[row:end] = part.window, part.count
        np.add(part.offsets[1:], at - int(part.offsets[0]), out=offsets[row + 1 : end + 1])
        data[at : at + part.size()] = part.data[part.offsets[0] : part.offsets[-1]]
        row = end
        at += part.size()
    return _Rows(window, offsets, data, count)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Rows in order, each window and word once: which rows of others they are, so that they can be taken in pieces."""

    rows: _Rows
    chosen: _Ints
    count: _Ints

    def __len__(self) -> int:
        return len(self.chosen)

    def size(self) -> int:
        """Bytes of the words."""
        return int((self.rows.offsets[self.chosen + 1] - self.rows.offsets[self.chosen]).sum())

    def whole(self) -> _Rows:
        """All of them at once."""
        return self._taken(0, len(self))

    def batches(self, limits: Limits) -> Iterator[_Rows]:
        """The rows in pieces of bounded size, each a copy."""
        for begin in range(0, len(self), limits.batch_rows):
            yield from self._taken(begin, begin + limits.batch_rows).batches(limits)

    def _taken(self, begin: int, end: int) -> _Rows:
        chosen = self.chosen[begin:end]
        word = _large_binary(self.rows).take(int64s(chosen))
        return _rows(self.rows.window[chosen], word, int64s(self.count[begin:end].copy()))


def _in_order(parts: list[_Rows]) -> _Sums:
    """The rows of all parts in order, equal ones added up, those whose sum is 0 left out. `parts` is empty afterwards.

    A most-significant-digit radix sort with large digits, in a third of the time of sorting strings. The first digit is
    the window and a few bytes of the word, with the row's number below it in one integer, which spares an argsort.
    Blocks of what is then in coarse order are finished one by one, so that their working arrays are small.
    """
    if not any(map(len, parts)):
        parts.clear()
        return _Sums(_NO_ROWS, _NO_ROWS.count, _NO_ROWS.count)
    rows = _joined(parts)
    chosen, sums = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    filled = 0
    for row, differs, known in _coarse(rows):
        fresh = _finish(rows, row, differs, known)
        first = np.flatnonzero(fresh)
        total = np.add.reduceat(rows.count[row], first)
        left = total != 0
        end = filled + int(np.count_nonzero(left))
        chosen[filled:end], sums[filled:end] = row[first[left]], total[left]
        filled = end
    return _Sums(rows, chosen[:filled], sums[:filled])


_Block = tuple[_Ints, _Bools, int]
"""Rows' numbers in coarse order, whether the 2nd, 3rd … differs from the one before as far as is known, and how many
bytes of the words that is."""


def _coarse(rows: _Rows) -> Iterator[_Block]:
    """Rows in order as far as window and first bytes, block by block."""
    number_bits = len(rows).bit_length()
    windows = _distinct(rows.window)
    # At least two bytes, as neither the rows nor the windows among them are more than the limit allows.
    known = min(7, (64 - number_bits - (len(windows) - 1).bit_length()) // 8)
    packed = np.empty(len(rows), np.uint64)
    for begin in range(0, len(rows), _BLOCK_ROWS):
        block = slice(begin, min(begin + _BLOCK_ROWS, len(rows)))
        digit = _next_bytes(rows, rows.offsets[:-1][block], np.diff(rows.offsets[begin : block.stop + 1]))
        digit >>= np.uint64(64 - 8 * known)
        if len(windows) > 1:
            digit |= np.searchsorted(windows, rows.window[block]).astype(np.uint64) << np.uint64(8 * known)
        packed[block] = digit << np.uint64(number_bits) | np.arange(begin, block.stop, dtype=np.uint64)
    return _blocks(rows, packed, number_bits, known, None)


def _blocks(rows: _Rows, packed: _Keys, number_bits: int, known: int, numbers: _Ints | None) -> Iterator[_Block]:
    """Sort digits with a place below each, and cut them into blocks.

    Too many rows with one digit are sorted by the bytes behind it.

    Args:
        rows: From `_joined`.
        packed: The digits, each above `number_bits` bits of a place.
        number_bits: See `packed`.
        known: With these digits so many bytes of the words are known.
        numbers: The row at each place; None: the place itself.
    """
    packed.sort()
    begin = 0
    while begin < len(packed):
        end = _end_of_block(packed, begin, number_bits)
        row = (packed[begin:end] & np.uint64((1 << number_bits) - 1)).astype(np.int64)
        if numbers is not None:
            row = numbers[row]
        if len(row) <= 2 * _BLOCK_ROWS or known >= 8 * _DEPTH:
            digit = packed[begin:end] >> np.uint64(number_bits)
            yield row, digit[1:] != digit[:-1], known
        else:
            yield from _blocks(rows, *_finer(rows, row, known), row)
        begin = end


def _finer(rows: _Rows, row: _Ints, known: int) -> tuple[_Keys, int, int]:
    """The digits of rows that are equal so far, with their bits and what is known then; see `_blocks`."""
    number_bits = len(row).bit_length()
    more = min(8, (64 - number_bits) // 8)
    packed = np.empty(len(row), np.uint64)
    for begin in range(0, len(row), _BLOCK_ROWS):
        at = row[begin : begin + _BLOCK_ROWS]
        start = rows.offsets[at] + known
        digit = _next_bytes(rows, start, rows.offsets[at + 1] - start) >> np.uint64(64 - 8 * more)
        packed[begin : begin + len(at)] = digit << np.uint64(number_bits)
    packed |= np.arange(len(row), dtype=np.uint64)
    return packed, number_bits, known + more


def _end_of_block(packed: _Keys, begin: int, number_bits: int) -> int:
    """Where a block that begins there ends: between two digits."""
    end = begin + _BLOCK_ROWS
    if end >= len(packed):
        return len(packed)
    digit = int(packed[end]) >> number_bits
    start_of_digit = int(np.searchsorted(packed, np.uint64(digit << number_bits)))
    if start_of_digit > begin:
        return start_of_digit
    return int(np.searchsorted(packed, np.uint64((digit << number_bits) | ((1 << number_bits) - 1)), "right"))


def _finish(rows: _Rows, row: _Ints, differs: _Bools, known: int) -> _Bools:
    """Put rows that are in order as far as their first bytes in order altogether.

    Eight more bytes at a time, as an integer, and only of rows that are still equal and not at their end.

    Args:
        rows: From `_joined`.
        row: Some rows' numbers, by window and first bytes; reordered in place.
        differs: Whether window or first bytes of the 2nd, 3rd … of these differ from the one before.
        known: How many bytes the first bytes are.

    Returns:
        Which of the rows, now in order, differ from the one before.
    """
    fresh = np.concatenate(([True], differs))
    place, at = np.arange(len(row)), row
    for depth in count():
        left = rows.offsets[at + 1] - rows.offsets[at] - known
        # Equal so far is equal for good where both words end here. (Not if only one does: a NUL looks like an end.)
        in_doubt = ~differs & ((left[1:] > 0) | (left[1:] != left[:-1]))
        group = np.concatenate(([0], np.cumsum(differs)))
        again = np.zeros(len(group), np.bool_)
        again[group[1:][in_doubt]] = True
        chosen = np.flatnonzero(again[group])
        if not len(chosen):
            break
        place, at, group, left = place[chosen], at[chosen], group[chosen], left[chosen]
        if depth < _DEPTH:
            key = _next_bytes(rows, rows.offsets[at] + known, left)
            known += 8
        else:
            words = _large_binary(rows).take(int64s(at))
            key = np.frombuffer(pc.rank(words, tiebreaker="dense").buffers()[1], np.uint64, len(words))
            known = _EVERYTHING
        by = np.argsort(key)
        # Then by group; what the first sort found rides in the lower half, which makes this one stable.
        packed = (group[by] << 32) | np.arange(len(by))
        packed.sort()
        by = by[packed & 0xFFFFFFFF]
        key, at, group = key[by], at[by], group[by]
        row[place] = at
        differs = (key[1:] != key[:-1]) | (group[1:] != group[:-1])
        fresh[place[1:]] = differs
    return fresh


def _next_bytes(rows: _Rows, begin: _Ints, left: _Ints) -> _Keys:
    """Eight bytes from `begin` as integers that sort as the bytes do, zero-padded where fewer are `left`."""
    loads: _Keys = np.ndarray((len(rows.data) - 7,), np.dtype(">u8"), rows.data, strides=(1,))
    loaded = loads[np.minimum(begin, len(loads) - 1)].astype(np.uint64)
    return loaded & _HEADS.take(left, mode="clip")


def _distinct(values: _Ints) -> _Ints:
    """The distinct values in order."""
    return values[:1] if (values == values[0]).all() else np.unique(values)


def _merged(sources: list[Iterator[_Rows]]) -> Iterator[_Rows]:
    """Merge sorted sources, each of which has each window and word at most once, into sorted pieces."""
    heads = [(head, source) for source in sources if (head := next(source, None))]
    while len(heads) > 1:
        # All that is not above this has been read from every source.
        bound = min(head.key(len(head) - 1) for head, _ in heads)
        below: list[_Rows] = []
        above: list[tuple[_Rows, Iterator[_Rows]]] = []
        for head, source in heads:
            end = bisect_right(range(len(head)), bound, key=head.key)
            below.append(head.cut(0, end))
            rest = head.cut(end, len(head)) or next(source, None)
            if rest:
                above.append((rest, source))
        yield _in_order(below).whole()
        heads = above
    for head, source in heads:
        yield head
        yield from source


_NO_ROWS = _Rows(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.uint8), np.empty(0, np.int64))

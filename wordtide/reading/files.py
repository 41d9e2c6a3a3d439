"""A file split reads itself as text: line ends become spaces, compression is undone, each byte is accounted for."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from wordtide.batch import FileSplit, SplitProof
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.errors import PlanAgain, WordtideError
from wordtide.planning.landing import Compression, compression_of
from wordtide.reading.decompress import BrokenData, decompressed
from wordtide.reading.text import Reading, Text, clamp_ms, window_start
from wordtide.storage.base import FileInfo, Storage

TEXT_BYTES = CHUNK_BYTES
"""Bytes gathered before a text is handed over: what the kernel likes best; it builds some 70 bytes per word."""

SMALL_BYTES = 1 << 20
"""Files up to this length are read ahead, several at once, and share texts."""

LONGEST_WORD = 64 << 20
"""Bytes without space or line end that are held in memory; a file with more is no text."""

_AHEAD_PER_THREAD = 4
_LISTING_PAYS_ABOVE = 100
_FIRST_TAIL_BYTES = 64 << 10
_UTF8_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\n|\r\n?")


class CorruptFile(WordtideError):
    """A file that will never be read as it is: the drain parks it.

    Attributes:
        split: Which; its identity matters, another file may take its path.
        path: Its path.
        reason: Why; with the path the error's text.
        also: Others of the same batch, so that one more plan settles them all.
    """

    def __init__(self, split: FileSplit, reason: str, also: tuple[CorruptFile, ...] = ()) -> None:
        super().__init__(f"{split.path}: {reason}")
        self.split = split
        self.path = split.path
        self.reason = reason
        self.also = also

    def __reduce__(self) -> tuple[type[CorruptFile], tuple[FileSplit, str, tuple[CorruptFile, ...]]]:
        """Pickle with all that it was made from."""
        return type(self), (self.split, self.reason, self.also)


class NotReady(PlanAgain):
    """A file that is not, or not yet, what was planned: the drain plans again, with its path as a suspect.

    Attributes:
        path: Which.
        reason: Why; with the path the error's text.
        also: Others of the same batch.
    """

    def __init__(self, path: str, reason: str, also: tuple[NotReady, ...] = ()) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.also = also

    def __reduce__(self) -> tuple[type[NotReady], tuple[str, str, tuple[NotReady, ...]]]:
        """Pickle with all that it was made from."""
        return type(self), (self.path, self.reason, self.also)


_Problem = TypeVar("_Problem", CorruptFile, NotReady)

Fetch = Callable[[int, int], Iterator[bytes]]
"""Yields exactly the bytes ``[start, end)`` of a file, in pieces, or raises NotReady."""


def read_file(storage: Storage, split: FileSplit, *, window_us: int, latest_ms: int) -> Reading:
    """Read one split.

    A line belongs to the split that holds its first byte. With ``first(x)`` the first line start at or after ``x``, a
    split reads the bytes ``[first(start), first(end))``; so whatever the cuts, each line is read once.

    Args:
        storage: Where it is.
        split: What to read; compressed files only whole.
        window_us: Length of a window, µs.
        latest_ms: Upper bound for a believable mtime, ms since the epoch.

    Yields:
        Texts of about `TEXT_BYTES`, cut at a space or line end; a longer word makes a longer text.

    Returns:
        The proof. That the file still is what was planned is for `verify_unchanged`, once all is read.

    Raises:
        CorruptFile: Broken compression, or a word longer than `LONGEST_WORD`.
        NotReady: The file is gone or holds fewer bytes than planned (also: a writer has it open).
    """
    return (yield from _read(storage, split, _fetcher(storage, split), window_us, latest_ms))


def read_files(
    storage: Storage, splits: Sequence[FileSplit], *, window_us: int, latest_ms: int
) -> Generator[Text, None, tuple[SplitProof, ...]]:
    """Read any number of splits; small files are fetched ahead, several at once, and share texts.

    Args:
        storage: Where they are.
        splits: What to read.
        window_us: Length of a window, µs.
        latest_ms: Upper bound for a believable mtime, ms since the epoch.

    Yields:
        Texts; the same ones for the same splits.

    Returns:
        The proofs, in the order of ``splits``.

    Raises:
        CorruptFile, NotReady: Some could not be read as planned. After the first of them no text comes, but all are
            tried, and the error names all of its kind (corrupt before not ready).
    """
    proofs: list[SplitProof] = []
    corrupt: list[CorruptFile] = []
    changed: list[NotReady] = []
    shared = _SharedTexts()
    with closing(_ahead(storage, splits)) as contents:
        for split, content in contents:
            try:
                fetch = _fetcher(storage, split) if content is None else _held(content())
                reading = _read(storage, split, fetch, window_us, latest_ms)
                while True:
                    try:
                        text = next(reading)
                    except StopIteration as stop:
                        proofs.append(stop.value)
                        break
                    if not corrupt and not changed:
                        yield from shared.add(text)
            except CorruptFile as problem:
                corrupt.append(problem)
            except NotReady as problem:
                changed.append(problem)
    _raise_first(corrupt)
    _raise_first(changed)
    yield from shared.flush()
    return tuple(proofs)


def verify_unchanged(storage: Storage, root: str, splits: Sequence[FileSplit]) -> None:
    """Prove, after the last read, that every file still is what was planned.

    By one listing of the whole folder when there are many (35 ms for 10,000 on HDFS, where as many stats take 800),
    by a stat each when there are few.

    Raises:
        NotReady: Naming all that are not.
    """
    planned = {split.path: split for split in splits}
    if len(planned) > _LISTING_PAYS_ABOVE:
        found: dict[str, FileInfo | None] = {info.path: info for info in storage.list_files(root)}
    else:
        found = {path: _stat(storage, path) for path in planned}
    changed = [problem for path, split in planned.items() if (problem := _change(split, found.get(path)))]
    _raise_first(changed)


def _raise_first(problems: Sequence[_Problem]) -> None:
    if problems:
        problems[0].also = tuple(problems[1:])
        raise problems[0]


def _stat(storage: Storage, path: str) -> FileInfo | None:
    try:
        return storage.stat(path)
    except FileNotFoundError:
        return None


def _change(split: FileSplit, found: FileInfo | None) -> NotReady | None:
    if found is None:
        return NotReady(split.path, "is gone since it was planned")
    if (found.length, found.mtime_ms) != (split.length, split.mtime):
        return NotReady(split.path, "was written to since it was planned")
    return None


def _fetcher(storage: Storage, split: FileSplit) -> Fetch:
    def fetch(start: int, end: int) -> Iterator[bytes]:
        missing = end - start
        try:
            for piece in storage.read_range(split.path, start, end):
                missing -= len(piece)
                yield piece
        except FileNotFoundError:
            raise NotReady(split.path, "is gone since it was planned") from None
        if missing:
            raise NotReady(
                split.path,
                f"{missing} of {end - start} planned bytes cannot be read yet; is it being written?",
            )

    return fetch


def _held(content: bytes) -> Fetch:
    return lambda start, end: iter((content[start:end],))


def _content(storage: Storage, split: FileSplit) -> bytes:
    return b"".join(_fetcher(storage, split)(0, split.length))


def _ahead(
    storage: Storage, splits: Sequence[FileSplit]
) -> Generator[tuple[FileSplit, Callable[[], bytes] | None], None, None]:
    """Yield each split in turn with, for a small file, what returns its content; large ones are left to stream."""
    threads = storage.parallel_reads
    if threads == 1:
        for split in splits:
            yield split, partial(_content, storage, split) if _is_small(split) else None
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="wordtide-read") as pool:
        waiting: deque[tuple[FileSplit, Callable[[], bytes] | None]] = deque()
        try:
            for split in splits:
                waiting.append((split, pool.submit(_content, storage, split).result if _is_small(split) else None))
                if len(waiting) > threads * _AHEAD_PER_THREAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_small(split: FileSplit) -> bool:
    return split.length <= SMALL_BYTES


class _SharedTexts:
    """Joins short texts of one window, because the kernel has a fixed cost for each."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}
        self._total = 0

    def add(self, text: Text) -> Iterator[Text]:
        """Take a text; yield what is long enough now."""
        size = len(text.text)
        if size >= SMALL_BYTES:
            yield text
            return
        self._parts.setdefault(text.window, []).append(text.text)
        self._total += size
        if self._total >= TEXT_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[Text]:
        """Yield all that is left."""
        for window, parts in self._parts.items():
            yield Text(window, b" ".join(parts))
        self._parts, self._total = {}, 0


def _read(storage: Storage, split: FileSplit, fetch: Fetch, window_us: int, latest_ms: int) -> Reading:
    mtime = clamp_ms(split.mtime, latest_ms)
    compression = compression_of(split.path)
    if compression is None:
        raise CorruptFile(split, "a compression or archive that is not read")
    try:
        if compression is Compression.PLAIN:
            pieces = _line_range(split, fetch)
        else:
            pieces = decompressed(compression, fetch(0, split.length))
        if split.start == 0:
            pieces = _without_mark(pieces)
        lines = yield from _texts(pieces, window_start(mtime, window_us))
    except BrokenData as problem:
        # Bytes that were exchanged under our eyes look corrupt too.
        change = _change(split, _stat(storage, split.path))
        raise change or CorruptFile(split, str(problem)) from problem
    return SplitProof(split, lines=lines, bytes=split.end - split.start, clamped=0 if mtime == split.mtime else lines)


def _line_range(split: FileSplit, fetch: Fetch) -> Iterator[bytes]:
    """Yield the bytes ``[first(start), first(end))`` of a plain file; see `read_file`."""
    skipping = split.start > 0
    after_cr = False
    last = b""
    for piece in fetch(split.start - 1 if skipping else 0, split.end):
        if skipping:
            at, after_cr = _past_line_end(piece, after_cr)
            if at is None:
                continue
            skipping = False
            piece = piece[at:]
        if piece:
            last = piece[-1:]
            yield piece
    if not last or last == b"\n":
        return
    after_cr = last == b"\r"
    start, size = split.end, _FIRST_TAIL_BYTES
    while start < split.length:
        end = min(start + size, split.length)
        for piece in fetch(start, end):
            at, after_cr = _past_line_end(piece, after_cr)
            if at is not None:
                yield piece[:at]
                return
            yield piece
        start, size = end, min(size * 4, TEXT_BYTES)


def _past_line_end(piece: bytes, after_cr: bool) -> tuple[int | None, bool]:
    r"""Return where the first line end of a piece ends, if there is one, and whether a \r waits for the next piece."""
    if after_cr:
        return int(piece.startswith(b"\n")), False
    found = _LINE_END.search(piece)
    if found is None:
        return None, False
    if found.end() == len(piece) and found[0] == b"\r":
        return None, True
    return found.end(), False


def _without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Drop a UTF-8 byte order mark, as Spark does."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(_UTF8_MARK):
            break
    head = head.removeprefix(_UTF8_MARK)
    if head:
        yield head
    yield from pieces


def _texts(pieces: Iterator[bytes], window: int) -> Generator[Text, None, int]:
    """Yield lines joined by a space each, in stretches of about `TEXT_BYTES`; return how many lines there were."""
    ends = _LineEnds()
    parts: list[bytes] = []  # Not handed over yet.
    wordless = 0  # So many of them are known to hold no space.
    size = 0
    for raw in pieces:
        parts.append(ends.spaced(raw))
        size += len(parts[-1])
        if size < TEXT_BYTES:
            continue
        for i in range(len(parts) - 1, wordless - 1, -1):
            at = parts[i].rfind(b" ")
            if at >= 0:
                yield Text(window, b"".join([*parts[:i], memoryview(parts[i])[:at]]))
                parts = [parts[i][at + 1 :], *parts[i + 1 :]]
                size = sum(map(len, parts))
                break
        wordless = len(parts)
        if size > LONGEST_WORD:
            raise BrokenData(f"more than {LONGEST_WORD} bytes without a space or line end: no text")
    text = b"".join(parts) + ends.finish()
    if not ends.ended:
        yield Text(window, text)
    elif text:
        # The last line's end separates it from nothing. (No text: the last cut was made there, or all is empty.)
        yield Text(window, text[:-1])
    return ends.lines


class _LineEnds:
    r"""Makes each \n, \r\n and lone \r of a text that comes in pieces one space, and counts lines.

    Attributes:
        lines: Lines so far; after `finish` all of them.
        ended: Whether the last byte seen was a line's end. True before the first.
    """

    def __init__(self) -> None:
        self.lines = 0
        self.ended = True
        self._held = b""

    def spaced(self, raw: bytes) -> bytes:
        """Return a piece with its line ends as spaces; a CR at its end is held back, for a LF may follow."""
        if not raw:
            return b""
        raw = self._held + raw
        self.ended = raw.endswith((b"\n", b"\r"))
        self._held = b"\r" if raw.endswith(b"\r") else b""
        if self._held:
            raw = raw[:-1]
        if b"\r" in raw:
            raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.lines += raw.count(b"\n")
        return raw.replace(b"\n", b" ")

    def finish(self) -> bytes:
        """Return what was held back, and count the last line."""
        if self._held or not self.ended:
            self.lines += 1
        return b" " if self._held else b""

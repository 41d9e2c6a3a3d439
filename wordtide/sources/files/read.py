"""A file split reads itself as text: line ends become spaces, compression is undone, each byte is accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, groupby
from typing import TypeVar

from wordtide.core.digest import Fetch, RangeDigest
from wordtide.core.model import Aside, FileSplit, SplitProof
from wordtide.core.problems import PlanAgain, ReadFailed, WordtideError
from wordtide.core.quarantine import NOTHING, Quarantine, without_quarantined
from wordtide.core.sniff import HEAD_BYTES, Compression, NotText, kind_of, kind_of_file
from wordtide.core.text import LONGEST_WORD, Reading, Text, clamp_ms, holds_longer, window_start
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.sources.files.decompress import BrokenData, begins, decompressed
from wordtide.storage.base import FileInfo, PathProblem, Readable, Storage
from wordtide.storage.fileid import raises_doubt

TEXT_BYTES = CHUNK_BYTES
"""Bytes gathered before a text is handed over: what the kernel likes best; it builds some 70 bytes per word."""

SMALL_BYTES = 1 << 20
"""Files up to this length are read ahead, several at once, and share texts."""

_LISTING_PAYS_ABOVE = 100
_FIRST_TAIL_BYTES = 64 << 10
_UTF8_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\n|\r\n?")


class CorruptFile(WordtideError, ReadFailed):
    """A file that cannot be read as it is, and will not be by itself: the drain parks it.

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

    def joined(self, others: Sequence[ReadFailed]) -> CorruptFile:
        """See `ReadFailed`: one that names all files of its kind."""
        mine = [problem for problem in others if isinstance(problem, CorruptFile)]
        also = (*self.also, *mine, *(one for problem in mine for one in problem.also))
        return type(self)(self.split, self.reason, also)


class UnreadableFile(CorruptFile):
    """A file that cannot be read at this moment, and may be later: the drain leaves it out and tries again."""


class NotReady(PlanAgain, ReadFailed):
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

    def joined(self, others: Sequence[ReadFailed]) -> NotReady:
        """See `ReadFailed`: one that names all files of its kind."""
        mine = [problem for problem in others if isinstance(problem, NotReady)]
        also = (*self.also, *mine, *(one for problem in mine for one in problem.also))
        return type(self)(self.path, self.reason, also)


_Problem = TypeVar("_Problem", CorruptFile, NotReady)


def read_file(storage: Readable, split: FileSplit, *, window_us: int, latest_ms: int) -> Reading:
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
        CorruptFile: No text by its first bytes, broken compression, or a word longer than `LONGEST_WORD`.
        UnreadableFile: No permission to read it, or its bytes cannot be had.
        NotReady: The file is gone or holds fewer bytes than planned (also: a writer has it open).
    """
    return (yield from _read(storage, split, _fetcher(storage, split), window_us, latest_ms))


def read_files(
    storage: Readable,
    splits: Sequence[FileSplit],
    *,
    window_us: int,
    latest_ms: int,
    quarantine: Quarantine = NOTHING,
) -> Generator[Text, None, tuple[SplitProof, ...]]:
    """Read any number of splits; small files are fetched ahead, several at once, and share texts.

    Args:
        storage: Where they are.
        splits: What to read.
        window_us: Length of a window, µs.
        latest_ms: Upper bound for a believable mtime, ms since the epoch.
        quarantine: Which lines are put aside; if any can be, splits are whole files.

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
    with closing(_contents(storage, splits)) as contents:
        for split, content in contents:
            try:
                reading = _read(storage, split, content(), window_us, latest_ms, quarantine)
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
    if len(splits) <= _LISTING_PAYS_ABOVE:
        verify_each_unchanged(storage, splits)
        return
    # What cannot be looked at elsewhere in the folder is not what is asked about.
    found = {info.path: info for info in storage.survey(root).files}
    _raise_first([problem for split in splits if (problem := _change(split, found.get(split.path)))])


def verify_each_unchanged(storage: Readable, splits: Sequence[FileSplit]) -> None:
    """Prove the same by a stat each.

    Raises:
        NotReady: Naming all that are not.
    """
    _raise_first([problem for split in splits if (problem := _change_on(storage, split))])


def _change_on(storage: Readable, split: FileSplit) -> NotReady | None:
    try:
        return _change(split, _stat(storage, split.path))
    except PathProblem as problem:
        # The next look says of it what there is to say.
        return NotReady(split.path, problem.reason)


def _raise_first(problems: Sequence[_Problem]) -> None:
    if problems:
        raise problems[0].joined(problems[1:])


def _stat(storage: Readable, path: str) -> FileInfo | None:
    try:
        return storage.stat(path)
    except FileNotFoundError:
        return None


def _change(split: FileSplit, found: FileInfo | None) -> NotReady | None:
    if found is None:
        return _gone(split)
    written = (found.length, found.mtime_ms) != (split.length, split.mtime)
    if written or raises_doubt(split.file_id, found.file_id):
        return NotReady(split.path, "was written to since it was planned")
    return None


def _fetcher(storage: Readable, split: FileSplit) -> Fetch:
    def fetch(start: int, end: int) -> Iterator[bytes]:
        missing = end - start
        try:
            for piece in storage.read_range(split.path, start, end):
                missing -= len(piece)
                yield piece
        except FileNotFoundError:
            raise _gone(split) from None
        except PathProblem as problem:
            # It is about this file: the others can be read, or are said to be unreadable as well.
            raise UnreadableFile(split, problem.reason) from None
        if missing:
            raise _short(split, missing, end - start)

    return fetch


def _held(split: FileSplit, content: bytes | PathProblem | None) -> Fetch:
    if content is None:
        raise _gone(split)
    if isinstance(content, PathProblem):
        raise UnreadableFile(split, content.reason)
    if len(content) < split.length:
        raise _short(split, split.length - len(content), split.length)
    return lambda start, end: iter((content[start:end],))


def _gone(split: FileSplit) -> NotReady:
    return NotReady(split.path, "is gone since it was planned")


def _short(split: FileSplit, missing: int, planned: int) -> NotReady:
    return NotReady(split.path, f"{missing} of {planned} planned bytes cannot be read yet; is it being written?")


def _contents(
    storage: Readable, splits: Sequence[FileSplit]
) -> Generator[tuple[FileSplit, Callable[[], Fetch]], None, None]:
    """Yield each split in turn with what gives its bytes; runs of small files are read ahead, large ones stream."""
    for small, run in groupby(splits, _is_small):
        if not small:
            yield from ((split, partial(_fetcher, storage, split)) for split in run)
            continue
        files = list(run)
        with closing(storage.read_small([(split.path, split.length) for split in files])) as contents:
            for split, content in zip(files, contents, strict=True):
                yield split, partial(_held, split, content)


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


def _read(
    storage: Readable,
    split: FileSplit,
    fetch: Fetch,
    window_us: int,
    latest_ms: int,
    quarantine: Quarantine = NOTHING,
) -> Reading:
    aside: list[Aside] = []

    def put_aside(begin: int, end: int, reason: str) -> None:
        aside.append(Aside(replace(split, start=begin, end=end), reason))

    digest = RangeDigest(split.start, split.end)
    fetch = digest.over(fetch)
    mtime = clamp_ms(split.mtime, latest_ms)
    try:
        whole = (split.start, split.end) == (0, split.length)
        # Only what is plain text is cut.
        pieces = _plain(split, fetch(0, split.length)) if whole else _line_range(split, fetch)
        if quarantine:
            pieces = without_quarantined(pieces, split.start, quarantine, put_aside)
        if split.start == 0:
            pieces = _without_mark(pieces)
        lines = yield from _texts(pieces, window_start(mtime, window_us))
    except BrokenData as problem:
        # Bytes that were exchanged under our eyes look corrupt too.
        change = _change_on(storage, split)
        raise change or CorruptFile(split, str(problem)) from problem
    believed = mtime == split.mtime
    return SplitProof(
        split,
        lines,
        bytes=split.end - split.start,
        clamped=0 if believed else lines,
        aside=tuple(aside),
        oldest=mtime if believed else None,
        digest=digest.value,
    )


def text_range(storage: Readable, file: FileSplit) -> bytes:
    """Return the bytes ``[start, end)`` of a file's text, of the decompressed one if it is compressed.

    Raises:
        CorruptFile, NotReady: As `read_file`.
    """
    fetch = _fetcher(storage, file)
    if kind_of_file(b"".join(fetch(0, min(HEAD_BYTES, file.length))), file.path) is Compression.PLAIN:
        return b"".join(fetch(file.start, file.end))
    found, at = bytearray(), 0
    try:
        # Records of it were put aside, so it was taken for text.
        for piece in _plain(replace(file, as_text=True), fetch(0, file.length)):
            found += piece[max(file.start - at, 0) : max(file.end - at, 0)]
            at += len(piece)
            if at >= file.end:
                break
    except BrokenData as problem:
        raise CorruptFile(file, str(problem)) from problem
    return bytes(found)


def plain_files(storage: Readable, files: Sequence[FileSplit]) -> set[str]:
    """Return the paths of those that are plain text by their first bytes, and so may be cut.

    What cannot be read now is not among them: who reads it whole says why.
    """
    with closing(storage.read_small([(file.path, min(HEAD_BYTES, file.length)) for file in files])) as heads:
        return {
            file.path
            for file, head in zip(files, heads, strict=True)
            if isinstance(head, bytes) and kind_of_file(head, file.path) is Compression.PLAIN
        }


def _plain(split: FileSplit, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a whole file's text; compression is undone, also of what an operator said to be text.

    Raises:
        BrokenData: It is no text.
    """
    head, pieces = _peeked(pieces)
    kind = kind_of_file(head, split.path)
    if isinstance(kind, Compression) and kind is not Compression.PLAIN:
        outer = kind
        if split.as_text and not begins(outer, head):
            return pieces
        head, pieces = _peeked(decompressed(outer, pieces))
        kind = kind_of(head)
        if isinstance(kind, NotText):
            kind = kind.within(outer)
        elif kind is not Compression.PLAIN:
            kind = NotText(f"compressed twice ({kind} in {outer})", "unpack it once")
    if isinstance(kind, NotText) and not split.as_text:
        raise BrokenData(str(kind))
    return pieces


def _peeked(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first `HEAD_BYTES` bytes, all if there are fewer, and all pieces."""
    begin = next(pieces, b"")
    while len(begin) < HEAD_BYTES and (piece := next(pieces, None)) is not None:
        begin += piece
    return begin[:HEAD_BYTES], chain((begin,), pieces)


def _line_range(split: FileSplit, fetch: Fetch) -> Iterator[bytes]:
    """Yield the bytes ``[first(start), first(end))`` of a part of a plain file; see `read_file`."""
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
    stretch = 0  # Bytes since the last space.
    for raw in pieces:
        parts.append(ends.spaced(raw))
        stretch = _stretch(stretch, parts[-1])
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
    text = b"".join(parts) + ends.finish()
    if not ends.ended:
        yield Text(window, text)
    elif text:
        # The last line's end separates it from nothing. (No text: the last cut was made there, or all is empty.)
        yield Text(window, text[:-1])
    return ends.lines


def _stretch(before: int, part: bytes) -> int:
    """Return how many bytes without a space a text ends with, once a part is added to as many as ended it before.

    Raises:
        BrokenData: Somewhere there are more than `LONGEST_WORD`.
    """
    first = part.find(b" ")
    after = len(part) - 1 - part.rfind(b" ") if first >= 0 else before + len(part)
    longest = max(after, before + first if first >= 0 else 0)
    if longest > LONGEST_WORD or holds_longer(part, LONGEST_WORD):
        raise BrokenData(f"more than {LONGEST_WORD} bytes without a space or line end: no text")
    return after


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

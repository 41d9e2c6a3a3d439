"""Records that are put aside instead of counted: what a stream's `quarantine` asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from wordtide.core.text import LONGEST_WORD, holds_longer

LONGEST_LINE = 16 << 20
"""To judge a line it must be held: with a quarantine, longer ones are put aside whatever `larger_than` says."""
UNDECODABLE = "undecodable: not UTF-8"
TOO_LONG = f"more than {LONGEST_WORD} bytes without a space"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_LINE_ENDS = (b"\n", b"\r")


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Which records are put aside.

    Attributes:
        undecodable: Those that are not UTF-8; without it their bad bytes become U+FFFD.
        larger_than: Those with more bytes than this; None: of any size.
    """

    undecodable: bool = False
    larger_than: int | None = None

    def __bool__(self) -> bool:
        """Whether any can be."""
        return self.undecodable or self.larger_than is not None

    def reason(self, record: bytes) -> str | None:
        """Return why a record is put aside, or None."""
        if self.larger_than is not None and len(record) > self.larger_than:
            return oversized(self.larger_than)
        if self and holds_longer(record, LONGEST_WORD):
            return TOO_LONG
        return UNDECODABLE if self.undecodable and not _is_text(record) else None

    def reasons(self, records: Sequence[bytes]) -> dict[int, str]:
        """Return why records are put aside, by their place; cheap when none is."""
        largest = max(map(len, records), default=0)
        most = LONGEST_WORD if self.larger_than is None else min(self.larger_than, LONGEST_WORD)
        if largest <= most and (not self.undecodable or _is_text(b"\n".join(records))):
            return {}
        judged = ((place, self.reason(record)) for place, record in enumerate(records))
        return {place: reason for place, reason in judged if reason is not None}


NOTHING = Quarantine()
"""Nothing is put aside."""


def oversized(limit: int) -> str:
    """Return the reason of a record that is too large."""
    return f"oversized: more than {limit} bytes"


def without_quarantined(
    pieces: Iterable[bytes], start: int, quarantine: Quarantine, put_aside: Callable[[int, int, str], None]
) -> Iterator[bytes]:
    r"""Yield a file's bytes without the lines that are put aside.

    Args:
        pieces: Its bytes, from the begin of a line on.
        start: Where in the file's text they begin.
        quarantine: What is put aside. A line's end (\n, \r\n or \r) does not count as its size.
        put_aside: Called with begin and end (its line end included) of each line left out, and why.
    """
    limit = min(quarantine.larger_than, LONGEST_LINE) if quarantine.larger_than is not None else LONGEST_LINE
    at = start
    held = b""
    dropped = 0  # Bytes of the unfinished line that are already known to be too many, and are gone.
    for piece in pieces:
        data = held + piece
        # A CR at the very end may be half a line end.
        cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, len(data) - 1)) + 1
        complete, held = data[:cut], data[cut:]
        if complete and dropped:
            found = _LINE_END.search(complete)
            assert found is not None
            put_aside(at, at + dropped + found.end(), oversized(limit))
            at += dropped + found.end()
            complete, dropped = complete[found.end() :], 0
        if complete:
            yield from _judged(complete, at, quarantine, limit, put_aside)
            at += len(complete)
        if len(held) - held.endswith(b"\r") > limit or (dropped and held):
            # Its CR stays: it may belong to the line's end.
            end = len(held) - held.endswith(b"\r")
            dropped, held = dropped + end, held[end:]
    if dropped:
        put_aside(at, at + dropped + len(held), oversized(limit))
    elif held:
        yield from _judged(held, at, quarantine, limit, put_aside)


def _judged(
    lines: bytes, at: int, quarantine: Quarantine, limit: int, put_aside: Callable[[int, int, str], None]
) -> Iterator[bytes]:
    """Yield whole lines (the last may lack its end) without those that are put aside."""
    if len(lines) <= min(limit, LONGEST_WORD) and (not quarantine.undecodable or _is_text(lines)):
        yield lines
        return
    kept: list[bytes] = []
    ends = [found.end() for found in _LINE_END.finditer(lines)]
    if not ends or ends[-1] < len(lines):
        ends.append(len(lines))
    begin = 0
    for end in ends:
        line = lines[begin:end]
        content = line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(_LINE_ENDS) else line
        reason = oversized(limit) if len(content) > limit else None
        if reason is None and holds_longer(content, LONGEST_WORD):
            reason = TOO_LONG
        if reason is None and quarantine.undecodable and not _is_text(content):
            reason = UNDECODABLE
        if reason is None:
            kept.append(line)
        else:
            put_aside(at + begin, at + end, reason)
        begin = end
    if kept:
        yield b"".join(kept)


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

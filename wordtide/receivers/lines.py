r"""Where a stream of bytes may be cut without cutting a line: ``\n``, ``\r\n`` and a lone ``\r`` end one, as in Spark.

Spark's `socketTextStream` reads with Java's `BufferedReader.readLine`: nothing else ends a line (not NUL, U+0085,
U+2028, form feed), an unfinished line is one when the sender ends the connection, and is none when that breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n?|\n")


def count_lines(whole: bytes) -> int:
    r"""Return how many line ends a stretch holds that is not cut inside a ``\r\n``."""
    returns = whole.count(b"\r")
    return whole.count(b"\n") + (returns - whole.count(b"\r\n") if returns else 0)


def stretches(whole: bytes, size: int) -> Iterator[bytes]:
    """Yield whole lines as stretches of whole lines, of at most ``size`` bytes unless a single line is longer."""
    at = 0
    while len(whole) - at > size:
        end = at + last_line_end(whole[at : at + size])
        if end == at:
            found = _LINE_END.search(whole, at)
            end = found.end() if found else len(whole)
        yield whole[at:end]
        at = end
    if at < len(whole):
        yield whole[at:]


class LineCutter:
    r"""Takes the bytes of one connection as they come and hands over stretches of whole lines.

    Every stretch but the empty one ends with a line's end, and a following stretch never begins with the ``\n`` of it.
    So stretches may be put into one file or into several: the lines are the same. Put together they are the bytes
    received, except that an unfinished last line gets a ``\n``, a late ``\n`` may be filled in, and a line above the
    bound is cut.

    Args:
        max_line: Bytes of an unfinished line that are held. A longer one is cut at its last space, which becomes the
            line's end (so words stay whole), or, without a space, between two characters.

    Attributes:
        cuts: How often a line was cut.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._tail = bytearray()  # Behind the last line end that is sure; a \r at its very end is not.
        self._filled_in = False  # The \n of a \r\n was handed over before it came.
        self.cuts = 0

    @property
    def complete(self) -> bool:
        """Whether no line is unfinished."""
        return not self._tail or self._tail.endswith(b"\r")

    def feed(self, chunk: bytes) -> bytes:
        """Take some bytes and return the whole lines there are now, perhaps none."""
        if self._filled_in and chunk:
            self._filled_in = False
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            return b""
        end = last_line_end(chunk)
        if end == 0 and not self._tail.endswith(b"\r"):
            self._tail += chunk
            return self._bounded()
        whole = bytes(self._tail) + chunk[:end]
        self._tail = bytearray(chunk[end:])
        return whole + self._bounded()

    def settle(self) -> bytes:
        r"""Return a line that waits only because its ``\r`` may be half of a ``\r\n``: for when nothing comes.

        It gets its ``\n`` at once, and if that still comes it is left out.
        """
        if not self._tail.endswith(b"\r"):
            return b""
        self._filled_in = True
        return self._take_tail()

    def finish(self) -> bytes:
        """Return the unfinished last line, with an end: the sender said that it was all."""
        self._filled_in = False
        return self._take_tail() if self._tail else b""

    def give_up(self) -> tuple[bytes, int]:
        """Return the last line if it has its end, and how many bytes of an unfinished one are dropped."""
        if self.complete:
            return self.finish(), 0
        dropped = len(self._tail)
        self._tail.clear()
        return b"", dropped

    def _take_tail(self) -> bytes:
        whole = bytes(self._tail) + b"\n"
        self._tail.clear()
        return whole

    def _bounded(self) -> bytes:
        pieces = bytearray()
        while len(self._tail) - self._tail.endswith(b"\r") > self._max_line:
            self.cuts += 1
            space = self._tail.rfind(b" ", 0, self._max_line + 1)
            at = space if space >= 0 else _between_characters(self._tail, self._max_line)
            pieces += self._tail[:at] + b"\n"
            del self._tail[: at + (space >= 0)]
        return bytes(pieces)


def last_line_end(chunk: bytes) -> int:
    r"""Return the position behind the last line end that is one for sure, 0 if there is none; a final ``\r`` is not."""
    return max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, -1)) + 1


def _between_characters(text: bytearray, at: int) -> int:
    """Return a position at most 3 bytes before ``at`` that is not inside a UTF-8 character, else ``at``."""
    for back in range(min(4, at)):
        if text[at - back] & 0xC0 != 0x80:
            return at - back
    return at

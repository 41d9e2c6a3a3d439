"""What readers hand to the kernel: stretches of text, each of one event-time window."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from wordtide.core.model import SplitProof

EARLIEST_MS = 0
"""Timestamps before 1970 (Kafka's -1 is "none") are clamped to it."""


LONGEST_WORD = 5 << 20
"""Bytes without a space that are counted; what has more is no text. Counting holds up to twenty copies of a word, and
what is not UTF-8 has three times as many bytes then."""


@dataclass(frozen=True, slots=True)
class Text:
    """Lines or values of one window, joined by one space each.

    Joining by a space is exact for every tokenizer: a line's end separates words just as a space does. A stretch may
    also begin or end inside a line, at a space that is then in neither stretch.

    Attributes:
        window: Start of the window, microseconds since the epoch.
        text: The bytes; at least one (perhaps empty) line.
    """

    window: int
    text: bytes


Reading = Generator[Text, None, SplitProof]
"""A split being read: yields text, returns the proof."""


def cut_at_spaces(text: bytes, size: int) -> Iterator[bytes]:
    """Yield a text in pieces of about ``size`` bytes, cut at spaces that are then in neither piece.

    A word longer than that makes a longer piece.
    """
    start = 0
    while len(text) - start > size:
        at = text.rfind(b" ", start, start + size)
        if at < 0:
            at = text.find(b" ", start + size)
        if at < 0:
            break
        yield text[start:at]
        start = at + 1
    yield text[start:] if start else text


def holds_longer(text: bytes, longest: int) -> bool:
    """Return whether more than ``longest`` bytes of a text follow each other without a space."""
    start = 0
    while len(text) - start > longest:
        at = text.rfind(b" ", start, start + longest + 1)
        if at < 0:
            return True
        start = at + 1
    return False


def clamp_ms(timestamp_ms: int, latest_ms: int) -> int:
    """Return a believable timestamp: nothing before 1970, nothing after ``latest_ms`` (ms since the epoch)."""
    return min(max(timestamp_ms, EARLIEST_MS), latest_ms)


def window_start(timestamp_ms: int, window_us: int) -> int:
    """Return the start (µs since the epoch) of the window of ``window_us`` µs that holds a timestamp in ms."""
    moment = timestamp_ms * 1000
    return moment - moment % window_us

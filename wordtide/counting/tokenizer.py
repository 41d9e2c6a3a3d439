"""What a word is: three tokenizers, each a rule in plain Python and a fast way to the same result.

The fast way does not split. It rewrites a text so that the one byte 0x20 is its only separator; splitting and counting
is then the same for all three and is the kernel's job. A text is lines (or Kafka values) joined by one space: that
changes no result, because a line's end separates words exactly as a space does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from wordtide.core.text import cut_at_spaces

# The characters str.split() splits on: those of ASCII, and the others as UTF-8, by their first byte.
_ASCII_BLANKS = bytes([*range(0x09, 0x0E), *range(0x1C, 0x21)])
_OTHER_BLANKS = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_BLANK_TABLE = bytes.maketrans(_ASCII_BLANKS, b" " * len(_ASCII_BLANKS))
_BLANK_SEQUENCES: dict[int, list[bytes]] = {}
for _sequence in (blank.encode() for blank in _OTHER_BLANKS):
    _BLANK_SEQUENCES.setdefault(_sequence[0], []).append(_sequence)


def _is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")


# For ASCII texts only: the upper half stays as it is.
_ASCII_WORDS = bytes(ord(c.lower()) if _is_word_character(c) else 0x20 for c in map(chr, range(128)))
_ASCII_WORDS += bytes(range(128, 256))

_SLICE_BYTES = 1 << 20
"""What is not ASCII is rewritten in slices of this size: their copies, up to twenty times as many bytes, are small."""

_PIECE_CHARACTERS = 1 << 20

_SMALL_BYTES = 1 << 14  # up to here decoding costs less than Arrow's validation with its fixed cost


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text ready for the kernel.

    Attributes:
        text: Valid UTF-8 whose only separator is 0x20.
        keep_empty: Whether the empty strings between two separators, and before and after the text's end, are words.
        invalid: How many U+FFFD the decoding of invalid UTF-8 put in (those that were in the source are not counted).
    """

    text: bytes
    keep_empty: bool
    invalid: int


class Tokenizer(StrEnum):
    """The rule that cuts a line into words, by the name it has in `streams.yaml`."""

    SPACE = "space"
    """Exactly `str.split(" ")`, empty strings included."""
    WHITESPACE = "whitespace"
    """Exactly `str.split()`."""
    WORDS = "words"
    """Of `str.lower()`: the longest runs of alphanumeric characters, `_` and combining marks."""

    def normalise(self, text: bytes) -> Normalised:
        """Rewrite a text so that 0x20 is its only separator.

        Args:
            text: One or more lines or values joined by one 0x20 each; any bytes.

        Returns:
            The text as the kernel counts it. Invalid UTF-8 is replaced as `bytes.decode("utf-8", "replace")` does.
        """
        keep_empty = self is Tokenizer.SPACE
        if len(text) <= _SLICE_BYTES or text.isascii() or (self is Tokenizer.SPACE and _is_valid(text)):
            rewritten, invalid = self._rewritten(text)
            return Normalised(rewritten, keep_empty, invalid)
        # A space ends words and invalid sequences alike, so no slice depends on another.
        slices = [self._rewritten(part) for part in cut_at_spaces(text, _SLICE_BYTES)]
        joined = b" ".join(part for part, _ in slices)
        return Normalised(joined, keep_empty, sum(invalid for _, invalid in slices))

    def _rewritten(self, text: bytes) -> tuple[bytes, int]:
        """Return a text as the kernel counts it, and how many U+FFFD the decoding put in."""
        match self:
            case Tokenizer.SPACE:
                return _valid_utf8(text)
            case Tokenizer.WHITESPACE:
                valid, invalid = _valid_utf8(text)
                return _blanks_to_spaces(valid), invalid
            case Tokenizer.WORDS:
                if text.isascii():
                    return text.translate(_ASCII_WORDS), 0
                characters, invalid = _decode(text)
                return _words_to_spaces(characters), invalid


def reference(name: str, line: bytes) -> list[str]:
    """The words of one line, by the rule and without any thought for speed. Tests compare everything else with this.

    Args:
        name: A tokenizer's name.
        line: The bytes of one line or value, without its line end.
    """
    text = line.decode("utf-8", "replace")
    if name == Tokenizer.SPACE:
        return text.split(" ")
    if name == Tokenizer.WHITESPACE:
        return text.split()
    spaced = "".join(c if _is_word_character(c) else " " for c in text.lower())
    return [word for word in spaced.split(" ") if word]


def _valid_utf8(text: bytes) -> tuple[bytes, int]:
    if text.isascii() or (len(text) > _SMALL_BYTES and _is_valid(text)):
        return text, 0
    characters, invalid = _decode(text)
    return characters.encode() if invalid else text, invalid


def _is_valid(text: bytes) -> bool:
    """Whether it is UTF-8. It takes half the time of a decoding, as it builds nothing."""
    offsets = pa.py_buffer(np.array([0, len(text)], np.int64))
    try:
        pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(text)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _decode(text: bytes) -> tuple[str, int]:
    try:
        return text.decode(), 0
    except UnicodeDecodeError:
        characters = text.decode("utf-8", "replace")
        # A U+FFFD of the source survives whatever stands before it: its first byte begins a character everywhere.
        return characters, characters.count("\ufffd") - text.count("\ufffd".encode())


def _blanks_to_spaces(text: bytes) -> bytes:
    spaced = text.translate(_BLANK_TABLE)
    if spaced.isascii():
        return spaced
    characters = np.frombuffer(bytearray(spaced), np.uint8)
    for first, sequences in _BLANK_SEQUENCES.items():
        if first not in spaced:
            continue
        begins = np.flatnonzero(characters == first)
        for sequence in sequences:
            at = begins
            for position, byte in enumerate(sequence[1:], 1):
                at = at[characters[at + position] == byte]
            for position in range(len(sequence)):
                characters[at + position] = 0x20
    return bytes(characters)


def _words_to_spaces(characters: str) -> bytes:
    # Lower-casing is one character to one character, whatever stands beside it, except for these two: a sigma looks at
    # its neighbours, a dotted I becomes two characters. Only then the slow, whole str.lower() is needed.
    if "\u03a3" in characters or "\u0130" in characters:
        return b"".join(map(_lowered_to_spaces, _lowered(characters)))
    return _lowered_to_spaces(characters)


def _lowered(characters: str) -> Iterator[str]:
    """Yield `str.lower()` of a text in pieces: it takes some twenty bytes a character while it runs.

    What a sigma becomes depends on the nearest letters on either side, so pieces end between two letters that have a
    case, and each is lower-cased with the letters around it.
    """
    begin, before = 0, ""
    while begin < len(characters):
        end = min(begin + _PIECE_CHARACTERS, len(characters))
        while end < len(characters) and not (_has_case(characters[end - 1]) and _has_case(characters[end])):
            end += 1
        after = characters[end : end + 1]
        lower = (before + characters[begin:end] + after).lower()
        yield lower[len(before.lower()) : len(lower) - len(after.lower())]
        begin, before = end, characters[end - 1]


def _has_case(character: str) -> bool:
    return unicodedata.category(character) in {"Lu", "Ll", "Lt"}


def _lowered_to_spaces(characters: str) -> bytes:
    wide = characters.encode("utf-16-le")
    if len(wide) == 2 * len(characters):
        narrow: npt.NDArray[np.uint16] = _basic_plane()[np.frombuffer(wide, "<u2")]
        return narrow.tobytes().decode("utf-16-le").encode()
    codes: npt.NDArray[np.uint32] = np.frombuffer(characters.encode("utf-32-le"), "<u4")
    planes = codes >> 16
    mapped = codes.copy()
    for plane in np.unique(planes).tolist():
        chosen = planes == plane
        mapped[chosen] = _plane(plane)[codes[chosen] & 0xFFFF]
    return mapped.tobytes().decode("utf-32-le").encode()


@cache
def _basic_plane() -> npt.NDArray[np.uint16]:
    return _plane(0).astype("<u2")


@cache
def _plane(number: int) -> npt.NDArray[np.uint32]:
    """What each of a Unicode plane's 65,536 code points becomes under `words`: its lower case, or a space."""
    table = np.full(0x10000, 0x20, np.uint32)
    for low in range(0x10000):
        lower = chr((number << 16) + low).lower()
        if len(lower) == 1 and _is_word_character(lower):
            table[low] = ord(lower)
    return table

"""Generated input: Zipf text and distinct ids, with the counts they are known to have. The same at each run."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

WORDS = 500_000
EXPONENT = 1.05
WORDS_A_LINE = 15
_BYTES_A_WORD = 5.345
"""On average, its separator included: a line has 80 bytes with its end."""
_BLOCK_WORDS = 120_000 * WORDS_A_LINE

_LATIN = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]
_CYRILLIC = [consonant + vowel for consonant in "бвгджзклмнпрстфхцчшщ" for vowel in "аеиоу"]

Ints = npt.NDArray[np.int64]


@cache
def vocabulary() -> tuple[str, ...]:
    """Return half a million distinct words, the frequent ones short, every third one Cyrillic."""
    return tuple(_word(rank // 3 if rank % 3 == 2 else rank - rank // 3, rank % 3 == 2) for rank in range(WORDS))


def _word(number: int, cyrillic: bool) -> str:
    syllables = _CYRILLIC if cyrillic else _LATIN
    letters = [syllables[number % len(syllables)]]
    while number := number // len(syllables):
        number -= 1
        letters.append(syllables[number % len(syllables)])
    return "".join(letters)


@dataclass(frozen=True, slots=True)
class Text:
    """A generated text.

    Attributes:
        bytes: Its length.
        lines: Its lines.
        counts: How often each word of `vocabulary` occurs in it.
    """

    bytes: int
    lines: int
    counts: Ints

    def table(self) -> pa.Table:
        """Return (word, count), sorted by word, without words that do not occur."""
        occurs = np.flatnonzero(self.counts)
        words = vocabulary()
        columns = {"word": pa.array([words[rank] for rank in occurs.tolist()]), "count": self.counts[occurs]}
        return pa.table(columns).sort_by("word")


def zipf_blocks(seed: int, words: int) -> Iterator[tuple[bytes, Ints]]:
    """Yield text, each line ended, with the ranks of its words in `vocabulary`; about ``words`` of them in all."""
    random = np.random.default_rng(seed)
    weights = np.arange(1, WORDS + 1, dtype=np.float64) ** -EXPONENT
    cumulated = np.cumsum(weights / weights.sum())
    spaced = pa.array([f"{word} ".encode() for word in vocabulary()])
    for begin in range(0, words, _BLOCK_WORDS):
        size = max(1, min(_BLOCK_WORDS, words - begin) // WORDS_A_LINE) * WORDS_A_LINE
        ranks = np.minimum(np.searchsorted(cumulated, random.random(size)), WORDS - 1)
        chosen = spaced.take(pa.array(ranks))
        ends = np.frombuffer(chosen.buffers()[1], np.int32)[1 : size + 1]
        text = np.frombuffer(chosen.buffers()[2], np.uint8)[: ends[-1]].copy()
        text[ends[WORDS_A_LINE - 1 :: WORDS_A_LINE] - 1] = ord("\n")
        yield text.tobytes(), ranks


def zipf_file(path: Path, seed: int, size: int) -> Text:
    """Write about ``size`` bytes of Zipf text and return what is in it."""
    counts = np.zeros(WORDS, np.int64)
    written = lines = 0
    with path.open("wb") as file:
        for text, ranks in zipf_blocks(seed, round(size / _BYTES_A_WORD)):
            file.write(text)
            counts += np.bincount(ranks, minlength=WORDS)
            written += len(text)
            lines += len(ranks) // WORDS_A_LINE
    return Text(written, lines, counts)


def zipf_lines(seed: int, lines: int) -> list[bytes]:
    """Return so many lines of Zipf text, without their ends."""
    return [line for text, _ in zipf_blocks(seed, lines * WORDS_A_LINE) for line in text.splitlines()]


def distinct_file(path: Path, words: int) -> int:
    """Write so many distinct words of nine characters, ten a line, in no order; return the file's bytes."""
    digits = np.frombuffer((string.digits + string.ascii_lowercase)[:32].encode(), np.uint8)
    with path.open("wb") as file:
        for begin in range(0, words, _BLOCK_WORDS):
            number = np.arange(begin, min(begin + _BLOCK_WORDS, words), dtype=np.uint64)
            # An odd factor permutes the 45-bit numbers, so the words stay distinct.
            number = number * np.uint64(0x9E3779B97F4A7C15) & np.uint64((1 << 45) - 1)
            text = np.full((len(number), 10), ord(" "), np.uint8)
            for place in range(9):
                text[:, place] = digits[(number >> np.uint64(5 * place) & np.uint64(31)).astype(np.int64)]
            text[9::10, 9] = ord("\n")
            text[-1, 9] = ord("\n")
            file.write(text.tobytes())
    return path.stat().st_size

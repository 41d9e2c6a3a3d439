"""Counts a batch in this process: the engine for small batches, and for machines without Java."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from wordtide.core.model import Batch, Counted, Split, SplitProof
from wordtide.core.proofs import merge_proofs
from wordtide.core.source import SplitReader
from wordtide.counting.accumulate import Accumulator
from wordtide.counting.kernel import count_words
from wordtide.counting.tokenizer import Tokenizer
from wordtide.storage import Storage
from wordtide.table.files import write_counts


@dataclass(frozen=True, slots=True)
class Target:
    """Where an engine writes count files; plain values, so it ships to Spark executors."""

    storage: Storage
    root: str
    number: int
    attempt: str
    day: date

    @classmethod
    def of(cls, batch: Batch, storage: Storage, root: str) -> Target:
        """Return the target of one attempt."""
        return cls(storage, root, batch.number, batch.attempt, batch.planned_at.date())


@dataclass(frozen=True, slots=True)
class Tally:
    """What reading and counting some splits showed, beside the counts.

    Attributes:
        proofs: One for each split.
        invalid: U+FFFD characters that stand for invalid UTF-8.
        read_seconds: Time spent in the reader.
        count_seconds: Time spent in tokenizer and kernel.
    """

    proofs: tuple[SplitProof, ...]
    invalid: int
    read_seconds: float
    count_seconds: float


def count_splits(reader: SplitReader, splits: Sequence[Split], tokenizer: Tokenizer, counts: Accumulator) -> Tally:
    """Read splits and add their words to ``counts``: the one loop that both engines run."""
    clock = time.monotonic
    reading = counting = 0.0
    invalid = 0
    stretches = reader.read(splits)
    while True:
        started = clock()
        try:
            stretch = next(stretches)
        except StopIteration as end:
            return Tally(end.value, invalid, reading + clock() - started, counting)
        arrived = clock()
        normal = tokenizer.normalise(stretch.text)
        invalid += normal.invalid
        for counted in count_words(normal.text, normal.keep_empty):
            counts.add(stretch.window, counted)
        reading += arrived - started
        counting += clock() - arrived


class LocalEngine:
    """Reads, counts and writes in one thread with memory that does not grow with the batch."""

    name = "local"

    def count(
        self,
        batch: Batch,
        reader: SplitReader,
        tokenizer: Tokenizer,
        target: Target,
        after_read: Callable[[], None],
    ) -> Counted:
        """Count a batch's splits and write its count files.

        Args:
            batch: What to read.
            reader: Reads its splits.
            tokenizer: How lines become words.
            target: Where the files go.
            after_read: Called when everything is read and before anything is written.
        """
        with Accumulator() as counts:
            tally = count_splits(reader, batch.splits, tokenizer, counts)
            after_read()
            started = time.monotonic()
            files = tuple(
                write_counts(target.storage, target.root, target.number, target.attempt, target.day, counts.result())
            )
            return Counted(
                files,
                merge_proofs(batch.splits, tally.proofs),
                counts.words,
                counts.distinct,
                tally.invalid,
                self.name,
                {
                    "read": tally.read_seconds,
                    "count": tally.count_seconds,
                    "write": time.monotonic() - started,
                },
            )

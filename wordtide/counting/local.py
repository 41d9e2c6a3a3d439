"""Counts a batch in this process: the engine for small batches, and for machines without Java."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from wordtide.batch import Batch, Counted
from wordtide.counting.accumulate import Accumulator
from wordtide.counting.kernel import count_words
from wordtide.counting.tokenizer import Tokenizer
from wordtide.sources.base import SplitReader
from wordtide.storage import Storage
from wordtide.table.files import write_counts
from wordtide.table.ledger import merge_proofs


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
        clock = time.monotonic
        reading = counting = 0.0
        invalid = 0
        with Accumulator() as counts:
            started = clock()
            stretches = reader.read(batch.splits)
            while True:
                try:
                    stretch = next(stretches)
                except StopIteration as end:
                    proofs = end.value
                    break
                read_until = clock()
                reading += read_until - started
                normal = tokenizer.normalise(stretch.text)
                invalid += normal.invalid
                counts.add(stretch.window, count_words(normal.text, normal.keep_empty))
                started = clock()
                counting += started - read_until
            reading += clock() - started
            after_read()
            started = clock()
            files = tuple(
                write_counts(
                    target.storage,
                    target.root,
                    target.number,
                    target.attempt,
                    target.day,
                    counts.result(),
                )
            )
            return Counted(
                files,
                merge_proofs(batch.splits, proofs),
                counts.words,
                counts.distinct,
                invalid,
                self.name,
                {"read": reading, "count": counting, "write": clock() - started},
            )

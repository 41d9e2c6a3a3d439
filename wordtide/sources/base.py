"""What the drain asks of a source, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from wordtide.batch import Founding, Parked, Split, SplitProof, Transaction
from wordtide.reading.files import CorruptFile, NotReady
from wordtide.reading.text import Text
from wordtide.table.ledger import Ledger

Position = Callable[[str], int | None]
"""Returns the version of a Delta ``txn`` id at the version a plan is made from, or None."""


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What a source offers the next batch.

    Attributes:
        splits: What to read.
        transactions: The compare-and-set pairs of the splits, the batch number's not included.
        parked: What is to be recorded as waiting for a decision.
        backlog: Records or files beyond the splits.
        waiting: Files that are too young or unfinished to be taken.
        behind: Caps left some out: plan again at once.
        position: What the table will have taken with the splits, as one line: `partition:next offset …`, or files.
    """

    splits: tuple[Split, ...]
    transactions: tuple[Transaction, ...]
    parked: tuple[Parked, ...]
    backlog: int
    waiting: int
    behind: bool
    position: str


class SplitReader(Protocol):
    """Reads splits; ships to Spark executors, so it holds plain values only."""

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the text of all splits and return one proof for each, in their order."""

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the splits divided among about ``tasks`` parallel readers."""


class Source(Protocol):
    """A topic or a landing folder."""

    def found(self) -> Founding:
        """Resolve the first position, once in a stream's life."""

    def fix_ends(self) -> None:
        """Leave alone, from now on, what arrives later: a run by hand takes what was there at its start."""

    def plan(self, ledger: Ledger, position: Position) -> SourcePlan:
        """Look at the source and plan from what the table recorded."""

    def reader(self, latest_ms: int) -> SplitReader:
        """Return the reader; later timestamps than ``latest_ms`` are absurd and clamped to it."""

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove after the last read that the source is still the one the plan saw; else raise PlanAgain."""

    def reject(self, problem: CorruptFile | NotReady) -> None:
        """Have the next plan settle files that could not be read as planned: park them, or look twice."""

    def close(self) -> None:
        """Close connections."""

"""What the drain asks of a source, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from wordtide.config import StreamConfig
from wordtide.core.left_out import NOTHING_LEFT_OUT, LeftOut
from wordtide.core.model import Batch, Counted, Founding, Parked, Split, SplitProof, Stop, Transaction
from wordtide.core.position import Position
from wordtide.core.problems import ReadFailed, WordtideError
from wordtide.core.quarantine import Quarantine
from wordtide.core.stalls import Held
from wordtide.core.text import Text
from wordtide.table.ledger import Ledger

Stored = Callable[[str], int | None]
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
        position: What the table will have taken with the splits.
        taken: What it has taken without them.
        held: What cannot move at this moment and will go on by itself.
        bytes: Of all complete files, the splits' included; 0 for a topic.
        settled: Files that were in doubt and are what was counted, to be recorded as such.
        away: Counted files that are out of the landing folder, to be recorded as put away.
        doubtful: Files whose content has to be read before they are planned, each with why: `tidy` does that.
        due: Monotonic seconds at which the first of the files that are too young may be complete.
        ripe: How many of them are not too young by their mtime and our clock: a run has only to see them once more.
        retried: The splits are files that are recorded as unreadable and tried again.
        reread: Files recorded as unreadable are among those that `tidy` reads.
        left_out: What the glob of a folder wants and nobody takes.
    """

    splits: tuple[Split, ...]
    transactions: tuple[Transaction, ...]
    parked: tuple[Parked, ...]
    backlog: int
    waiting: int
    behind: bool
    position: Position
    taken: Position
    held: tuple[Held, ...] = ()
    bytes: int = 0
    settled: tuple[Parked, ...] = ()
    away: tuple[Parked, ...] = ()
    doubtful: tuple[str, ...] = ()
    due: float | None = None
    ripe: int = 0
    retried: bool = False
    reread: bool = False
    left_out: LeftOut = NOTHING_LEFT_OUT

    @property
    def unconfirmed(self) -> tuple[Parked, ...]:
        """What is to be recorded once a second poll shows it too: lost, or tried and unreadable. A run waits for it."""
        return (*self.parked, *(one.parked for one in self.held if one.after is not None and not one.recorded))


class SplitReader(Protocol):
    """Reads splits; ships to Spark executors, so it holds plain values only."""

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the text of all splits and return one proof for each, in their order."""

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the splits divided among about ``tasks`` parallel readers."""

    def settle(self, splits: Sequence[Split], pieces: Sequence[SplitProof]) -> None:
        """Accept what parallel readers counted of a batch's splits, all of it; raise ReadFailed if it is not whole."""


class Look(Protocol):
    """What a source showed at one moment."""

    def plan(self, ledger: Ledger, stored: Stored) -> SourcePlan:
        """Plan from it and from what the table recorded; of a table newer than the look, believe nothing parked."""


class Source(Protocol):
    """A topic or a landing folder. One thread at a time."""

    def found(self) -> Founding:
        """Resolve the first position, once in a stream's life."""

    def fix_ends(self) -> None:
        """Leave alone, from now on, what arrives later: a run by hand takes what was there at its start."""

    def look(self) -> Look:
        """Look at what the source offers now."""

    def reader(self, latest_ms: int, *, whole: bool = False) -> SplitReader:
        """Return the reader.

        Args:
            latest_ms: Later timestamps (ms since the epoch) are absurd and clamped to it.
            whole: Put nothing aside, whatever the stream's quarantine asks for.
        """

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove after the last read that the source is still the one the plan saw; else raise PlanAgain."""

    def reject(self, problem: ReadFailed) -> None:
        """Have the next plan settle what could not be read as planned: park it, look twice, or take the rest first."""

    def tidy(self, ledger: Ledger) -> tuple[bool, WordtideError | None]:
        """Read some of what the last plan found doubtful, and put away some of what the table has taken, if asked for.

        Idempotent; the ledger decides.

        Returns:
            Whether another plan at once is worth it, and what keeps some of it from being done, if anything does.
        """

    def close(self) -> None:
        """Close connections."""


@runtime_checkable
class EndsEarly(Protocol):
    """A source whose readers may end before a split does (`SplitProof.stop`): the batch then takes what was read."""

    def shortened(self, batch: Batch, counted: Counted) -> tuple[Batch, Counted]:
        """Return a batch without what was not read of it, and what was counted without the splits that have nothing."""

    def ended_early(self, stops: Sequence[Stop]) -> ReadFailed:
        """Return the problem that says where and why reading ended, for `reject`."""


def quarantine_of(config: StreamConfig) -> Quarantine:
    """Return what a stream's configuration puts aside."""
    return Quarantine(config.quarantine.undecodable, config.quarantine.larger_than)

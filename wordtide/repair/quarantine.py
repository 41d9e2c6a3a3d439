"""Records that were put aside: listed from the ledger, and read again from where they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deltalake import DeltaTable

from wordtide.core.model import Aside, FileSplit, KafkaSplit, Taken
from wordtide.core.problems import DecisionRefused, PlanAgain
from wordtide.core.source import Source
from wordtide.repair.recount import Published, find_published
from wordtide.sources.files.source import LandingFolder
from wordtide.sources.kafka.source import KafkaTopic
from wordtide.table.ledger import Ledger


def batches_with_quarantined(handle: DeltaTable) -> list[Published]:
    """Return the batches that still have records put aside, oldest first."""
    return [one for one in find_published(handle, lambda row: bool(row.quarantined)) if one.aside]


def contents(source: Source, ledger: Ledger, published: Published) -> Iterator[tuple[Aside, bytes]]:
    """Yield each record that a batch put aside, with its bytes (of a line its end, too).

    Raises:
        DecisionRefused: The topic is another one by now, or the record or its file is no longer held.
    """
    if published.number < ledger.identity_since:
        raise DecisionRefused(f"batch {published.number} was read from a topic that is gone")
    for aside in published.aside:
        try:
            if isinstance(aside.split, KafkaSplit) and isinstance(source, KafkaTopic):
                yield aside, b"".join(source.reader(0, whole=True).values(aside.split))
            elif isinstance(aside.split, FileSplit) and isinstance(source, LandingFolder):
                yield aside, _line(source, ledger, aside.split)
        except PlanAgain as problem:
            raise DecisionRefused(f"{aside.split.what}: cannot be read any more: {problem}") from None


def _line(source: LandingFolder, ledger: Ledger, line: FileSplit) -> bytes:
    """Return a line's bytes, from where its file is: in place, with another time perhaps, or in the archive."""
    known = ledger.files.get(line.path)
    kept = known is not None and _is_same(known, line)
    now = source.as_it_is(line, ledger, freed=not kept)
    if known is not None and kept and (now.length, now.mtime) not in {known[:2], (line.length, line.mtime)}:
        raise DecisionRefused(f"{now.path} has been replaced; resolve or replay it first")
    return source.reader(0, whole=True).line(replace(now, start=line.start, end=line.end))


def _is_same(known: Taken, line: FileSplit) -> bool:
    """Return whether what the ledger has under a line's path is its file: a name that was put away is used again."""
    if None in (known.digest, line.digest):
        return known[:2] == (line.length, line.mtime)
    return (known.length, known.digest) == (line.length, line.digest)

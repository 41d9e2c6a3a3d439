"""Records that were put aside: listed from the ledger, and read again from where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deltalake import DeltaTable

from wordtide.batch import Aside, FileSplit, KafkaSplit
from wordtide.errors import DecisionRefused, PlanAgain
from wordtide.repair.recount import Published, find_published
from wordtide.sources.base import Source
from wordtide.sources.kafka import KafkaTopic
from wordtide.sources.landing import LandingFolder
from wordtide.table.ledger import Ledger


def batches_with_quarantined(handle: DeltaTable) -> list[Published]:
    """Return the batches that still have records put aside, oldest first."""

    def held_some(row: Mapping[str, Any]) -> bool:
        return bool(row["quarantined"])

    return [published for published in find_published(handle, held_some) if published.aside]


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
                now = source.as_it_is(aside.split)
                if (now.length, now.mtime) != (aside.split.length, aside.split.mtime):
                    raise DecisionRefused(f"{now.path} is another file by now; resolve or replay that first")
                yield aside, source.reader(0, whole=True).line(aside.split)
        except PlanAgain as problem:
            raise DecisionRefused(f"{aside.split.what}: cannot be read any more: {problem}") from None

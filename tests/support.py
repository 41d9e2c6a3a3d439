"""What several tests need, from the fault kit: streams on the session's servers, and what a table says.

Nothing here computes an expectation with the code under test: words are expected by `str.split` and `Counter`.
"""

from __future__ import annotations

import random

from hdfs_native import Client, FileWriter

from wordtide.config import Stream
from wordtide.core.model import Committed, Decision, Verdict
from wordtide.repair.resolve import resolve
from wordtide.testing.ledger import (
    assert_contiguous,
    assert_no_orphan_visible,
    assert_numbered,
    rows_in,
    words_in,
    words_of,
)
from wordtide.testing.place import Place, topic_of
from wordtide.testing.topics import add_partitions, commit_offsets, create_topic, delete_records, delete_topic, produce
from wordtide.testing.waiting import SECONDS, unique, wait_until

__all__ = [
    "SECONDS",
    "Place",
    "add_partitions",
    "assert_contiguous",
    "assert_no_orphan_visible",
    "assert_numbered",
    "commit_offsets",
    "create_topic",
    "decide",
    "delete_records",
    "delete_topic",
    "open_to_append",
    "produce",
    "replace",
    "rows_in",
    "some_lines",
    "topic_of",
    "unique",
    "wait_until",
    "words_in",
    "words_of",
]


def some_lines(count: int, seed: int = 1, words: int = 400) -> list[str]:
    """Return lines of a few words each, some of them empty, some not ASCII."""
    chance = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(words)] + ["größer", "İstanbul", "東京", "🌊", "é", "e\u0301"]
    return [" ".join(chance.choices(vocabulary, k=chance.randrange(9))) for _ in range(count)]


def decide(place: Place, stream: Stream, what: str, verdict: str) -> Committed:
    """Decide about what is parked, as `wordtide resolve` does."""
    source = place.source(stream)
    try:
        return resolve(stream, source, place.table(stream), what, Decision(Verdict(verdict), "ann", "checked"))
    finally:
        source.close()


def replace(place: Place, stream: Stream, name: str, content: bytes) -> None:
    """Put another file under a landed file's name."""
    storage, root = place.landing(stream)
    storage.delete(f"{root}/{name}")
    place.land(stream, name, content)


def open_to_append(client: Client, path: str) -> FileWriter:
    """Open an HDFS file for more; one closed a moment ago may still be waiting for its last replica's report."""

    def opened() -> FileWriter | None:
        try:
            return client.append(path)
        except RuntimeError as error:
            if "not yet COMPLETE" not in str(error):
                raise
            return None

    writer: FileWriter = wait_until(f"{path} can be appended to", opened)
    return writer

"""What waits to be counted: looked at by sensors and by `wordtide lag`, without taking or founding anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wordtide.config import Stream
from wordtide.connection import KafkaConnection
from wordtide.errors import TableRefused
from wordtide.storage import HdfsAddress
from wordtide.table.commit import WordCounts
from wordtide.table.ledger import Ledger
from wordtide.wiring import open_source

_known: dict[str, Ledger] = {}
"""Ledgers by table, so that a tick reads only what is new. A hint: `snapshot` checks it against the table."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a stream's source offers beyond its table.

    Attributes:
        founded: Whether there is a table; if not, a drain must found it (`start: latest` is resolved then).
        something: Whether a batch could be taken, or a loss or a stall recorded.
        unfinished: Files that are too young or still being written.
    """

    founded: bool
    something: bool
    unfinished: int


def look(
    stream: Stream,
    table: WordCounts,
    kafka: Callable[[], KafkaConnection],
    hdfs: Callable[[], HdfsAddress | None],
) -> Waiting:
    """Return what waits for a stream.

    Raises:
        WordtideError: The source or the table cannot be looked at.
    """
    try:
        snapshot = table.snapshot(_known.get(table.uri))
    except TableRefused:
        # What is remembered may be what is wrong: the next look reads the ledger afresh.
        _known.pop(table.uri, None)
        raise
    source = open_source(stream, kafka() if stream.config.kafka else None, hdfs())
    try:
        if snapshot is None:
            # Looked at all the same: a run that could not found the table would only fail, every few seconds.
            source.found()
            return Waiting(founded=False, something=True, unfinished=0)
        _known[table.uri] = snapshot.ledger
        plan = source.look().plan(snapshot.ledger, snapshot.position)
    finally:
        source.close()
    # What is held is watched by a run, which records it if it lasts.
    unrecorded = any(not one.recorded for one in plan.held)
    return Waiting(True, bool(plan.splits or plan.parked or unrecorded), plan.waiting)

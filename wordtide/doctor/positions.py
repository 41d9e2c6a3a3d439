"""Whether a drain can read a topic on: what lies at the table's positions is tried, as a drain reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wordtide.config import Stream
from wordtide.core.model import KafkaSplit
from wordtide.core.source import Stored
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.damage import Answer, Outcome, answers_at
from wordtide.sources.kafka.source import KafkaTopic, founding_at, identity_of
from wordtide.status.lag import lines_of
from wordtide.table.ledger import Ledger
from wordtide.wiring import open_table

READ_SECONDS = 3.0
"""For the checksums of a topic, and once more for decoding what comes first."""
READ_BYTES = 256 << 10
"""Of each partition, whose checksums are checked; all that is decoded of it is what comes first."""


@dataclass(frozen=True, slots=True)
class AtPosition:
    """What a drain would find where a table's positions are.

    Attributes:
        unreadable: A line for each partition that cannot be read on, and is not parked.
        parked: A line for what is parked already.
    """

    unreadable: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()


def read_at_position(stream: Stream, connection: KafkaConnection) -> AtPosition:
    """Read a little of a topic at its table's positions, or where its first batch will start. Nothing is committed.

    Raises:
        WordtideError: Topic or table cannot be looked at.
    """
    snapshot = open_table(stream).snapshot()
    topic = KafkaTopic(stream, connection)
    try:
        look = topic.look()
        stored: Stored
        if snapshot is not None:
            ledger, stored = snapshot.ledger, snapshot.position
            if look.seen.identity != identity_of(ledger):
                # Said by the topic's line.
                return AtPosition()
        else:
            founding = founding_at(look.seen.identity, topic.starts(look.seen))
            starts = {one.app_id: one.after for one in founding.transactions}
            ledger, stored = Ledger("", identity=founding.identity), lambda app_id: starts.get(app_id)
        plan = look.plan(ledger, stored)
        ranges = [split for split in plan.splits if isinstance(split, KafkaSplit)]
        answers = answers_at(topic.reader(0), ranges, READ_SECONDS, READ_BYTES) if ranges else {}
    finally:
        topic.close()
    waiting = [f"{what}: {one.reason}" for what, one in sorted(ledger.parked.items())]
    lost = [f"{one.what}: {one.reason}" for one in plan.parked]
    return AtPosition((*lost, *unreadable(ranges, answers)), tuple(waiting))


def unreadable(ranges: list[KafkaSplit], answers: Mapping[int, Answer]) -> list[str]:
    """Return a line for each range of which what was tried cannot be read."""
    lines = []
    for where in ranges:
        answer = answers[where.partition]
        if answer.outcome is Outcome.DAMAGED:
            lines.append(f"{where.what} from offset {max(where.start, answer.offset)}: {answer.reason}")
        elif answer.outcome is Outcome.SILENT:
            said = answer.reason or f"nothing arrives within {READ_SECONDS:.0f} s, and no error"
            lines.append(f"{where.what} from offset {where.start}: {said}")
    return lines


def advice(stream: Stream, found: AtPosition) -> str:
    """Return what to do about it."""
    return (
        f"the next drain parks what is damaged and counts the rest; then wordtide parked {stream.name} shows it, and"
        f" wordtide resolve {stream.name} TOPIC/PARTITION --as skip goes on behind it, --as recount tries it again"
        if found.unreadable
        else f"wordtide resolve {stream.name} TOPIC/PARTITION --as skip goes on behind it, --as recount tries it again"
    )


def described(found: AtPosition) -> str:
    """Return what cannot be read, as one line."""
    noun = "1 partition" if len(found.unreadable) == 1 else f"{len(found.unreadable):,} partitions"
    return f"{noun} cannot be read on, the rest flows: {lines_of(list(found.unreadable))}"

"""Founds a stream's table where a consumer group stopped: batch 0, by the same commit as any other founding."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from wordtide.config import Stream
from wordtide.core.model import Decision, Verdict
from wordtide.core.problems import DecisionRefused
from wordtide.core.source import Source
from wordtide.sources.kafka.first_position import FirstPosition, GroupOffsets, first_positions
from wordtide.sources.kafka.plan import TopicIdentity
from wordtide.sources.kafka.source import KafkaTopic, founding_at
from wordtide.table.commit import WordCounts


def look_at_group(
    stream: Stream, source: Source, table: WordCounts, group: str
) -> tuple[TopicIdentity, GroupOffsets, tuple[FirstPosition, ...]]:
    """Return the topic, what the group has committed, and where each partition would begin.

    Raises:
        DecisionRefused: The stream has begun or reads no topic, or what the group has committed is no position of it.
        WordtideError: Broker or table cannot be reached.
    """
    if not isinstance(source, KafkaTopic) or stream.config.kafka is None:
        raise DecisionRefused(f"stream {stream.name} reads a folder; consumer groups have offsets of topics only")
    if table.open() is not None:
        raise _begun(stream, table, "already")
    seen = source.snapshot()
    committed = source.committed(group)
    where = f"stream {stream.name}"
    return seen.identity, committed, first_positions(committed, seen, source.starts(seen), where)


def begin_at(
    stream: Stream,
    table: WordCounts,
    topic: TopicIdentity,
    positions: Sequence[FirstPosition],
    group: str,
    by: Decision,
) -> None:
    """Found the table at these positions; batch 0 says who took them from where.

    Raises:
        DecisionRefused: Somebody else founded it meanwhile.
        WordtideError: The table's file system does not answer.
    """
    attempt = uuid.uuid4().hex
    origin = describe(positions, group, str(stream.config.kafka.start) if stream.config.kafka else "")
    decision = Decision(Verdict.IMPORT, by.who, f"{origin}; {by.why}" if by.why else origin)
    starts = {one.partition: one.position for one in positions}
    # To lose the race is no error of `found`: a drain takes whatever table there is. Here the positions are the point.
    if not table.found(founding_at(topic, starts, decision), attempt, by.who):
        raise _begun(stream, table, "by somebody else at this moment")


def describe(positions: Sequence[FirstPosition], group: str, start: str) -> str:
    """Return where the positions come from, as one line."""
    others = [str(one.partition) for one in positions if not one.committed]
    rest = f"; by kafka.start ({start}): partition {', '.join(others)}" if others else ""
    return f"offsets of consumer group {group}{rest}"


def _begun(stream: Stream, table: WordCounts, how: str) -> DecisionRefused:
    return DecisionRefused(
        f"stream {stream.name}: its table {table.uri} is founded {how}, and a first position is taken once; name a new"
        " stream"
    )

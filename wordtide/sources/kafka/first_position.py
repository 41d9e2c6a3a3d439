"""Where a stream begins that goes on where a consumer group stopped. Pure: what the broker says in, positions out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from wordtide.core.problems import DecisionRefused
from wordtide.sources.kafka.plan import PartitionRange, TopicSnapshot


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """What a consumer group has committed.

    Attributes:
        group: Its name.
        offsets: Next offset by partition of the stream's topic; partitions without a commit are not in it.
        others: Other topics that it has committed offsets of.
        at_work: Whether it has members, which go on committing.
    """

    group: str
    offsets: Mapping[int, int]
    others: Collection[str] = ()
    at_work: bool = False


@dataclass(frozen=True, slots=True)
class FirstPosition:
    """Where one partition begins.

    Attributes:
        partition: Which.
        position: The first offset that will be counted.
        end: Where it ended when this was asked.
        committed: Whether the group said so; if not, ``kafka.start`` did.
    """

    partition: int
    position: int
    end: int
    committed: bool


def first_positions(
    group: GroupOffsets, seen: TopicSnapshot, starts: Mapping[int, int], where: str
) -> tuple[FirstPosition, ...]:
    """Return where each partition begins: at what the group has committed, else where the stream starts.

    Args:
        group: The group.
        seen: The topic, all of it.
        starts: What ``kafka.start`` says, by partition.
        where: Names the broker, for people.

    Raises:
        DecisionRefused: The group has nothing of this topic, or an offset that the topic does not hold.
    """
    topic = seen.identity.topic
    if not group.offsets:
        raise DecisionRefused(f"{where}: consumer group {group.group!r} {_nothing(group, topic)}")
    for partition, offset in sorted(group.offsets.items()):
        what = f"{where}: consumer group {group.group!r} has committed offset {offset} of {topic}/{partition}"
        offered = seen.partitions.get(partition)
        if offered is None:
            raise DecisionRefused(
                f"{what}, and the topic has no such partition: it is not the topic that was committed; create the"
                " stream without the group, or reset the group"
            )
        if not offered.begin <= offset <= offered.end:
            raise DecisionRefused(f"{what}, which holds [{offered.begin}, {offered.end}]: {_advice(offset, offered)}")
    return tuple(
        FirstPosition(p, group.offsets.get(p, starts[p]), offered.end, p in group.offsets)
        for p, offered in sorted(seen.partitions.items())
    )


def _nothing(group: GroupOffsets, topic: str) -> str:
    if not group.others:
        return "has committed nothing, or there is none of that name; kafka-consumer-groups.sh --list shows them"
    named = ", ".join(sorted(group.others)[:3]) + (" …" if len(group.others) > 3 else "")
    return f"has committed nothing of topic {topic}, only of {named}; is it the group of this stream?"


def _advice(offset: int, offered: PartitionRange) -> str:
    if offset < offered.begin:
        return "retention took what comes next; reset the group to what is to be the first, or begin without it"
    if offset <= offered.high:
        return "a transaction is open before it; try again when that has ended"
    return "it is not the topic that was committed, or it was cut off; reset the group, or begin without it"

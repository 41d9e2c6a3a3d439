"""Which offsets the next batch takes. Pure: a snapshot of the topic and what the table recorded in, a plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wordtide.batch import KafkaSplit, Parked


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """What a position belongs to: a name alone may be another topic tomorrow."""

    cluster_id: str
    topic_id: str
    topic: str

    def app_id(self, partition: int) -> str:
        """Return the Delta ``txn`` id that holds the next offset of a partition."""
        return f"kafka/{self.cluster_id}/{self.topic_id}/{partition}"


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """The offsets a partition offers: ``[begin, end)``; ``end`` is the LSO under read_committed."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """One look at a topic."""

    identity: TopicIdentity
    partitions: Mapping[int, PartitionRange]


@dataclass(frozen=True, slots=True)
class KafkaPlan:
    """What to take, what to park, and how many records wait beyond it."""

    splits: tuple[KafkaSplit, ...]
    parked: tuple[Parked, ...]
    backlog: int

    @property
    def behind(self) -> bool:
        """Whether the caps left records out that could have been taken."""
        return self.backlog > 0


def plan_kafka(
    snapshot: TopicSnapshot,
    founded: TopicIdentity,
    positions: Mapping[int, int],
    parked: frozenset[str],
    max_records: int,
    bound: Mapping[int, int] | None = None,
) -> KafkaPlan:
    """Plan the next batch of a topic.

    Args:
        snapshot: The topic now.
        founded: The identity that the table's positions belong to.
        positions: Next offset by partition; a partition not in it is new and starts at 0.
        parked: Names of what already waits for a decision: a topic or ``topic/partition``.
        max_records: Cap of the batch, in offsets.
        bound: Ends by partition that a run by hand has fixed; partitions not in it are left alone.
    """
    topic = founded.topic
    if topic in parked:
        return KafkaPlan((), (), 0)
    if snapshot.identity != founded:
        recreated = (
            f"topic recreated: positions belong to topic id {founded.topic_id}, this is {snapshot.identity.topic_id}"
        )
        return KafkaPlan((), (Parked(topic, recreated),), 0)
    lost: list[Parked] = []
    available: list[KafkaSplit] = []
    for partition, offered in sorted(snapshot.partitions.items()):
        start = positions.get(partition, 0)
        split = KafkaSplit(topic, partition, start, offered.end)
        if split.what in parked:
            continue
        if offered.begin > start:
            reason = f"retention passed the position: offsets [{start}, {offered.begin}) are lost"
            lost.append(Parked(split.what, reason, KafkaSplit(topic, partition, start, offered.begin)))
        elif offered.end < start:
            reason = (
                f"the partition ends at {offered.end}, before the position {start}: "
                f"offsets [{offered.end}, {start}) were counted and are gone"
            )
            lost.append(Parked(split.what, reason, KafkaSplit(topic, partition, offered.end, start)))
        else:
            end = offered.end if bound is None else min(offered.end, bound.get(partition, start))
            if end > start:
                available.append(KafkaSplit(topic, partition, start, end))
    sizes = [split.end - split.start for split in available]
    shares = fair_shares(sizes, max_records)
    taken = tuple(
        KafkaSplit(split.topic, split.partition, split.start, split.start + share)
        for split, share in zip(available, shares, strict=True)
        if share
    )
    return KafkaPlan(taken, tuple(lost), sum(sizes) - sum(shares))


def fair_shares(sizes: Sequence[int], cap: int) -> list[int]:
    """Return how much of each size to take so that the sum is at most ``cap`` and the small ones come first.

    Max-min fairness (water filling): nobody gets more than another who still wants some; what the small leave
    over is shared by the large.
    """
    shares = [0] * len(sizes)
    left = cap
    waiting = sorted(range(len(sizes)), key=lambda index: (sizes[index], index))
    for position, index in enumerate(waiting):
        shares[index] = min(sizes[index], left // (len(waiting) - position))
        left -= shares[index]
    return shares


def cut(split: KafkaSplit, records: int) -> list[KafkaSplit]:
    """Return the split in pieces of at most ``records`` offsets, for parallel readers."""
    edges = [*range(split.start, split.end, records), split.end]
    return [KafkaSplit(split.topic, split.partition, start, end) for start, end in pairwise(edges)]

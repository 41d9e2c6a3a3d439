"""Which offsets the next batch takes. Pure: a snapshot of the topic and what the table recorded in, a plan out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wordtide.core.model import Batch, Counted, KafkaSplit, Parked, SplitProof, Transaction
from wordtide.core.position import Offsets
from wordtide.core.stalls import Held


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
    """The offsets a partition offers: ``[begin, end)``.

    Attributes:
        begin: The first that is still there.
        end: What can be taken ends before it: the LSO under read_committed.
        high: What is written ends before it; beyond ``end`` while a transaction is open. 0 where it was not asked.
    """

    begin: int
    end: int
    high: int = 0


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """One look at a topic.

    Attributes:
        identity: Whose positions it speaks of.
        partitions: Those that answered.
        silent: The others, each with why.
    """

    identity: TopicIdentity
    partitions: Mapping[int, PartitionRange]
    silent: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """What a run knows of a topic beside its offsets and the table's positions.

    Attributes:
        parked: Names of what already waits for a decision: a topic or ``topic/partition``.
        stalled: Offset at which the ledger recorded a partition as stalled, by name.
        bound: Ends by partition that a run by hand has fixed; partitions not in it are left alone.
        gaps: ``[start, end)`` by partition of the first offsets without a record, where those are to be parked.
        left_out: Partitions that gave nothing when they were read a moment ago, each with why.
        damaged: By partition what of it cannot be decoded, as it is to be parked.
        fitting: Ends by partition of what fits a batch, where more was found not to.
    """

    parked: Collection[str] = ()
    stalled: Mapping[str, int] = field(default_factory=dict)
    bound: Mapping[int, int] | None = None
    gaps: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    left_out: Mapping[int, str] = field(default_factory=dict)
    damaged: Mapping[int, Parked] = field(default_factory=dict)
    fitting: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KafkaPlan:
    """What to take, what to park, how many records wait beyond it, and what cannot move at this moment."""

    splits: tuple[KafkaSplit, ...]
    parked: tuple[Parked, ...]
    backlog: int
    held: tuple[Held, ...] = ()

    @property
    def behind(self) -> bool:
        """Whether the caps left records out that could have been taken."""
        return self.backlog > 0


def plan_kafka(
    snapshot: TopicSnapshot,
    founded: TopicIdentity,
    positions: Mapping[int, int],
    max_records: int,
    known: Known = Known(),
) -> KafkaPlan:
    """Plan the next batch of a topic.

    Args:
        snapshot: The topic now.
        founded: The identity that the table's positions belong to.
        positions: Next offset by partition; a partition not in it is new and starts at 0.
        max_records: Cap of the batch, in offsets.
        known: What else matters.
    """
    topic = founded.topic
    if topic in known.parked:
        return KafkaPlan((), (), 0)
    if snapshot.identity != founded:
        return KafkaPlan((), (Parked(topic, _other(snapshot.identity, founded)),), 0)
    lost: list[Parked] = []
    held: list[Held] = []
    available: list[KafkaSplit] = []
    for partition in sorted({*snapshot.partitions, *snapshot.silent}):
        start = positions.get(partition, 0)
        here = KafkaSplit(topic, partition, start, start)
        if here.what in known.parked:
            continue
        offered = snapshot.partitions.get(partition)
        loss = _loss(here, offered, known) if offered is not None else None
        if loss is not None:
            lost.append(loss)
            continue
        split = KafkaSplit(topic, partition, start, _takeable_end(start, partition, offered, known))
        stop = _held(split, offered, snapshot.silent.get(partition) or known.left_out.get(partition), known)
        if stop is not None:
            held.append(stop)
        elif split.end > start:
            available.append(split)
    sizes = [split.end - split.start for split in available]
    shares = fair_shares(sizes, max_records)
    taken = tuple(
        KafkaSplit(split.topic, split.partition, split.start, split.start + share)
        for split, share in zip(available, shares, strict=True)
        if share
    )
    return KafkaPlan(taken, tuple(lost), sum(sizes) - sum(shares), tuple(held))


def _loss(here: KafkaSplit, offered: PartitionRange, known: Known) -> Parked | None:
    """Return what keeps a partition from going on at its position for good."""
    start = here.start
    if offered.begin > start:
        reason = f"retention passed the position: offsets [{start}, {offered.begin}) are lost"
        return Parked(here.what, reason, KafkaSplit(here.topic, here.partition, start, offered.begin))
    if offered.end < start:
        reason = (
            f"the partition ends at {offered.end}, before the position {start}: "
            f"offsets [{offered.end}, {start}) were counted and are gone"
        )
        return Parked(here.what, reason, KafkaSplit(here.topic, here.partition, offered.end, start))
    damage = known.damaged.get(here.partition)
    if damage is not None and _start_of(damage) == start:
        return damage
    gap = known.gaps.get(here.partition)
    if gap is not None and gap[0] == start:
        reason = f"offsets [{gap[0]}, {gap[1]}) hold no record, and the topic is not compacted (kafka.gaps: park)"
        return Parked(here.what, reason, KafkaSplit(here.topic, here.partition, *gap))
    return None


def _takeable_end(start: int, partition: int, offered: PartitionRange | None, known: Known) -> int:
    if offered is None:
        return start
    ends = [offered.end]
    if known.bound is not None:
        ends.append(known.bound.get(partition, start))
    gap = known.gaps.get(partition)
    damage = known.damaged.get(partition)
    stops = [known.fitting.get(partition, start)]
    if gap is not None:
        stops.append(gap[0])
    if damage is not None:
        stops.append(_start_of(damage))
    return min(*ends, *(stop for stop in stops if stop > start), offered.end)


def _start_of(damage: Parked) -> int:
    assert isinstance(damage.split, KafkaSplit)
    return damage.split.start


def _held(split: KafkaSplit, offered: PartitionRange | None, silence: str | None, known: Known) -> Held | None:
    """Return what keeps a partition from going on for the moment, if anything does."""
    start = split.start
    recorded = known.stalled.get(split.what) == start
    if silence is not None:
        end = max(start, offered.end) if offered is not None else start
        where = KafkaSplit(split.topic, split.partition, start, end)
        return Held(
            Parked(split.what, f"{silence}; going on at offset {start} when it answers", where), False, recorded
        )
    if offered is None or offered.end != start or offered.high <= start:
        return None
    reason = f"held back by an open transaction at offset {start}: {offered.high - start} offsets wait behind it"
    where = KafkaSplit(split.topic, split.partition, start, offered.high)
    return Held(Parked(split.what, reason, where), True, recorded)


def shortened(batch: Batch, counted: Counted) -> tuple[Batch, Counted]:
    """Return a batch that takes what was read of it, where that is less than planned; partitions without any leave it.

    Args:
        batch: As it was planned: a transaction for the batch's number, then one for each split.
        counted: With a proof for each split.
    """
    numbered, *planned = batch.transactions
    proofs: list[SplitProof] = []
    taken: list[Transaction] = []
    reached: dict[int, int] = {}
    missing = 0
    for split, proof, transaction in zip(batch.splits, counted.proofs, planned, strict=True):
        read = proof.split
        assert isinstance(read, KafkaSplit)
        missing += split.end - read.end
        if read.end > read.start:
            proofs.append(proof)
            taken.append(replace(transaction, after=read.end))
            reached[read.partition] = read.end
    kept = replace(
        batch,
        splits=tuple(proof.split for proof in proofs),
        transactions=(numbered, *taken),
        backlog=batch.backlog + missing,
        position=_position(batch, reached),
    )
    return kept, replace(counted, proofs=tuple(proofs))


def _position(batch: Batch, read: Mapping[int, int]) -> Offsets:
    """Return a batch's position as it is when only so much of each partition was read."""
    assert isinstance(batch.position, Offsets)
    reached: dict[int, int | None] = {}
    for split, transaction in zip(batch.splits, batch.transactions[1:], strict=True):
        assert isinstance(split, KafkaSplit)
        reached[split.partition] = read.get(split.partition, transaction.before)
    return batch.position.with_next(reached)


def _other(now: TopicIdentity, founded: TopicIdentity) -> str:
    if now.cluster_id != founded.cluster_id:
        return f"another cluster: positions belong to Kafka cluster {founded.cluster_id}, this is {now.cluster_id}"
    return f"topic recreated: positions belong to topic id {founded.topic_id}, this is {now.topic_id}"


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

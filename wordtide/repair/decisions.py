"""What an operator's decision about something parked changes. Pure: source and ledger as they are in, changes out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from wordtide.core.model import FileSplit, KafkaSplit, Mark, Parked, Transaction, Verdict
from wordtide.core.problems import DecisionRefused
from wordtide.sources.kafka.plan import TopicIdentity, TopicSnapshot


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the decision's batch records.

    Attributes:
        resolved: What no longer waits, each with what became of it and the range or file it is about.
        transactions: Where the topic's partitions go on.
        identity: What positions belong to from now on, if that changes.
    """

    resolved: tuple[Parked, ...]
    transactions: tuple[Transaction, ...] = ()
    identity: Mapping[str, str] | None = None


def resolve_topic(
    verdict: Verdict,
    seen: TopicSnapshot,
    founded: TopicIdentity,
    position: Callable[[str], int | None],
    parked: Collection[str],
) -> Resolution:
    """Go on with a topic that is another one than the positions belong to.

    ``skip`` leaves out what the new topic holds already; ``from-earliest`` takes it from its beginning, or from where
    it was left if the table has positions in it (a cluster that was exchanged and exchanged back). Is it the founded
    one again, nothing is lost and ``skip`` goes on where it was.

    Args:
        verdict: The operator's.
        seen: The topic now.
        founded: What the ledger's positions belong to.
        position: Stored next offset by ``txn`` id.
        parked: Names of all that waits: partitions of the old topic are settled with it.

    Raises:
        DecisionRefused: The verdict does not fit, or ``from-earliest`` would count again what was counted.
    """
    topic = founded.topic
    if verdict in (Verdict.RECOUNT, Verdict.TEXT):
        raise DecisionRefused(
            f"{topic}: {verdict} does not apply to a topic that was replaced; use skip or from-earliest"
        )
    now = seen.identity
    if now == founded:
        if verdict is Verdict.FROM_EARLIEST:
            raise DecisionRefused(f"{topic}: it is the topic that was counted; use skip to go on where it was left")
        return Resolution((Parked(topic, "the topic that was counted is back; going on where it was left"),))
    went_on: list[Parked] = []
    transactions: list[Transaction] = []
    for partition, offered in sorted(seen.partitions.items()):
        app_id = now.app_id(partition)
        stored = position(app_id)
        beginning = offered.begin if stored is None else stored
        after = offered.end if verdict is Verdict.SKIP else beginning
        transactions.append(Transaction(app_id, stored, after))
        if f"{topic}/{partition}" in parked or after > offered.begin:
            reason = f"going on at {after} of topic id {now.topic_id}"
            went_on.append(Parked(f"{topic}/{partition}", reason, KafkaSplit(topic, partition, offered.begin, after)))
    head = Parked(topic, f"going on with topic id {now.topic_id} of cluster {now.cluster_id}")
    gone = tuple(
        Parked(what, "belonged to the old topic", KafkaSplit(topic, int(what.rpartition("/")[2]), 0, 0))
        for what in sorted(parked)
        if what.startswith(f"{topic}/") and int(what.rpartition("/")[2]) not in seen.partitions
    )
    identity = {"cluster_id": now.cluster_id, "topic_id": now.topic_id, "topic": topic}
    return Resolution((head, *went_on, *gone), tuple(transactions), identity)


def resolve_partition(
    verdict: Verdict, lost: KafkaSplit, seen: TopicSnapshot, founded: TopicIdentity, position: int | None
) -> Resolution:
    """Go on behind what a partition lost, or try once more to read what could not be read.

    Args:
        verdict: The operator's: ``skip``, or ``recount`` where the broker still holds the offsets.
        lost: The range that the ledger recorded. It begins at the position when records were deleted unread, and ends
            there when the partition now ends before it: then what follows is new, under offsets that were used before.
        seen: The topic now; more may have been deleted since.
        founded: What the ledger's positions belong to.
        position: Stored next offset.

    Raises:
        DecisionRefused: Another verdict, another topic, the partition is gone, or what is lost cannot be read again.
    """
    what = lost.what
    if verdict not in {Verdict.SKIP, Verdict.RECOUNT}:
        raise DecisionRefused(f"{what}: {verdict} cannot bring back lost offsets; use skip to go on behind them")
    if seen.identity != founded:
        raise _another(what, founded)
    offered = seen.partitions.get(lost.partition)
    if offered is None:
        raise DecisionRefused(f"{what}: the topic has no such partition")
    start = position or 0
    if verdict is Verdict.RECOUNT:
        if start != lost.start or offered.begin > start:
            raise DecisionRefused(f"{what}: {verdict} cannot bring back lost offsets; use skip to go on behind them")
        return Resolution((Parked(what, f"reading offset {start} once more", replace(lost, end=start)),))
    if start == lost.end and lost.start < lost.end:
        after = min(lost.start, offered.end)
        reason = f"the partition had been cut off; going back to {after}"
    else:
        after = max(lost.end, offered.begin)
        reason = f"offsets [{start}, {after}) are given up"
    split = KafkaSplit(lost.topic, lost.partition, min(start, after), max(start, after))
    return Resolution((Parked(what, reason, split),), (Transaction(founded.app_id(lost.partition), position, after),))


def resolve_as_text(
    what: str, not_text: Collection[KafkaSplit], seen: TopicSnapshot, founded: TopicIdentity
) -> Resolution:
    """Count a topic's values as text from now on, whatever they look like.

    Args:
        what: The partition that the operator named.
        not_text: All that wait because their values are no text; they go on together.
        seen: The topic now.
        founded: What the ledger's positions belong to.

    Raises:
        DecisionRefused: It waits for another reason, or the topic is another one.
    """
    if what not in {split.what for split in not_text}:
        raise DecisionRefused(
            f"{what}: text applies only to partitions parked because their values are not text; use skip"
        )
    if seen.identity != founded:
        raise _another(what, founded)
    return Resolution(
        tuple(
            Parked(
                split.what,
                f"counted as text from offset {split.start} on",
                replace(split, end=split.start),
                Mark.AS_TEXT,
            )
            for split in sorted(not_text)
        )
    )


def _another(what: str, founded: TopicIdentity) -> DecisionRefused:
    return DecisionRefused(f"{what}: its topic has been replaced; let a drain park {founded.topic}, then resolve that")


def resolve_file(verdict: Verdict, what: str, file: FileSplit | None) -> Resolution:
    """Leave a file alone for good, as long as it stays as it was recorded; a recount is another matter.

    Raises:
        DecisionRefused: ``from-earliest`` is for topics.
    """
    if verdict is not Verdict.SKIP or file is None:
        raise DecisionRefused(f"{what}: {verdict} is for recreated topics; a file is skipped or recounted")
    return Resolution((Parked(what, "left as it is", file),))

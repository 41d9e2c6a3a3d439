"""A Kafka topic: looked at with kafka-python's admin client, read with confluent-kafka."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType
from kafka.protocol.consumer.offsets import IsolationLevel, OffsetSpec

from wordtide.config import Stream
from wordtide.core.model import (
    Batch,
    Counted,
    Decision,
    Founding,
    Halt,
    KafkaSplit,
    Mark,
    Parked,
    Split,
    Stop,
    Transaction,
)
from wordtide.core.position import Offsets
from wordtide.core.problems import PlanAgain, ReadFailed, SourceUnavailable, TableRefused
from wordtide.core.quarantine import NOTHING
from wordtide.core.source import SourcePlan, Stored, quarantine_of
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.damage import Answer, SearchEnded, answer_at, bounded, find_damage, find_silence, parked
from wordtide.sources.kafka.first_position import GroupOffsets
from wordtide.sources.kafka.plan import Known, PartitionRange, TopicIdentity, TopicSnapshot, plan_kafka, shortened
from wordtide.sources.kafka.read import GapsFound, KafkaReader, ShortRead
from wordtide.table.ledger import Ledger

T = TypeVar("T")
log = logging.getLogger("wordtide")

BOOTSTRAP_TIMEOUT_MS = 8_000
REQUEST_TIMEOUT_MS = 10_000
BROKERS_TRIED = 3
COORDINATOR_TRIES = 20
COORDINATOR_PAUSE_SECONDS = 0.5
LEFT_OUT_SECONDS = 60.0
"""How long a partition that gave nothing is left out before it is read again; twice as long after each further time."""
LOOK_BACK = 16
"""Values before one that seems to be no text that are looked at …"""
LOOK_AHEAD = 64
"""… and from it on."""
FITTING_GROWTH = 1.02
"""From batch to batch, where Spark found one to have more bytes than it may."""
HIGH_SECONDS = 1.0
"""Between two looks for transactions that hold back what is written; they last for minutes when they matter."""

_SILENCE = (
    kafka_errors.KafkaConnectionError,
    kafka_errors.KafkaTimeoutError,
    kafka_errors.RequestTimedOutError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.UnknownBrokerIdError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.OffsetNotAvailableError,
    kafka_errors.KafkaStorageError,
)
"""A leader that is gone, or no longer the leader: its partitions wait, the others do not."""


def explain(error: Exception, connection: KafkaConnection, topic: str) -> SourceUnavailable:
    """Return the one line for a client's error."""
    where = f"Kafka at {connection.bootstrap}"
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return SourceUnavailable(
            f"{where}: there is no topic {topic!r}; create it (wordtide produce does) or fix streams.yaml"
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return SourceUnavailable(f"{where}: not allowed to describe or read topic {topic!r}; grant READ and DESCRIBE")
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError | kafka_errors.UnacceptableCredentialError):
        return SourceUnavailable(f"{where}: login refused; check WORDTIDE_KAFKA_USERNAME and _PASSWORD")
    detail = " ".join(str(error).split())
    return SourceUnavailable(
        f"{where}: no answer ({type(error).__name__}: {detail}); is the broker up (wordtide up) and the address right?"
    )


def of_any_broker(ask: Callable[[], T]) -> T:
    """Ask a broker of the client's choice; one that just refused the connection is not its next choice."""
    for _ in range(BROKERS_TRIED - 1):
        try:
            return ask()
        except kafka_errors.KafkaConnectionError as error:
            log.info("a broker refused the connection, trying another: %s", error)
    return ask()


def _of_coordinator(ask: Callable[[], T]) -> T:
    """Ask about a consumer group: a broker that never had one makes its offsets topic at the first question."""
    for _ in range(COORDINATOR_TRIES - 1):
        try:
            return ask()
        except (
            kafka_errors.CoordinatorNotAvailableError,
            kafka_errors.CoordinatorLoadInProgressError,
            kafka_errors.NotCoordinatorError,
        ):
            time.sleep(COORDINATOR_PAUSE_SECONDS)
    return ask()


def connect(connection: KafkaConnection) -> KafkaAdminClient:
    """Return an admin client, or raise SourceUnavailable within about ten seconds."""
    try:
        return KafkaAdminClient(
            **connection.kafka_python(),
            client_id="wordtide",
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
    except (kafka_errors.KafkaError, OSError, ValueError) as error:
        raise explain(error, connection, "") from error


@dataclass(frozen=True, slots=True)
class _Described:
    """A topic's metadata: its partitions by the broker that leads them, and those that nobody leads."""

    identity: TopicIdentity
    led: Mapping[int, Sequence[TopicPartition]]
    leaderless: Sequence[int]


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """A partition that gave nothing: why, for how many seconds it is left out, and until when (monotonic)."""

    reason: str
    seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class KafkaLook:
    """See `wordtide.core.source.Look`."""

    topic: KafkaTopic
    seen: TopicSnapshot

    def plan(self, ledger: Ledger, stored: Stored) -> SourcePlan:
        """See `Look`."""
        return self.topic.plan(self.seen, ledger, stored)


class KafkaTopic:
    """One topic as a source. Holds one admin connection; one thread at a time."""

    def __init__(self, stream: Stream, connection: KafkaConnection) -> None:
        if stream.config.kafka is None:
            raise ValueError(f"stream {stream.name} has no Kafka source")
        self._config = stream.config.kafka
        self._stream = stream
        self._connection = connection
        self._admin: KafkaAdminClient | None = None
        self._stale = False
        self._cluster_id = ""
        self._bound: dict[int, int] | None = None
        self._high: dict[int, int] = {}
        self._high_asked = -HIGH_SECONDS
        self._gapless: bool | None = None
        self._gaps: dict[int, tuple[int, int]] = {}
        self._left_out: dict[int, _LeftOut] = {}
        self._damaged: dict[int, Parked] = {}
        self._fitting: dict[int, int] = {}
        self._fitting_records = math.inf
        self._seen_ends: dict[int, int] = {}
        self._seen_begins: dict[int, int] = {}
        self._judges = False
        self._text_until: dict[int, int] = {}
        self._bounded = False
        self._read_of: TopicIdentity | None = None

    def snapshot(self) -> TopicSnapshot:
        """Look at the whole topic: identity, and begin and end of each partition.

        Raises:
            SourceUnavailable: The topic or a partition of it does not answer.
        """
        seen = self._seen()
        if seen.silent:
            partition, why = min(seen.silent.items())
            raise SourceUnavailable(
                f"Kafka at {self._connection.bootstrap}: partition {partition} of topic {self._config.topic}: {why};"
                " try again when it answers"
            )
        return seen

    def _seen(self) -> TopicSnapshot:
        """Look at what answers of the topic (three calls, some ms)."""
        return self._twice(self._look_once)

    def _twice(self, ask: Callable[[], T]) -> T:
        """Ask once more if a kept connection fails: brokers come and go meanwhile, a fresh one decides."""
        if self._stale:
            self.close()
        kept = self._admin is not None
        try:
            return ask()
        except SourceUnavailable:
            if not kept:
                raise
            return ask()

    def _look_once(self) -> TopicSnapshot:
        with self._asking() as admin, ThreadPoolExecutor(1) as beside:
            topic = self._described(admin)
            asked = beside.submit(self._ends, admin, topic)
            begins, mute = self._answers(admin, OffsetSpec.EARLIEST, topic.led)
            ends, mute_too = asked.result()
        silent = {**dict.fromkeys(topic.leaderless, "no leader"), **mute, **mute_too}
        ranges = {
            tp.partition: PartitionRange(begins[tp], ends[tp], self._high.get(tp.partition, 0))
            for partitions in topic.led.values()
            for tp in partitions
            if tp.partition not in silent
        }
        return TopicSnapshot(topic.identity, ranges, silent)

    def _ends(self, admin: KafkaAdminClient, topic: _Described) -> tuple[dict[TopicPartition, int], dict[int, str]]:
        """Return the ends, and bring the high watermarks up to date now and then: they only rise."""
        ends, silent = self._answers(admin, OffsetSpec.LATEST, topic.led)
        now = time.monotonic()
        wait = min(HIGH_SECONDS, self._stream.config.stalled_after / 4)
        if self._config.isolation == "read_committed" and now - self._high_asked >= wait:
            self._high_asked = now
            highs, _ = self._answers(admin, OffsetSpec.LATEST, topic.led, IsolationLevel.READ_UNCOMMITTED)
            self._high = {tp.partition: high for tp, high in highs.items()}
        return ends, silent

    @contextmanager
    def _asking(self) -> Iterator[KafkaAdminClient]:
        """Give the connection; an error closes it and comes out as one line."""
        try:
            if self._admin is None:
                self._admin = connect(self._connection)
                # Once a connection: a topic id is unique among all clusters, so it says the same each time after.
                self._cluster_id = str(of_any_broker(self._admin.describe_cluster)["cluster_id"])
            yield self._admin
        except (kafka_errors.KafkaError, OSError) as error:
            self.close()
            raise explain(error, self._connection, self._config.topic) from error

    def _described(self, admin: KafkaAdminClient) -> _Described:
        topic = self._config.topic
        described: dict[str, Any] = of_any_broker(lambda: admin.describe_topics([topic]))[0]
        # An unknown topic is an answer here, not an exception: one with an error code and no partitions.
        problem = kafka_errors.for_code(described["error_code"])
        if problem is not kafka_errors.NoError:
            raise problem(topic)
        entries = sorted(described["partitions"], key=lambda entry: int(entry["leader_id"]))
        led = {
            leader: [TopicPartition(topic, entry["partition_index"]) for entry in mine]
            for leader, mine in groupby(entries, key=lambda entry: int(entry["leader_id"]))
        }
        leaderless = [partition for _, partition in led.pop(-1, [])]
        return _Described(TopicIdentity(self._cluster_id, str(described["topic_id"]), topic), led, leaderless)

    def _answers(
        self,
        admin: KafkaAdminClient,
        spec: OffsetSpec,
        led: Mapping[int, Sequence[TopicPartition]],
        isolation: IsolationLevel | None = None,
    ) -> tuple[dict[TopicPartition, int], dict[int, str]]:
        """Ask each leader for an offset of its partitions; return those, and why the others have none.

        Raises:
            KafkaError: No leader answers, or we are refused.
        """
        found: dict[TopicPartition, int] = {}
        silent: dict[int, str] = {}
        problem: kafka_errors.KafkaError | None = None
        for leader, partitions in led.items():
            try:
                found |= self._offsets(admin, spec, partitions, isolation)
            except _SILENCE as error:
                # The client asks for the list of brokers once a connection, and knows no broker that came later.
                self._stale = True
                problem = error
                why = f"its leader, broker {leader}, does not answer ({type(error).__name__})"
                silent.update(dict.fromkeys((tp.partition for tp in partitions), why))
        if problem is not None and not found:
            raise problem
        return found, silent

    def _offsets(
        self,
        admin: KafkaAdminClient,
        spec: OffsetSpec | int,
        partitions: Iterable[TopicPartition],
        isolation: IsolationLevel | None = None,
    ) -> dict[TopicPartition, int]:
        if isolation is None:
            isolation = IsolationLevel.build_from(self._config.isolation)
        asked = dict.fromkeys(partitions, spec)
        answer = of_any_broker(lambda: admin.list_partition_offsets(asked, isolation_level=isolation))
        return {partition: int(found.offset) for partition, found in answer.items()}

    def found(self) -> Founding:
        """Resolve ``start`` to one offset a partition."""
        seen = self.snapshot()
        return founding_at(seen.identity, self.starts(seen))

    def committed(self, group: str) -> GroupOffsets:
        """Ask what a consumer group has committed."""
        with self._asking() as admin:
            try:
                found = _of_coordinator(lambda: of_any_broker(lambda: admin.list_group_offsets({group: None})))[group]
                groups = of_any_broker(admin.list_groups)
            except kafka_errors.GroupAuthorizationFailedError as error:
                raise SourceUnavailable(
                    f"Kafka at {self._connection.bootstrap}: not allowed to see consumer group {group!r}; grant"
                    " DESCRIBE"
                ) from error
        offsets = {tp: int(held.offset) for tp, held in found.items() if held.offset >= 0}
        topic = self._config.topic
        return GroupOffsets(
            group,
            {tp.partition: offset for tp, offset in offsets.items() if tp.topic == topic},
            {tp.topic for tp in offsets if tp.topic != topic},
            any(one["group_id"] == group and one["group_state"] not in {"Empty", "Dead"} for one in groups),
        )

    def starts(self, seen: TopicSnapshot) -> Mapping[int, int]:
        """Return the offset of each partition that ``start`` means."""
        start = self._config.start_ms()
        if start == "earliest":
            return {p: offered.begin for p, offered in seen.partitions.items()}
        if start == "latest":
            return {p: offered.end for p, offered in seen.partitions.items()}
        partitions = [TopicPartition(self._config.topic, p) for p in seen.partitions]
        with self._asking() as admin:
            found = self._offsets(admin, start, partitions)
        # No record at or after the timestamp is answered with -1: nothing old is wanted, so begin at the end.
        return {
            p: found[TopicPartition(self._config.topic, p)]
            if found.get(TopicPartition(self._config.topic, p), -1) >= 0
            else offered.end
            for p, offered in seen.partitions.items()
        }

    def fix_ends(self) -> None:
        """Take no record from beyond the ends of this moment, and no partition that appears later."""
        self._bound = {p: offered.end for p, offered in self._seen().partitions.items()}

    def look(self) -> KafkaLook:
        """See `Source`."""
        if self._config.gaps == "park" and self._gapless is None:
            self._gapless = not self._compacted()
        self._bounded = True
        return KafkaLook(self, self._seen())

    def _compacted(self) -> bool:
        """Return whether the broker may take single records away."""
        topic = self._config.topic
        with self._asking() as admin:
            asked = ConfigResource(ConfigResourceType.TOPIC, topic, ["cleanup.policy"])
            answer = of_any_broker(lambda: admin.describe_configs([asked], config_filter=ConfigFilterType.ALL))
        # A refusal is an answer without settings.
        policy = answer.get("topic", {}).get(topic, {}).get("cleanup.policy")
        if policy is None:
            raise SourceUnavailable(
                f"Kafka at {self._connection.bootstrap}: not allowed to see the settings of topic {topic!r}, which"
                " kafka.gaps: park needs; grant DESCRIBE_CONFIGS"
            )
        return "compact" in str(policy["value"])

    def plan(self, seen: TopicSnapshot, ledger: Ledger, stored: Stored) -> SourcePlan:
        """Plan the next batch from the topic's offsets and the table's positions."""
        founded = identity_of(ledger)
        self._refuse_other(seen.identity, founded)
        found = {p: stored(founded.app_id(p)) for p in (*seen.partitions, *seen.silent)}
        positions = {p: at for p, at in found.items() if at is not None}
        self._forget(founded, ledger)
        now = time.monotonic()
        self._judges = not ledger.as_text
        self._seen_begins = {p: offered.begin for p, offered in seen.partitions.items()}
        self._seen_ends = {p: max(offered.end, offered.high) for p, offered in seen.partitions.items()}
        known = Known(
            ledger.parked.keys(),
            {
                what: recorded.split.start
                for what, recorded in ledger.stalled.items()
                if isinstance(recorded.split, KafkaSplit)
            },
            self._bound,
            self._gaps,
            {p: left.reason for p, left in self._left_out.items() if left.until > now},
            self._damaged,
            self._fitting,
        )
        # Sizes change: what is tried grows slowly until once more it is too much.
        self._fitting_records *= FITTING_GROWTH
        most = int(min(self._stream.config.max_records, self._fitting_records))
        plan = plan_kafka(seen, founded, positions, most, known)
        return SourcePlan(
            plan.splits,
            tuple(
                Transaction(founded.app_id(split.partition), positions.get(split.partition), split.end)
                for split in plan.splits
            ),
            plan.parked,
            plan.backlog,
            waiting=0,
            behind=plan.behind,
            position=Offsets({**positions, **{split.partition: split.end for split in plan.splits}}),
            taken=Offsets(positions),
            held=plan.held,
        )

    def _forget(self, founded: TopicIdentity, ledger: Ledger) -> None:
        """Drop what was learnt by reading of partitions that may go on elsewhere by an operator's decision."""
        whole = founded != self._read_of or founded.topic in ledger.parked
        for partition in {*self._gaps, *self._left_out, *self._damaged, *self._text_until}:
            if whole or KafkaSplit(founded.topic, partition, 0, 0).what in ledger.parked:
                self._gaps.pop(partition, None)
                self._left_out.pop(partition, None)
                self._damaged.pop(partition, None)
                self._text_until.pop(partition, None)
        self._read_of = founded

    def _refuse_other(self, now: TopicIdentity, founded: TopicIdentity) -> None:
        # A recreated topic or cluster is an event in the stream's life and is parked; another name is a mistake.
        if now.topic != founded.topic:
            raise TableRefused(
                f"stream {self._stream.name}: its table belongs to topic {founded.topic}, and streams.yaml names topic"
                f" {now.topic}; put it back, or name a new stream"
            )

    def reader(self, latest_ms: int, *, whole: bool = False) -> KafkaReader:
        """See `Source`. It minds gaps, `max_bytes` and what is no text for drains only: replays take what there is."""
        window_us = round(self._stream.config.window * 1_000_000)
        quarantine = NOTHING if whole else quarantine_of(self._stream.config)
        gapless = bool(self._gapless)
        max_bytes = self._stream.config.max_bytes if self._bounded else None
        text_until = dict(self._text_until) if self._judges else None
        return KafkaReader(
            self._connection, self._config.isolation, window_us, latest_ms, gapless, quarantine, max_bytes, text_until
        )

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove that what was read is the topic the plan saw: a recreated topic is silent in every client."""
        self._twice(lambda: self._verify(identity_of(ledger), splits))

    def _verify(self, planned: TopicIdentity, splits: Sequence[Split]) -> None:
        ranges = [split for split in splits if isinstance(split, KafkaSplit)]
        partitions = [TopicPartition(split.topic, split.partition) for split in ranges]
        with self._asking() as admin, ThreadPoolExecutor(1) as beside:
            asked = beside.submit(self._offsets, admin, OffsetSpec.EARLIEST, partitions)
            topic = self._described(admin)
            if topic.identity != planned:
                raise PlanAgain(f"topic {self._config.topic} was recreated while it was read")
            try:
                begins = asked.result()
            except _SILENCE as error:
                self._stale = True
                raise PlanAgain(f"topic {self._config.topic} lost a leader while it was read ({error})") from error
        for split in ranges:
            if begins[TopicPartition(split.topic, split.partition)] > split.start:
                raise PlanAgain(f"{split.what} no longer holds [{split.start}, {split.end})")
            self._left_out.pop(split.partition, None)

    def reject(self, problem: ReadFailed) -> None:
        """Have the next plan end before a gap or what cannot be decoded, then park it; and leave out what is silent."""
        if isinstance(problem, GapsFound):
            for gap in problem.gaps:
                self._gaps[gap.partition] = min(
                    self._gaps.get(gap.partition, (gap.start, gap.end)), (gap.start, gap.end)
                )
        elif isinstance(problem, ShortRead):
            self._fitting = {split.partition: split.end for split in problem.fitting}
            if problem.fitting:
                self._fitting_records = sum(split.end - split.start for split in problem.fitting)
            for stop in problem.stops:
                if stop.halt is Halt.UNREADABLE:
                    self._search(stop)
                elif stop.halt is Halt.SILENT:
                    self._leave_out(stop)
                elif stop.halt is Halt.NOT_TEXT:
                    self._judge(stop.rest)
                elif stop.halt is Halt.TOO_LONG:
                    self._note_too_long(stop)
        else:
            raise TypeError(f"no problem of a topic: {problem!r}")

    def _judge(self, at: KafkaSplit) -> None:
        """Park what seems to be no text, unless that is a few values among text: what is around is looked at."""
        begin = max(self._seen_begins.get(at.partition, at.start), at.start - LOOK_BACK)
        around = replace(at, start=begin, end=min(at.end, at.start + LOOK_AHEAD))
        sample = self.reader(0).sample(around)
        kind = sample.verdict
        before = self._damaged.get(at.partition)
        if kind is None:
            self._text_until[at.partition] = around.end
        elif before is None or (isinstance(before.split, KafkaSplit) and before.split.start > at.start):
            reason = (
                f"{sample.suspects} of {sample.size} values around offset {at.start} seem to be {kind.what},"
                " and only text is counted; resolve it --as text to count the topic's values anyway, or --as skip to"
                f" continue at offset {at.end}"
            )
            self._damaged[at.partition] = Parked(at.what, reason, at, Mark.NOT_TEXT)

    def _note_too_long(self, stop: Stop) -> None:
        """Park a value that holds more without a space than can be counted."""
        at = stop.rest
        before = self._damaged.get(at.partition)
        if before is None or (isinstance(before.split, KafkaSplit) and before.split.start > at.start):
            reason = (
                f"offset {at.start}: {stop.reason}; resolve it --as skip to continue at offset {at.start + 1}, or set"
                " the stream's quarantine, which puts such values aside, and resolve it --as recount"
            )
            self._damaged[at.partition] = Parked(at.what, reason, replace(at, end=at.start + 1))

    def _search(self, stop: Stop) -> None:
        """Find out what of a partition cannot be decoded; if that cannot be found, leave the partition out."""
        at, partition = stop.rest, stop.rest.partition
        try:
            found = find_damage(self._asking_at(at), at.start, self._seen_ends.get(partition, at.end))
        except SearchEnded as problem:
            self._leave_out(replace(stop, reason=f"{stop.reason}; {problem}"))
            return
        if found is not None:
            self._note_damage(at, *found)

    def _leave_out(self, stop: Stop) -> None:
        partition = stop.rest.partition
        before = self._left_out.get(partition)
        seconds = 2 * before.seconds if before is not None else LEFT_OUT_SECONDS
        self._left_out[partition] = _LeftOut(stop.reason, seconds, time.monotonic() + seconds)
        if before is None:
            return
        # Once more: of some damage the client says nothing.
        at = stop.rest
        try:
            found = find_silence(self._asking_at(at), at.start, self._seen_ends.get(partition, at.end))
        except SearchEnded:
            return
        if found is not None:
            self._note_damage(at, *found)

    def _note_damage(self, at: KafkaSplit, begin: int, end: int, reason: str) -> None:
        self._damaged[at.partition] = parked(replace(at, start=begin, end=end), reason)
        self._left_out.pop(at.partition, None)

    def _asking_at(self, at: KafkaSplit) -> Callable[[int], Answer]:
        reader = self.reader(0)
        return bounded(lambda offset: answer_at(reader, replace(at, start=offset, end=offset)))

    def shortened(self, batch: Batch, counted: Counted) -> tuple[Batch, Counted]:
        """See `wordtide.core.source.EndsEarly`."""
        return shortened(batch, counted)

    def ended_early(self, stops: Sequence[Stop]) -> ShortRead:
        """See `wordtide.core.source.EndsEarly`."""
        return ShortRead(tuple(stops))

    def tidy(self, ledger: Ledger) -> tuple[bool, None]:
        """See `Source`. A topic's records are its broker's."""
        del ledger
        return False, None

    def close(self) -> None:
        """Close the admin connection."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
            self._stale = False


def founding_at(identity: TopicIdentity, starts: Mapping[int, int], decision: Decision | None = None) -> Founding:
    """Return what batch 0 records of a topic that is taken from these offsets on."""
    return Founding(
        {"cluster_id": identity.cluster_id, "topic_id": identity.topic_id, "topic": identity.topic},
        tuple(Transaction(identity.app_id(p), None, start) for p, start in sorted(starts.items())),
        tuple(KafkaSplit(identity.topic, p, start, start) for p, start in sorted(starts.items())),
        decision,
    )


def identity_of(ledger: Ledger) -> TopicIdentity:
    """Return the topic identity that batch 0 recorded."""
    identity = ledger.identity
    return TopicIdentity(identity["cluster_id"], identity["topic_id"], identity["topic"])

"""A Kafka topic: looked at with kafka-python's admin client, read with confluent-kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.protocol.consumer.offsets import IsolationLevel, OffsetSpec

from wordtide.batch import Founding, KafkaSplit, Split, Transaction
from wordtide.config import Stream
from wordtide.connection import KafkaConnection
from wordtide.errors import PlanAgain, SourceUnavailable, TableRefused
from wordtide.planning.kafka import PartitionRange, TopicIdentity, TopicSnapshot, plan_kafka
from wordtide.reading.files import CorruptFile, NotReady
from wordtide.reading.kafka import KafkaReader
from wordtide.sources.base import Position, SourcePlan
from wordtide.table.ledger import Ledger

BOOTSTRAP_TIMEOUT_MS = 8_000
REQUEST_TIMEOUT_MS = 10_000


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


class KafkaTopic:
    """One topic as a source. Holds one admin connection; one thread at a time."""

    def __init__(self, stream: Stream, connection: KafkaConnection) -> None:
        if stream.config.kafka is None:
            raise ValueError(f"stream {stream.name} has no Kafka source")
        self._config = stream.config.kafka
        self._stream = stream
        self._connection = connection
        self._admin: KafkaAdminClient | None = None
        self._cluster_id = ""
        self._bound: dict[int, int] | None = None

    def snapshot(self) -> TopicSnapshot:
        """Look at the topic: identity, and begin and end of each partition (three calls, some ms)."""
        with self._asking() as admin, ThreadPoolExecutor(1) as beside:
            identity, partitions = self._identity(admin)
            asked = beside.submit(self._offsets, admin, OffsetSpec.LATEST, partitions)
            begins = self._offsets(admin, OffsetSpec.EARLIEST, partitions)
            ends = asked.result()
        return TopicSnapshot(identity, {tp.partition: PartitionRange(begins[tp], ends[tp]) for tp in partitions})

    @contextmanager
    def _asking(self) -> Iterator[KafkaAdminClient]:
        """Give the connection; an error closes it and comes out as one line."""
        try:
            if self._admin is None:
                self._admin = connect(self._connection)
                # Once a connection: a topic id is unique among all clusters, so it says the same each time after.
                self._cluster_id = str(self._admin.describe_cluster()["cluster_id"])
            yield self._admin
        except (kafka_errors.KafkaError, OSError) as error:
            self.close()
            raise explain(error, self._connection, self._config.topic) from error

    def _identity(self, admin: KafkaAdminClient) -> tuple[TopicIdentity, list[TopicPartition]]:
        topic = self._config.topic
        described = self._describe(admin, topic)
        partitions = [TopicPartition(topic, entry["partition_index"]) for entry in described["partitions"]]
        return TopicIdentity(self._cluster_id, str(described["topic_id"]), topic), partitions

    @staticmethod
    def _describe(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
        described: dict[str, Any] = admin.describe_topics([topic])[0]
        # An unknown topic is an answer here, not an exception: one with an error code and no partitions.
        problem = kafka_errors.for_code(described["error_code"])
        if problem is not kafka_errors.NoError:
            raise problem(topic)
        return described

    def _offsets(
        self, admin: KafkaAdminClient, spec: OffsetSpec | int, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        isolation = (
            IsolationLevel.READ_COMMITTED
            if self._config.isolation == "read_committed"
            else IsolationLevel.READ_UNCOMMITTED
        )
        answer = admin.list_partition_offsets(dict.fromkeys(partitions, spec), isolation_level=isolation)
        return {partition: int(found.offset) for partition, found in answer.items()}

    def found(self) -> Founding:
        """Resolve ``start`` to one offset a partition."""
        seen = self.snapshot()
        starts = self._starts(seen)
        identity = seen.identity
        return Founding(
            {"cluster_id": identity.cluster_id, "topic_id": identity.topic_id, "topic": identity.topic},
            tuple(Transaction(identity.app_id(p), None, start) for p, start in sorted(starts.items())),
            tuple(KafkaSplit(identity.topic, p, start, start) for p, start in sorted(starts.items())),
        )

    def _starts(self, seen: TopicSnapshot) -> Mapping[int, int]:
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
        self._bound = {p: offered.end for p, offered in self.snapshot().partitions.items()}

    def plan(self, ledger: Ledger, position: Position) -> SourcePlan:
        """Plan the next batch from the topic's offsets and the table's positions."""
        seen = self.snapshot()
        founded = identity_of(ledger)
        self._refuse_other(seen.identity, founded)
        positions = {p: at for p in seen.partitions if (at := position(founded.app_id(p))) is not None}
        plan = plan_kafka(
            seen, founded, positions, frozenset(ledger.parked), self._stream.config.max_records, self._bound
        )
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
            position=_position({**positions, **{split.partition: split.end for split in plan.splits}}),
        )

    def _refuse_other(self, now: TopicIdentity, founded: TopicIdentity) -> None:
        # A recreated topic is an event in the stream's life and is parked; another name or cluster is a mistake.
        if (now.cluster_id, now.topic) != (founded.cluster_id, founded.topic):
            raise TableRefused(
                f"stream {self._stream.name}: its table belongs to topic {founded.topic} of Kafka cluster"
                f" {founded.cluster_id}, but {self._connection.bootstrap} is cluster {now.cluster_id}, and streams.yaml"
                f" names topic {now.topic}; put it back, or name a new stream"
            )

    def reader(self, latest_ms: int) -> KafkaReader:
        """Return the reader for this topic."""
        return KafkaReader(
            self._connection, self._config.isolation, round(self._stream.config.window * 1_000_000), latest_ms
        )

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove that what was read is the topic the plan saw: a recreated topic is silent in every client."""
        ranges = [split for split in splits if isinstance(split, KafkaSplit)]
        partitions = [TopicPartition(split.topic, split.partition) for split in ranges]
        with self._asking() as admin, ThreadPoolExecutor(1) as beside:
            asked = beside.submit(self._offsets, admin, OffsetSpec.EARLIEST, partitions)
            identity, _ = self._identity(admin)
            if identity != identity_of(ledger):
                raise PlanAgain(f"topic {self._config.topic} was recreated while it was read")
            begins = asked.result()
        for split in ranges:
            if begins[TopicPartition(split.topic, split.partition)] > split.start:
                raise PlanAgain(f"{split.what} no longer holds [{split.start}, {split.end})")

    def reject(self, problem: CorruptFile | NotReady) -> None:
        """Raise: topics have no files."""
        raise NotImplementedError from problem

    def close(self) -> None:
        """Close the admin connection."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None


def _position(offsets: Mapping[int, int]) -> str:
    return " ".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))


def identity_of(ledger: Ledger) -> TopicIdentity:
    """Return the topic identity that batch 0 recorded."""
    identity = ledger.identity
    return TopicIdentity(identity["cluster_id"], identity["topic_id"], identity["topic"])

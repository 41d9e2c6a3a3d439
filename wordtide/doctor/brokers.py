"""Whether the Kafka brokers answer and let us read the topics of all streams."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Assigned
from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.protocol.consumer.offsets import OffsetSpec

from wordtide.config import Stream
from wordtide.core.problems import SourceUnavailable, WordtideError
from wordtide.doctor import positions
from wordtide.doctor.decide import newest_record
from wordtide.doctor.findings import Check, Finding, Line, Outcome, SourceSeen, bad, explained, good
from wordtide.doctor.positions import AtPosition, read_at_position
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.source import connect, explain, of_any_broker

T = TypeVar("T")

CONNECT_SECONDS = 5.0
READ_SECONDS = 5.0
_START = "start the broker (the embedded one: wordtide up) or correct WORDTIDE_KAFKA_BOOTSTRAP"
_GRANT = "grant this user READ and DESCRIBE on the topic"


def kafka_check(connection: KafkaConnection, streams: Sequence[Stream]) -> Check:
    """Return the check of a cluster's bootstrap servers and of the topics of these streams, all of Kafka."""
    servers = [Line("kafka", server.strip()) for server in connection.bootstrap.split(",")]
    topics = {
        stream.name: Line("topic", f"{connection.bootstrap}/{topic_of(stream)}", stream.name) for stream in streams
    }
    examination = _Examination(connection, servers, {topics[s.name]: s for s in streams})
    return Check([*servers, *topics.values()], examination.run, _START)


def topic_of(stream: Stream) -> str:
    """Return the topic of a stream of Kafka."""
    assert stream.config.kafka is not None
    return stream.config.kafka.topic


def unreachable(addresses: Sequence[str]) -> dict[str, str]:
    """Return which of these ``host:port`` accept no connection, and why; they are tried side by side."""
    asked = {address: _aside(partial(_refusal, address)) for address in dict.fromkeys(addresses)}
    return {address: why for address, answer in asked.items() if (why := answer.result())}


def _aside(work: Callable[[], T]) -> Future[T]:
    """Run in a thread of its own. No pool: an interpreter that ends would wait for its threads."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # Whatever it is, who asks for the result gets it.
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _refusal(address: str) -> str:
    """Return why a ``host:port`` accepts no connection; empty if it does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except socket.gaierror as error:
        return f"no such host ({error.strerror})"
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    except OSError as error:
        return f"cannot connect ({(error.strerror or str(error)).lower()})"
    except (ValueError, OverflowError):
        return "is not host:port"
    return ""


class _Examination:
    """One look at a cluster. `streams` has the stream of each topic's line; several may read one topic."""

    def __init__(self, connection: KafkaConnection, servers: Sequence[Line], streams: Mapping[Line, Stream]) -> None:
        self._connection = connection
        self._servers = servers
        self._streams = streams
        self._topics = {line: topic_of(stream) for line, stream in streams.items()}

    def run(self) -> Iterator[Outcome]:
        refused = unreachable([server.where for server in self._servers])
        alive = [server for server in self._servers if server.where not in refused]
        for server in self._servers:
            if server.where in refused:
                # As long as another one leads in, this one is only missed when that one fails.
                yield bad(server, refused[server.where], _START, stops=not alive)
        if not alive:
            yield from self._not_looked_at()
            return
        try:
            admin = connect(self._connection)
        except SourceUnavailable as error:
            said = str(error).removeprefix(f"Kafka at {self._connection.bootstrap}: ")
            for server in alive:
                yield explained(server, SourceUnavailable(said), _START)
            yield from self._not_looked_at()
            return
        try:
            cluster = of_any_broker(admin.describe_cluster)
            yield from self._brokers(alive, cluster)
            yield from self._examine(admin, str(cluster["cluster_id"]))
        except (kafka_errors.KafkaError, OSError) as error:
            raise explain(error, self._connection, "") from error
        finally:
            admin.close()

    def _not_looked_at(self) -> Iterator[Finding]:
        for line in self._topics:
            yield bad(line, "not looked at: no broker answers", "first put right what is said about kafka")

    def _brokers(self, alive: Sequence[Line], cluster: Mapping[str, Any]) -> Iterator[Finding]:
        # A fenced broker is one that is down: it leads nothing.
        there = [broker for broker in cluster["brokers"] if not broker.get("is_fenced")]
        brokers = {int(broker["broker_id"]): f"{broker['host']}:{broker['port']}" for broker in there}
        count = "1 broker" if len(brokers) == 1 else f"{len(brokers)} brokers"
        for server in alive:
            yield good(server, f"answers: cluster {cluster['cluster_id']}, {count}")
        # Partitions are read from the addresses the brokers name, whatever we came in by.
        refused = unreachable([address for address in brokers.values() if address not in {s.where for s in alive}])
        for broker, address in sorted(brokers.items()):
            if address in refused:
                yield bad(
                    Line("broker", address),
                    f"broker {broker} says it is there: {refused[address]}",
                    "start it, correct its advertised.listeners, or open the way to it",
                )

    def _examine(self, admin: KafkaAdminClient, cluster_id: str) -> Iterator[Outcome]:
        if not self._topics:
            return
        names = sorted(set(self._topics.values()))
        described = {entry["name"]: entry for entry in of_any_broker(lambda: admin.describe_topics(names))}
        readable = {name: entry for name, entry in described.items() if _problem(entry) is None}
        refused = refusals(self._connection, one_of_each_leader(readable))
        reading = {
            line: _aside(partial(read_at_position, stream, self._connection))
            for line, stream in self._streams.items()
            if topic_of(stream) in readable and topic_of(stream) not in refused
        }
        for line, name in self._topics.items():
            outcome = self._topic(line, described[name], cluster_id, refused.get(name))
            yield from self._at_position(line, outcome, reading.get(line))
        led = [TopicPartition(name, p) for name, entry in readable.items() for p in _led(entry)]
        yield self._newest(admin, led)

    def _at_position(self, line: Line, outcome: Outcome, reading: Future[AtPosition] | None) -> Iterator[Outcome]:
        """Yield what was found of a topic with what reading it at its positions brought."""
        if reading is None or not isinstance(outcome, SourceSeen) or not outcome.finding.ok:
            yield outcome
            return
        try:
            found = reading.result()
        except (WordtideError, OSError) as error:
            yield replace(outcome, finding=explained(line, error, "see what the broker's log says"))
            return
        if found.unreadable:
            stream = self._streams[line]
            outcome = replace(outcome, finding=bad(line, positions.described(found), positions.advice(stream, found)))
        yield outcome
        for waiting in found.parked:
            yield good(line, f"parked: {waiting}", positions.advice(self._streams[line], AtPosition()))

    def _topic(self, line: Line, entry: Mapping[str, Any], cluster_id: str, refusal: str | None) -> Outcome:
        problem = _problem(entry)
        if problem is kafka_errors.UnknownTopicOrPartitionError:
            hint = f"wordtide produce {entry['name']} creates it"
            return SourceSeen(line, None, good(line, "not created yet", hint))
        if problem is not None:
            return explained(line, explain(problem(entry["name"]), self._connection, entry["name"]), _GRANT)
        partitions = len(entry["partitions"])
        identity = {"cluster_id": cluster_id, "topic_id": str(entry["topic_id"]), "topic": entry["name"]}
        leaderless = sorted({p["partition_index"] for p in entry["partitions"]} - set(_led(entry)))
        if leaderless:
            shown = ", ".join(map(str, leaderless[:10])) + (" …" if len(leaderless) > 10 else "")
            found = bad(line, f"no leader for partition {shown}", "bring the brokers back that hold it")
            return SourceSeen(line, identity, found, partial=len(leaderless) < partitions)
        if refusal is not None:
            return bad(line, refusal, _GRANT if "uthoriz" in refusal else "see what the broker's log says")
        count = "1 partition" if partitions == 1 else f"{partitions:,} partitions"
        return SourceSeen(line, identity, good(line, f"readable, {count}"))

    def _newest(self, admin: KafkaAdminClient, partitions: Sequence[TopicPartition]) -> Finding:
        line = Line("clock", self._connection.bootstrap)
        try:
            asked = dict.fromkeys(partitions, OffsetSpec.MAX_TIMESTAMP)
            newest = of_any_broker(lambda: admin.list_partition_offsets(asked))
        except kafka_errors.KafkaError as error:
            # Brokers before 3.0 do not know the question; nothing depends on the answer.
            return good(line, f"cannot be told ({type(error).__name__})")
        return newest_record(line, max((int(at.timestamp) for at in newest.values()), default=-1), time.time())


def _problem(entry: Mapping[str, Any]) -> type[Exception] | None:
    problem: type[Exception] = kafka_errors.for_code(entry["error_code"])
    return None if problem is kafka_errors.NoError else problem


def _led(entry: Mapping[str, Any]) -> list[int]:
    return [int(p["partition_index"]) for p in entry["partitions"] if p["leader_id"] >= 0]


def one_of_each_leader(topics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return a (topic, partition) for each broker that leads any of a topic, of descriptions by topic.

    Rights are a topic's and connections a leader's, so the other partitions would tell nothing new.
    """
    chosen = {
        (name, part["leader_id"]): int(part["partition_index"])
        for name, entry in topics.items()
        for part in reversed(entry["partitions"])
        if part["leader_id"] >= 0
    }
    return [(name, partition) for (name, _), partition in chosen.items()]


def refusals(connection: KafkaConnection, partitions: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Fetch at the end of each (topic, partition) and return, by topic, what came instead of "there is no more"."""
    waiting = set(partitions)
    refused: dict[str, str] = {}
    if not waiting:
        return refused
    try:
        consumer = Consumer(
            {
                **connection.librdkafka(),
                # Named because the client wants it; a consumer that is assigned its partitions joins no group.
                "group.id": "wordtide-doctor",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
                "error_cb": lambda _error: None,
            }
        )
    except KafkaException as error:
        return {topic: error.args[0].str() for topic, _ in waiting}
    try:
        consumer.assign([Assigned(topic, partition, OFFSET_END) for topic, partition in sorted(waiting)])
        deadline = time.monotonic() + READ_SECONDS
        while waiting and time.monotonic() < deadline:
            for message in consumer.consume(100, 0.2):
                refused.update(_refused(message))
                waiting.discard((message.topic(), message.partition()))
    finally:
        consumer.close()
    silent = {topic: f"cannot be read: nothing came within {READ_SECONDS:.0f} s" for topic, _ in waiting}
    return {**silent, **refused}


def _refused(message: Message) -> dict[str, str]:
    error = message.error()
    topic = message.topic()
    if error is None or topic is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 its public name
        return {}
    return {topic: f"cannot be read: {error.str()}"}

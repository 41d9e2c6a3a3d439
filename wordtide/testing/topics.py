"""Topics, and what happens to them: plain functions on any broker without a login."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from wordtide.testing.waiting import SECONDS, wait_until


class HasKafka(Protocol):
    """A broker, or a cluster with one."""

    @property
    def kafka(self) -> str:
        """``host:port``."""
        ...


def admin_of(broker: HasKafka) -> AdminClient:
    """Return a client for what the functions here do not do; silent while the broker is away."""
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
    return AdminClient({"bootstrap.servers": broker.kafka, **quiet})


def create_topic(broker: HasKafka, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
    """Create a topic and wait until the broker leads all of it."""
    admin = admin_of(broker)
    # Tests send records of the past, which the broker's default retention would delete at any moment.
    settings = {"retention.ms": "-1", **(config or {})}
    created = admin.create_topics([NewTopic(name, partitions, 1, config=settings)], operation_timeout=SECONDS)
    created[name].result(SECONDS)
    _wait_until_led(admin, name, partitions)


def delete_topic(broker: HasKafka, name: str) -> None:
    """Delete a topic and wait until it is gone."""
    admin = admin_of(broker)
    admin.delete_topics([name], operation_timeout=SECONDS)[name].result(SECONDS)
    wait_until(f"topic {name} is gone", lambda: name not in admin.list_topics(timeout=SECONDS).topics)


def recreate_topic(broker: HasKafka, name: str, partitions: int = 1) -> None:
    """Delete a topic and create another, empty one under its name. Silent in every client."""
    delete_topic(broker, name)
    create_topic(broker, name, partitions)


def add_partitions(broker: HasKafka, name: str, total: int) -> None:
    """Let a topic grow, and wait until the new partitions are led."""
    admin = admin_of(broker)
    admin.create_partitions([NewPartitions(name, total)])[name].result(SECONDS)
    _wait_until_led(admin, name, total)


def _wait_until_led(admin: AdminClient, name: str, partitions: int) -> None:
    def led() -> bool:
        found = admin.list_topics(name, timeout=SECONDS).topics[name]
        return (
            found.error is None
            and len(found.partitions) == partitions
            and all(partition.leader >= 0 for partition in found.partitions.values())
        )

    wait_until(f"topic {name} has {partitions} partitions, all of them led", led)


def delete_records(broker: HasKafka, topic: str, before: Mapping[int, int]) -> None:
    """Delete the records before an offset of each named partition, as retention does."""
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    admin = admin_of(broker)
    for deleted in admin.delete_records(wanted, request_timeout=SECONDS).values():
        deleted.result(SECONDS)


def topic_id(broker: HasKafka, name: str) -> str:
    """Return the id that tells a topic from another one of its name, as Wordtide writes it."""
    # Its answers end with a client that nobody holds.
    admin = admin_of(broker)
    described = admin.describe_topics(TopicCollection([name]), request_timeout=SECONDS)[name].result(SECONDS)
    return str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{described.topic_id}==")))


def produce(
    broker: HasKafka,
    topic: str,
    values: Iterable[str | bytes | None],
    partition: int | None = None,
    timestamp_ms: int | None = None,
    config: Mapping[str, str] | None = None,
) -> None:
    """Send values, round robin over the partitions unless one is named, and wait for every acknowledgement."""
    producer = Producer(
        {"bootstrap.servers": broker.kafka, "acks": "all", "linger.ms": 5, "partitioner": "random", **(config or {})}
    )
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    options: dict[str, Any] = {} if partition is None else {"partition": partition}
    if timestamp_ms is not None:
        options["timestamp"] = timestamp_ms
    for value in values:
        while True:
            try:
                producer.produce(topic, value=value, on_delivery=delivered, **options)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(SECONDS) == 0
    assert not failed, failed[0]


def commit_offsets(broker: HasKafka, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit next offsets by partition as a consumer group does that then ends."""
    client = Consumer({"bootstrap.servers": broker.kafka, "group.id": group, "enable.auto.commit": False})
    try:
        client.commit(offsets=[TopicPartition(topic, p, offset) for p, offset in offsets.items()], asynchronous=False)
    finally:
        client.close()

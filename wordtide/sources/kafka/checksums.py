"""Checks the checksums of record batches without decoding a record, where librdkafka must not.

With `check.crcs` librdkafka goes on after a wrong checksum at a random place of the response, and what it takes there
for the length of an old message may fail one of its assertions: that ends the process, with all streams it drains. So
damage is searched for, and a range that ended a process is read, with checksums checked here: pure Python, 4 MB/s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.protocol.consumer.fetch import FetchRequest
from kafka.record.memory_records import MemoryRecords

from wordtide.core.model import KafkaSplit
from wordtide.core.problems import SourceUnavailable
from wordtide.sources.kafka.connection import KafkaConnection

RESPONSE_BYTES = 256 << 10
"""A broker sends at least one whole batch."""
WAIT_MS = 10
TIMEOUT_MS = 5_000
_NAMED_TOPICS = 12
"""The last version of the request that names topics; later ones take ids."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How far the checksums of a partition are right.

    Attributes:
        end: All batches before this offset are right; where one is wrong its begin, which may be before what was asked.
        damage: What is wrong with the batch at ``end``; empty if nothing is, as far as was looked.
    """

    end: int
    damage: str = ""


def check(
    connection: KafkaConnection,
    ranges: Sequence[KafkaSplit],
    most_bytes: int,
    seconds: float = math.inf,
    ahead: int = 0,
) -> Iterator[Checked]:
    """Check the batches of each ``[start, end)`` until one is wrong or so many bytes are checked.

    At least one batch is checked of each, the one that holds ``start``; of one that is empty too.

    Args:
        connection: The cluster.
        ranges: Of one topic.
        most_bytes: For each range.
        seconds: No further range is begun after them.
        ahead: Bytes to be checked behind each range too.

    Raises:
        SourceUnavailable: A leader does not answer.
    """
    deadline = time.monotonic() + seconds
    try:
        admin = KafkaAdminClient(
            **connection.kafka_python(),
            client_id="wordtide",
            bootstrap_timeout_ms=TIMEOUT_MS,
            request_timeout_ms=TIMEOUT_MS,
        )
        try:
            described = admin.describe_topics([ranges[0].topic])[0]
            leaders = {int(part["partition_index"]): int(part["leader_id"]) for part in described["partitions"]}
            for where in ranges:
                if time.monotonic() > deadline:
                    return
                yield _check(admin, leaders.get(where.partition, -1), where, most_bytes, ahead)
        finally:
            admin.close()
    except (kafka_errors.KafkaError, OSError) as error:
        said = " ".join(str(error).split())
        raise SourceUnavailable(
            f"Kafka at {connection.bootstrap}: {type(error).__name__}: {said}; try again when it answers"
        ) from error


def _check(admin: KafkaAdminClient, leader: int, where: KafkaSplit, most_bytes: int, ahead: int) -> Checked:
    if leader < 0:
        raise kafka_errors.LeaderNotAvailableError(where.what)
    at, left = where.start, most_bytes
    while True:
        content = _fetched(admin, leader, replace(where, start=at))
        if at < where.end:
            left -= len(content)
        else:
            ahead -= len(content)
        found = checked_batches(content, at)
        if found.damage or found.end <= at or left <= 0 or (found.end >= where.end and ahead <= 0):
            return found
        at = found.end


def _fetched(admin: KafkaAdminClient, leader: int, where: KafkaSplit) -> bytes:
    """Return whole batches from the one that holds an offset on, and maybe a part of another; empty at the end."""
    wanted = FetchRequest.FetchTopic
    part = wanted.FetchPartition(
        partition=where.partition, fetch_offset=where.start, partition_max_bytes=RESPONSE_BYTES
    )
    request = FetchRequest(
        max_wait_ms=WAIT_MS,
        min_bytes=1,
        max_bytes=RESPONSE_BYTES,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[wanted(topic=where.topic, partitions=[part])],
        forgotten_topics_data=[],
        rack_id="",
        min_version=4,
        max_version=_NAMED_TOPICS,
    )
    manager = admin._manager  # noqa: SLF001 the client has no other way to send a request of one's own
    response = manager.run(lambda: manager.send(request, node_id=leader))
    problem = kafka_errors.for_code(response.error_code)
    answer = response.responses[0].partitions[0] if response.responses else None
    if answer is not None and answer.error_code:
        problem = kafka_errors.for_code(answer.error_code)
    if problem is not kafka_errors.NoError:
        raise problem(where.what)
    return bytes(answer.records or b"") if answer is not None else b""


def checked_batches(content: bytes, at: int) -> Checked:
    """Return how far whole batches are right, of which the first holds the offset ``at``."""
    batches = MemoryRecords(content)
    while batches.has_next():
        try:
            batch = batches.next_batch()
        except kafka_errors.CorruptRecordError as error:
            return Checked(at, f"the length in its header is wrong ({error})")
        # Messages of before Kafka 0.11 have an offset each; what is packed into one has the last one's.
        behind = int(batch.next_offset if batch.magic >= 2 else batch.base_offset + 1)
        if not batch.validate_crc():
            return Checked(int(batch.base_offset), "its checksum is wrong (CRC32C)")
        at = max(at, behind)
    return Checked(at)

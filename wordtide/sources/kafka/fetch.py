"""How much a consumer fetches at once, and what its statistics show of it.

A client unpacks all of a response before anybody sees a record, and no setting bounds what compression makes of it:
100 zstd records of 20 MB are 0.19 MB on the wire and 2 GB in memory. So the bound is on the wire: a topic is fetched in
small pieces until it is known how much they swell. What it does not hold for: a response that swells many times more
than all before it. That one is as large as those before allowed, and the memory it takes may end the process; the next
one fetches that range in small pieces again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

CAREFUL_BYTES = 8 << 10
"""A response of a topic of which nothing is known; a batch of records larger than that comes alone."""
WIDE_BYTES = 4 << 20
"""A response at most, of a topic whose data swells little."""
PARTITION_BYTES = 1 << 20
"""Of one partition in a response."""
UNPACKED_BYTES = 64 << 20
"""What a response may become once it is known how much a topic's data swells."""
LARGEST_BATCH_BYTES = 112 << 20
"""A batch of records as the producer sent it; librdkafka unpacks no zstd beyond it, and refuses what is not compressed.
For zstd without a stated length it tries buffers three times larger each, so that anything from a third of it on may be
refused. A value is held here while the next one is unpacked there: twice as much and what counting takes are 512 MB."""
QUEUE_BYTES = 16 << 20
"""What may wait unpacked before more is fetched."""
QUEUE_RECORDS = 20_000
"""At most. What is fetched beyond the range's end is thrown away: with the default of 100,000, and with fetches of
8 MB, that was a third of all work on batches of 500,000."""
CAREFUL_RECORDS = 1
"""While nothing is known of them."""
FETCHED_AHEAD_BYTES = QUEUE_BYTES + WIDE_BYTES
"""What may have been fetched behind the last record that was handed out."""
WEIGHED_EVERY = 64
"""One of so many records, and the first, has its key and headers weighed: each would cost a tenth of reading it."""
TELLING_BYTES = 32 << 10
"""So much must have come before its swelling says anything."""


@dataclass(frozen=True, slots=True)
class Swell:
    """What a topic's records become when they are unpacked, keys and headers included.

    Attributes:
        ratio: Bytes of records by byte on the wire, where they swell most: a few may hold nearly all bytes.
        record_bytes: Bytes of a record on average.
    """

    ratio: float
    record_bytes: float


def response_bytes(swell: Swell | None) -> int:
    """Return how large a response may be; the swell is None while it is not known."""
    return CAREFUL_BYTES if swell is None else max(CAREFUL_BYTES, min(WIDE_BYTES, int(UNPACKED_BYTES / swell.ratio)))


def queue_records(swell: Swell | None) -> int:
    """Return how many records may wait before more is fetched: the client's limit in bytes is one of values only."""
    if swell is None:
        return CAREFUL_RECORDS
    return max(CAREFUL_RECORDS, min(QUEUE_RECORDS, int(QUEUE_BYTES / max(swell.record_bytes, 1))))


def fetch_settings(swell: Swell | None) -> dict[str, object]:
    """Return librdkafka's settings that bound what it holds."""
    response = response_bytes(swell)
    return {
        "fetch.max.bytes": response,
        "fetch.message.max.bytes": min(response, PARTITION_BYTES),
        # Of producers; but a response is never smaller.
        "message.max.bytes": response,
        "receive.message.max.bytes": LARGEST_BATCH_BYTES,
        "queued.max.messages.kbytes": QUEUE_BYTES >> 10,
        "queued.min.messages": queue_records(swell),
        # Default 1000 ms: after a full queue it sleeps that long (192 k against 806 k messages a second).
        "fetch.queue.backoff.ms": 1 if swell is None else 5,
    }


REPORT_SECONDS = 1.0
"""Between reports that are kept."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What has come: bytes on the wire, bytes of values, records."""

    wire: int
    values: int
    records: int


@dataclass(slots=True)
class Reports:
    """A consumer's statistics as they came, and the last thing it complained of.

    Attributes:
        topic: The one it reads.
        complaint: In the client's words; empty before any.
    """

    topic: str
    complaint: str = ""
    _weighed: int = 0
    _others: int = 0
    _last: str = ""
    _begin: _Fetched = field(default_factory=lambda: _Fetched(0, 0, 0))
    _ratio: float = 0.0
    _kept: tuple[str, str] = ("", "")
    _kept_at: float = field(default_factory=time.monotonic)
    _passed: tuple[str, dict[int, int]] = field(default_factory=lambda: ("", {}))

    def take(self, statistics: str) -> None:
        """Take in statistics (JSON)."""
        now = time.monotonic()
        if now - self._kept_at >= REPORT_SECONDS:
            self._kept, self._kept_at = (self._kept[1], statistics), now
        self._last = statistics
        fetched = self._fetched(json.loads(statistics))
        if self._weighed and fetched.wire - self._begin.wire >= TELLING_BYTES:
            self._ratio, self._begin = max(self._ratio, self._ratio_since(fetched)), fetched

    def weigh(self, records: Sequence[Message]) -> float:
        """Take in some of these records and return how many bytes their keys and headers have on average.

        The client's statistics leave them out.
        """
        weighed = records[::WEIGHED_EVERY]
        others = sum(map(_others, weighed))
        self._weighed += len(weighed)
        self._others += others
        return others / len(weighed)

    def passed(self) -> dict[int, int]:
        """Return by partition where fetching had got to a second ago, where nothing fetched waited to be handed out.

        What has not been handed out since, of offsets before that, is no visible record.
        """
        if not self._kept[0] or self._kept[0] is self._passed[0]:
            return self._passed[1]
        partitions = json.loads(self._kept[0])["topics"].get(self.topic, {}).get("partitions", {})
        passed = {
            int(number): int(seen["next_offset"]) for number, seen in partitions.items() if seen["fetchq_cnt"] == 0
        }
        self._passed = (self._kept[0], passed)
        return passed

    def swell(self) -> Swell | None:
        """Return how much a topic's data swells; None when too little has come."""
        if not self._last or not self._weighed:
            return None
        fetched = self._fetched(json.loads(self._last))
        if fetched.wire < TELLING_BYTES or not fetched.records:
            return None
        return Swell(max(self._ratio, self._ratio_since(fetched)), self._unpacked(fetched) / fetched.records)

    def _ratio_since(self, fetched: _Fetched) -> float:
        wire = max(fetched.wire - self._begin.wire, TELLING_BYTES)
        return (self._unpacked(fetched) - self._unpacked(self._begin)) / wire

    def _unpacked(self, fetched: _Fetched) -> float:
        return fetched.values + fetched.records * self._others / max(self._weighed, 1)

    def _fetched(self, statistics: dict[str, Any]) -> _Fetched:
        partitions = statistics["topics"].get(self.topic, {}).get("partitions", {}).values()
        return _Fetched(
            sum(int(broker["rxbytes"]) for broker in statistics["brokers"].values()),
            sum(int(partition["rxbytes"]) for partition in partitions),
            sum(int(partition["rxmsgs"]) for partition in partitions),
        )


def _others(record: Message) -> int:
    """Return how many bytes a record's key and headers have."""
    headers: Any = record.headers() or ()
    return len(record.key() or b"") + sum(len(name) + len(value or b"") for name, value in headers)

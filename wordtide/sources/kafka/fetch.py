"""How much a consumer fetches at once, and what its statistics show of it.

A client unpacks all of a response before anybody sees a record, and no setting bounds what compression makes of it:
100 zstd records of 20 MB are 0.19 MB on the wire and 2 GB in memory. So the bound is on the wire: a topic is fetched in
small pieces until it is known how much they swell.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

CAREFUL_BYTES = 8 << 10
"""A response of a topic of which nothing is known; a batch of records larger than that comes alone."""
WIDE_BYTES = 4 << 20
"""A response at most, of a topic whose data swells little."""
PARTITION_BYTES = 1 << 20
"""Of one partition in a response."""
UNPACKED_BYTES = 64 << 20
"""What a response may become once it is known how much a topic's data swells."""
LARGEST_BATCH_BYTES = 256 << 20
"""A batch of records as the producer sent it; librdkafka unpacks no zstd beyond it, and refuses what is not compressed.
Its default of 100 MB ends, for zstd without a stated length, anywhere from 34 MB on."""
QUEUE_BYTES = 16 << 20
"""What may wait unpacked before more is fetched."""
FETCHED_AHEAD_BYTES = QUEUE_BYTES + WIDE_BYTES
"""What may have been fetched behind the last record that was handed out."""
TELLING_BYTES = 32 << 10
"""So much must have come before its swelling says anything."""


def response_bytes(swell: float | None) -> int:
    """Return how large a response may be.

    Args:
        swell: Bytes of records by byte on the wire; None while that is not known.
    """
    return CAREFUL_BYTES if swell is None else max(CAREFUL_BYTES, min(WIDE_BYTES, int(UNPACKED_BYTES / swell)))


def fetch_settings(swell: float | None) -> dict[str, object]:
    """Return librdkafka's settings that bound what it holds."""
    response = response_bytes(swell)
    return {
        "fetch.max.bytes": response,
        "fetch.message.max.bytes": min(response, PARTITION_BYTES),
        # Of producers; but a response is never smaller.
        "message.max.bytes": response,
        "receive.message.max.bytes": LARGEST_BATCH_BYTES,
        "queued.max.messages.kbytes": QUEUE_BYTES >> 10,
    }


REPORT_SECONDS = 1.0
"""Between reports that are kept."""


@dataclass(slots=True)
class Reports:
    """A consumer's statistics as they came, and the last thing it complained of.

    Attributes:
        complaint: In the client's words; empty before any.
    """

    complaint: str = ""
    _last: str = ""
    _kept: tuple[str, str] = ("", "")
    _kept_at: float = field(default_factory=time.monotonic)
    _passed: tuple[str, dict[int, int]] = field(default_factory=lambda: ("", {}))

    def take(self, statistics: str) -> None:
        """Take in statistics (JSON)."""
        now = time.monotonic()
        if now - self._kept_at >= REPORT_SECONDS:
            self._kept, self._kept_at = (self._kept[1], statistics), now
        self._last = statistics

    def passed(self, topic: str) -> dict[int, int]:
        """Return by partition where fetching had got to a second ago, where nothing fetched waited to be handed out.

        What has not been handed out since, of offsets before that, is no visible record.
        """
        if not self._kept[0] or self._kept[0] is self._passed[0]:
            return self._passed[1]
        partitions = json.loads(self._kept[0])["topics"].get(topic, {}).get("partitions", {})
        passed = {
            int(number): int(seen["next_offset"]) for number, seen in partitions.items() if seen["fetchq_cnt"] == 0
        }
        self._passed = (self._kept[0], passed)
        return passed

    def swell(self, topic: str) -> float | None:
        """Return bytes of records by byte on the wire; None when too little has come."""
        if not self._last:
            return None
        seen = json.loads(self._last)
        wire = sum(int(broker["rxbytes"]) for broker in seen["brokers"].values())
        partitions = seen["topics"].get(topic, {}).get("partitions", {})
        unpacked = sum(int(partition["rxbytes"]) for partition in partitions.values())
        return unpacked / wire if unpacked and wire >= TELLING_BYTES else None

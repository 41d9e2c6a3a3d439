"""A receiver's figures as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wordtide.receivers.metrics import Metrics

_PREFIX = "wordtide_receiver_"
_COUNTERS = {
    "received_bytes": "Bytes taken from the network.",
    "landed_bytes": "Bytes in files that are there whole and durably.",
    "events": "Landed lines or events.",
    "files": "Landed files.",
    "reconnects": "Connections after the first.",
    "lost_bytes": "Bytes of unfinished lines whose connection broke.",
    "cuts": "Places where a line too long for memory was cut.",
    "dropped_repeats": "Events that were sent again although they had been taken.",
    "doubtful": "Landed events that may be repeats.",
}


class ReceiverCollector(Collector):
    """Yields what a receiver has done since it was started; figures of one scrape belong together."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every figure as it is now."""
        now = self._metrics.snapshot()
        for figure, what in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + figure, what, value=getattr(now, figure))
        yield GaugeMetricFamily(f"{_PREFIX}waiting_bytes", "Bytes in memory, not landed yet.", value=now.waiting_bytes)
        landed = GaugeMetricFamily(f"{_PREFIX}last_landed_timestamp_seconds", "When the last file had landed.")
        if now.last_landed_at is not None:
            landed.add_metric([], now.last_landed_at.timestamp())
        yield landed

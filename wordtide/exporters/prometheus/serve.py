"""All streams as one collector for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.registry import Collector

from wordtide.config import Stream
from wordtide.exporters.prometheus.families import Families, families
from wordtide.status.monitor import Watcher, look_at_all

SCRAPE_SECONDS = 5.0
"""A scrape ends after so long whatever is dead: half of what Prometheus waits for by default."""


class StreamsCollector(Collector):
    """Looks at all streams at each scrape."""

    def __init__(self, streams: Mapping[str, Stream], watchers: list[Watcher]) -> None:
        self._streams = streams
        self._watchers = watchers

    def collect(self) -> Families:
        """Yield what the streams show now."""
        yield from families(self._streams, look_at_all(self._watchers, SCRAPE_SECONDS))

    def describe(self) -> Families:
        """Say no names: registering would look at everything."""
        return iter(())

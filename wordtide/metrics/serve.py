"""Serves metrics to Prometheus over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from wordtide.config import Stream
from wordtide.errors import EnvironmentProblem
from wordtide.metrics.families import Families, families
from wordtide.metrics.looks import Watcher, look_at_all

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


@contextmanager
def served(collector: Collector, host: str, port: int) -> Iterator[int]:
    """Serve a collector's metrics while the context is open; yields the port.

    Raises:
        EnvironmentProblem: Nothing can listen there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EnvironmentProblem(f"cannot listen on {host} port {port} ({why}); name another --port") from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

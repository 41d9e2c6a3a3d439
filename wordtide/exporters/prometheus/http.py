"""Serves figures to Prometheus over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from wordtide.core.problems import EnvironmentProblem


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
        raise EnvironmentProblem(f"cannot listen on {host} port {port} ({why}); name another port") from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

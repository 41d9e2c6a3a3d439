"""One real Kafka broker and one real HDFS per test session, on free loopback ports."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from wordtide.embedded.cluster import ClusterAddress, down, up
from wordtide.embedded.ports import Ports
from wordtide.embedded.record import SERVERS, read_record

ANY_PORTS = Ports(kafka=0, controller=0, hdfs=0, webhdfs=0)


def end_for_sure(home: Path) -> None:
    """End the servers of `home`, by force if they refuse; only those that `home` has recorded."""
    record = read_record(home)
    try:
        down(home)
    finally:
        for name in SERVERS if record else ():
            server = record.server(name) if record else None
            if server is not None:
                with suppress(ProcessLookupError):
                    os.kill(server.process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def cluster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the session's cluster, for what is started with `WORDTIDE_HOME`; ended with the session."""
    home = tmp_path_factory.mktemp("cluster")
    try:
        yield home
    finally:
        end_for_sure(home)


@pytest.fixture(scope="session")
def cluster(cluster_home: Path) -> ClusterAddress:
    """The addresses of the session's broker and HDFS, which answer."""
    return up(cluster_home, ANY_PORTS)

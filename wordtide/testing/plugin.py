"""The pytest plugin: fixtures and options. Everything heavy is imported when a fixture is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wordtide.embedded.cluster import ClusterAddress
    from wordtide.testing.crash import CrashAt
    from wordtide.testing.place import Place
    from wordtide.testing.servers import Broker, Hdfs
    from wordtide.testing.soak import SoakReport

SOAK_REPORTS = pytest.StashKey[list["SoakReport"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--soak`` and ``--soak-seed``."""
    group = parser.getgroup("wordtide")
    group.addoption(
        "--soak",
        type=float,
        metavar="SECONDS",
        help="how long soaks shake their streams; 0 skips them (ini: wordtide_soak)",
    )
    group.addoption("--soak-seed", type=int, metavar="N", help="repeat the decisions of a soak; random unless given")
    parser.addini("wordtide_soak", "seconds of a soak unless --soak says otherwise; 0 skips soaks", default="0")


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what soaks report."""
    config.stash[SOAK_REPORTS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip soaks unless they are asked for, before any server is started for them."""
    if not _soak_seconds(config):
        for item in items:
            if "wordtide_soak" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip("no soak without --soak SECONDS"))


def _soak_seconds(config: pytest.Config) -> float:
    named = config.getoption("--soak")
    return float(config.getini("wordtide_soak") if named is None else named)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print seed and counts of every soak."""
    for report in config.stash[SOAK_REPORTS]:
        terminalreporter.section(f"soak: seed {report.seed}, {report.seconds:.0f} s")
        for line in report.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def wordtide_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the session's servers, for what is started with `WORDTIDE_HOME`; they end with the session."""
    from wordtide.testing.servers import end_for_sure

    home = tmp_path_factory.mktemp("cluster")
    try:
        yield home
    finally:
        end_for_sure(home)


@pytest.fixture(scope="session")
def wordtide_cluster(wordtide_home: Path) -> ClusterAddress:
    """The addresses of a real broker and a real HDFS of this session, on free loopback ports."""
    from wordtide.embedded.cluster import up
    from wordtide.testing.servers import ANY_PORTS

    return up(wordtide_home, ANY_PORTS)


@pytest.fixture(scope="session")
def wordtide_broker(wordtide_home: Path, wordtide_cluster: ClusterAddress) -> Broker:
    """The session's Kafka broker: what `wordtide.testing.topics` and `silent` work on."""
    from wordtide.testing.servers import Broker

    return Broker(wordtide_home, wordtide_cluster.kafka)


@pytest.fixture(scope="session")
def wordtide_hdfs(wordtide_home: Path, wordtide_cluster: ClusterAddress) -> Hdfs:
    """The session's HDFS: what `Proxy` and `silent` work on."""
    from wordtide.testing.servers import Hdfs

    return Hdfs(wordtide_home, wordtide_cluster.hdfs, wordtide_cluster.webhdfs)


@pytest.fixture
def wordtide_place(wordtide_cluster: ClusterAddress, tmp_path: Path) -> Place:
    """A test's own corner of the servers; ``own()`` moves the streams of your `streams.yaml` there."""
    from wordtide.testing.place import Place

    return Place(tmp_path, wordtide_cluster)


@pytest.fixture
def crash_at(wordtide_place: Place, wordtide_home: Path) -> CrashAt:
    """``crash_at(step, stream)``: drain a stream of `wordtide_place` in a process that is killed at a step."""
    from wordtide.testing.crash import CrashAt

    return CrashAt(wordtide_place, wordtide_home)


@pytest.fixture
def wordtide_soak(request: pytest.FixtureRequest, wordtide_place: Place, wordtide_home: Path) -> Callable[..., None]:
    """``wordtide_soak(topic_stream, folder_stream)``: see `wordtide.testing.soak.soak`. Skips unless ``--soak``."""
    from wordtide.testing.soak import soak

    reports = request.config.stash[SOAK_REPORTS]
    return soak(
        wordtide_place,
        wordtide_home,
        _soak_seconds(request.config),
        request.config.getoption("--soak-seed"),
        reports.append,
    )

"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Shell
from wordtide.embedded.cluster import ClusterAddress


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A user's folder: no server runs, nothing is in the environment."""
    for name in ("WORDTIDE_KAFKA_BOOTSTRAP", "WORDTIDE_HDFS_URL", "WORDTIDE_WEBHDFS"):
        # Set, so that a .env of whoever runs the tests does not bring them back.
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.setenv("COLUMNS", "80")
    shell = Shell(tmp_path, capsys)
    shell.streams("streams: {}\n")
    return shell


@pytest.fixture
def served(shell: Shell, cluster: ClusterAddress, cluster_home: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The same with the session's servers, found as a user's are."""
    assert cluster.kafka
    monkeypatch.setenv("WORDTIDE_HOME", str(cluster_home))
    return shell

"""Fixtures for all tests: one real broker and one real HDFS a session, and streams of one's own on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Place
from wordtide.embedded.cluster import ClusterAddress

pytest_plugins = ["tests.servers"]


@pytest.fixture
def place(cluster: ClusterAddress, tmp_path: Path) -> Place:
    """The servers, and a folder for this test's `streams.yaml`, tables and landed files."""
    return Place(tmp_path, cluster)

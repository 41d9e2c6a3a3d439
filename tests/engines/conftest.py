"""One Spark session for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resources import SparkResource


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkResource]:
    """A local Spark with two cores, stopped with the session."""
    resource = SparkResource(master="local[2]", parallelism=2)
    try:
        yield resource
    finally:
        resource.spark_session.stop()

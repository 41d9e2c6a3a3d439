"""What the Spark resource says of itself without starting a session."""

from __future__ import annotations

import os

import pytest

from resources import SparkResource


@pytest.mark.parametrize(
    ("master", "remote", "ours"),
    [("", "", True), ("local[3]", "", True), ("spark://h:7077", "", False), ("local[3]", "sc://h:15002", False)],
)
def test_only_a_local_master_uses_this_machines_cores(master: str, remote: str, ours: bool) -> None:
    spark = SparkResource(master=master, remote=remote, parallelism=1)
    assert spark.own_cores() == (1 if ours else None)


def test_more_tasks_than_cores_are_no_more_cores() -> None:
    assert SparkResource(parallelism=10_000).own_cores() == os.cpu_count()

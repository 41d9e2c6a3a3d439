"""What the Spark resource says of itself, and of a Spark that is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import wordtide.dagster.resources.spark
from resources import SparkResource
from wordtide.core.problems import EnvironmentProblem


@pytest.mark.parametrize(
    ("master", "remote", "ours"),
    [("", "", True), ("local[3]", "", True), ("spark://h:7077", "", False), ("local[3]", "sc://h:15002", False)],
)
def test_only_a_local_master_uses_this_machines_cores(master: str, remote: str, ours: bool) -> None:
    spark = SparkResource(master=master, remote=remote, parallelism=1)
    assert spark.own_cores() == (1 if ours else None)


def test_more_tasks_than_cores_are_no_more_cores() -> None:
    assert SparkResource(parallelism=10_000).own_cores() == os.cpu_count()


def refusal(spark: SparkResource) -> str:
    with pytest.raises(EnvironmentProblem) as refused:
        spark.spark_session  # noqa: B018 (starts it)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_connect_server_that_is_not_there_is_named_soon_and_without_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Left to itself Spark's client tries for ten minutes, and again when the process ends.
    monkeypatch.setattr(wordtide.dagster.resources.spark, "CONNECT_SECONDS", 1.0)
    line = refusal(SparkResource(remote="sc://127.0.0.1:1/;token=geheim"))
    assert "Spark at sc://127.0.0.1:1/ does not start: nothing answers there within 1 s" in line
    assert "WORDTIDE_SPARK_REMOTE" in line
    assert "geheim" not in line


@pytest.mark.parametrize("url", ["sc:/127.0.0.1:1", "sc://h:port", "http://h:1"])
def test_a_connect_url_that_is_none_is_named(url: str) -> None:
    line = refusal(SparkResource(remote=url))
    assert line.startswith(f"Spark at {url} does not start: ")
    assert "WORDTIDE_SPARK_REMOTE (sc://host:port)" in line


def test_a_master_url_that_is_none_is_one_line_and_not_javas_stack() -> None:
    # In a process of its own: where a session is running already, Spark gives that one and looks at no URL.
    program = "from resources import SparkResource; SparkResource(master='spark://127.0.0.1').spark_session"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    line = ended.stderr.strip().splitlines()[-1]
    assert "does not start: SparkException: Invalid master URL: spark://127.0.0.1; " in line
    assert "WORDTIDE_SPARK_MASTER" in line

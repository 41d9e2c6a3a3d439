"""The doctor finds out whether Spark's executors see a stream's local folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resources import SparkResource
from wordtide.config import Stream, parse_streams
from wordtide.doctor.findings import Finding, gather
from wordtide.doctor.sharing import sharing_checks
from wordtide.doctor.spark_probe import probe

ELSEWHERE = {"WORDTIDE_SPARK_MASTER": "spark://127.0.0.1:1"}


def a_stream(folder: Path, **keys: Any) -> Stream:
    config = {"landing": {"path": str(folder / "landing")}, "engine": "spark", **keys}
    text = json.dumps({"tables": str(folder / "tables"), "streams": {"s": config}})
    return parse_streams(text, folder / "streams.yaml")["s"]


def findings(stream: Stream, environment: dict[str, str], seconds: float = 5.0) -> list[Finding]:
    outcomes = gather(sharing_checks([stream], environment, seconds), seconds + 30)
    return [outcome for outcome in outcomes if isinstance(outcome, Finding)]


@pytest.mark.parametrize("writes", [True, False])
def test_a_folder_that_executors_share_passes(spark: SparkResource, tmp_path: Path, writes: bool) -> None:
    assert probe(spark.spark_session, {str(tmp_path): writes}, ".token", 3) == {str(tmp_path): None}
    assert len(list(tmp_path.iterdir())) == (4 if writes else 1)


def test_a_folder_that_is_another_one_for_executors_is_named(
    spark: SparkResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spark.spark_session.range(1).count()
    # Executors run already, and their current folder is another one from here on.
    monkeypatch.chdir(tmp_path)

    found = probe(spark.spark_session, {"/proc/self/cwd": True, str(tmp_path): False}, ".token", 2)

    assert "does not see a file that this machine wrote there" in str(found["/proc/self/cwd"])
    assert found[str(tmp_path)] is None


def test_a_stream_that_does_not_say_that_its_paths_are_shared_is_refused(tmp_path: Path) -> None:
    [finding] = findings(a_stream(tmp_path), ELSEWHERE)

    assert not finding.ok
    assert finding.stops
    assert f"{tmp_path}/landing" in finding.what
    assert "shared_paths: true" in finding.do


def test_folders_that_are_not_there_yet_cannot_be_probed(tmp_path: Path) -> None:
    found = findings(a_stream(tmp_path, shared_paths=True), ELSEWHERE)

    assert len(found) == 2
    assert all(one.ok and "not created yet" in one.what for one in found)


def test_a_spark_that_does_not_answer_leaves_it_open_whether_folders_are_shared(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()

    found = findings(a_stream(tmp_path, shared_paths=True), ELSEWHERE, seconds=1.0)

    [landing] = [one for one in found if one.line.where.endswith("landing")]
    assert not landing.ok
    assert "did not run the probe within 1 s" in landing.what
    assert list((tmp_path / "landing").iterdir()) == []


@pytest.mark.parametrize("environment", [{}, {"WORDTIDE_SPARK_MASTER": "local[4]"}])
def test_spark_on_this_machine_needs_no_probe(tmp_path: Path, environment: dict[str, str]) -> None:
    assert sharing_checks([a_stream(tmp_path, shared_paths=True)], environment, 1.0) == []

"""A stream that cannot run is withheld: its asset says why, and everything else is as without it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from resources import SparkResource
from wordtide.core.problems import ConfigError
from wordtide.dagster.definitions import VALIDATING, build_definitions

MET = """
streams:
  good: {landing: {path: ./in}}
  kafka: {kafka: {topic: other}}
  t: {kafka: {topic: word_counts}}
"""
BROKEN = """
streams:
  good: {landing: {path: ./in}}
  no-name: {kafka: {topic: other}}
  elsewhere: {landing: {path: "ftp://in"}}
  typo: {kafka: {topic: a, startt: latest}}
  Good: {kafka: {topic: c}}
"""


@pytest.fixture(
    params=[(MET, {"kafka", "t"}), (BROKEN, {"no-name", "elsewhere", "typo", "Good"})], ids=["met", "broken"]
)
def refused(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    text, names = request.param
    (tmp_path / "streams.yaml").write_text(text)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.txt").write_text("x y\n")
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VALIDATING, raising=False)
    return set(names)


def test_each_keeps_its_asset_with_the_error_and_the_rest_of_the_code_location_loads(refused: set[str]) -> None:
    defs = build_definitions()
    dg.Definitions.validate_loadable(defs)
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    for name in refused:
        assert specs[dg.AssetKey([name, "word_counts"])].metadata["problem"]
    assert {key for key in specs if key.path[0] not in refused} == {
        dg.AssetKey(["landing", "good"]),
        dg.AssetKey(["good", "word_counts"]),
    }
    assert {sensor.name for sensor in defs.sensors or ()} == {"good_sensor", "wordtide_alerts", "wordtide_retention"}


def test_materializing_one_fails_with_the_line_and_its_neighbour_counts(refused: set[str]) -> None:
    defs = build_definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        for name in sorted(refused):
            failed = job.execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey([name, "word_counts"])], raise_on_error=False
            )
            (step,) = failed.get_step_failure_events()
            data = step.event_specific_data
            assert isinstance(data, dg._core.events.StepFailureData)
            assert data.user_failure_data is not None
            assert name in str(data.user_failure_data.description)
        counted = defs.resolve_job_def("good_drain").execute_in_process(instance=instance)
        assert counted.success


def test_validation_fails_with_every_line(refused: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VALIDATING, "1")
    with pytest.raises(ConfigError) as failed:
        build_definitions()
    assert all(name in str(failed.value) for name in refused)
    assert len(str(failed.value).splitlines()) == len(refused)


SPARK = """
tables: TABLES
streams:
  good: {landing: {path: ./in}}
  far: {landing: {path: ./in}, engine: spark}
  shared: {landing: {path: ./in}, engine: spark, shared_paths: true}
"""


@pytest.mark.parametrize("tables", ["./tables", "hdfs:///tables"])
def test_a_stream_for_a_spark_elsewhere_that_cannot_reach_its_files_is_withheld(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: str
) -> None:
    (tmp_path / "streams.yaml").write_text(SPARK.replace("TABLES", tables))
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.delenv(VALIDATING, raising=False)

    here = {job.name for job in build_definitions(spark=SparkResource(master="local[2]")).jobs or ()}
    far = build_definitions(spark=SparkResource(master="spark://m:7077"))
    later = build_definitions(spark=SparkResource(master=dg.EnvVar("MASTER")))

    assert "far_drain" in here
    assert {job.name for job in far.jobs or ()} == here - {"far_drain"}
    assert {job.name for job in later.jobs or ()} == here
    specs = {spec.key: spec for spec in far.resolve_all_asset_specs()}
    assert "shared_paths: true" in str(specs[dg.AssetKey(["far", "word_counts"])].metadata["problem"])


def test_a_run_is_refused_where_only_it_can_know_that_spark_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "streams.yaml").write_text(SPARK.replace("TABLES", "./tables"))
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.setenv("MASTER", "spark://m:7077")
    defs = build_definitions(spark=SparkResource(master=dg.EnvVar("MASTER")))

    with dg.DagsterInstance.ephemeral() as instance:
        ended = defs.resolve_job_def("far_drain").execute_in_process(instance=instance, raise_on_error=False)

    assert not ended.success
    (step,) = ended.get_step_failure_events()
    assert "shared_paths: true" in str(step.event_specific_data)
    assert not (tmp_path / "tables").exists()

"""A translator of one's own names all that definitions show and runs report; collisions are judged with its names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from tests.dagster.support import instance
from wordtide.config import PROJECT_ROOT, Stream, load_streams
from wordtide.config.asset_names import Definition, Part, Role, StreamAsset
from wordtide.dagster.definitions import VALIDATING, build_definitions
from wordtide.dagster.sensors import FOLLOW_TAG
from wordtide.dagster.translator import STREAM_TAG, WordtideTranslator

TABLE, SOURCE = dg.AssetKey(["b", "s", "word_counts"]), dg.AssetKey(["b", "landing", "s"])


class Own(WordtideTranslator):
    """Everything is another than by default."""

    def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
        return super().get_asset_key(asset).with_prefix("b")

    def get_group_name(self, asset: StreamAsset) -> str | None:
        return "b"

    def get_description(self, asset: StreamAsset) -> str:
        return f"b {asset.part}"

    def get_owners(self, asset: StreamAsset) -> Sequence[str]:
        return ["team:b"]

    def get_tags(self, asset: StreamAsset) -> Mapping[str, str]:
        return {"b": asset.name}

    def get_kinds(self, asset: StreamAsset) -> Sequence[str]:
        return ["gold"]

    def get_metadata(self, asset: StreamAsset) -> Mapping[str, Any]:
        return {**super().get_metadata(asset), "b": asset.name}

    def get_definition_name(self, definition: Definition) -> str:
        return f"b_{super().get_definition_name(definition)}"

    def get_definition_description(self, definition: Definition) -> str:
        return f"b {definition.role}"

    def get_definition_tags(self, definition: Definition) -> Mapping[str, str]:
        return {"b": definition.stream or "all"}

    def get_stream_tag(self, name: str) -> str:
        return f"b/{name}"


@pytest.fixture
def streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Stream]:
    """One stream of a local folder in which a file has landed, with its own home."""
    (tmp_path / "streams.yaml").write_text("streams:\n  s: {landing: {path: ./in, min_age: 0s}, engine: local}\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.txt").write_text("x y x\n")
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(VALIDATING, raising=False)
    return load_streams()


def test_each_asset_and_definition_is_as_the_translator_says(streams: dict[str, Stream]) -> None:
    defs = build_definitions(streams, translator=Own())
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == {TABLE, SOURCE}
    assert [dep.asset_key for dep in specs[TABLE].deps] == [SOURCE]
    for spec in specs.values():
        assert (spec.group_name, list(spec.owners), spec.tags["b"], spec.metadata["b"]) == ("b", ["team:b"], "s", "s")
        assert (spec.kinds, spec.description) == ({"gold"}, f"b {Part.TABLE if spec.key == TABLE else Part.SOURCE}")

    found = defs.get_repository_def()
    jobs = {job.name: job for job in found.get_all_jobs() if not job.name.startswith("__")}
    assert set(jobs) == {"b_s_drain", "b_maintenance"}
    assert [node.name for node in jobs["b_maintenance"].nodes] == ["b_tidy_tables"]
    assert jobs["b_s_drain"].tags == {"b": "s", STREAM_TAG: "b/s"}
    assert {sensor.name for sensor in found.sensor_defs} == {"b_s_sensor", "b_wordtide_alerts", "b_wordtide_retention"}
    assert {schedule.name for schedule in found.schedule_defs} == {"b_maintenance_schedule"}
    shown = [*jobs.values(), *found.sensor_defs, *found.schedule_defs]
    assert {one.description for one in shown} == {f"b {role}" for role in Role if role is not Role.MAINTENANCE_OP}


def test_a_run_reports_under_the_translators_names_and_its_sensor_finds_it(streams: dict[str, Stream]) -> None:
    defs, stream = build_definitions(streams, translator=Own()), streams["s"]
    job = defs.resolve_job_def("b_s_drain")
    with instance() as home:
        (request,) = _tick(defs, home).run_requests or ()
        assert request.tags.items() >= {STREAM_TAG: "b/s", FOLLOW_TAG: "true"}.items()
        assert job.execute_in_process(instance=home).success
        assert {key for key in home.all_asset_keys() if home.fetch_materializations(key, limit=1).records} == {
            TABLE,
            SOURCE,
        }
        (event, *_) = home.fetch_materializations(TABLE, limit=10, ascending=True).records
        assert event.asset_materialization is not None
        assert "dagster/input_data_version/b/landing/s" in (event.asset_materialization.tags or {})

        Path(stream.landing or "", "2.txt").write_text("z\n")
        home.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={STREAM_TAG: "s"})
        assert _tick(defs, home).run_requests
        home.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={STREAM_TAG: "b/s"})
        assert "is draining" in str(_tick(defs, home).skip_reason)


def _tick(defs: dg.Definitions, home: dg.DagsterInstance, name: str = "b_s_sensor") -> dg.SensorResult:
    resources = {key: resource for key, resource in (defs.resources or {}).items() if not key.endswith("spark")}
    with dg.build_sensor_context(instance=home, resources=resources) as context:
        result = defs.resolve_sensor_def(name)(context)
    assert isinstance(result, dg.SensorResult)
    return result


class Together(WordtideTranslator):
    """Gives all tables one key."""

    def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
        return dg.AssetKey("counts") if asset.part is Part.TABLE else super().get_asset_key(asset)


class Apart(WordtideTranslator):
    """Gives tables keys that no topic has."""

    def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
        return dg.AssetKey(["counts", asset.name]) if asset.part is Part.TABLE else super().get_asset_key(asset)


def test_names_that_a_translator_makes_equal_withhold_their_streams(tmp_path: Path, streams: dict[str, Stream]) -> None:
    (tmp_path / "streams.yaml").write_text("streams:\n  a: {landing: {path: ./a}}\n  b: {landing: {path: ./b}}\n")
    defs = build_definitions(translator=Together())
    dg.Definitions.validate_loadable(defs)
    (spec,) = defs.resolve_all_asset_specs()
    assert "the table of a and the table of b would both be the asset counts" in str(spec.description)


def test_names_that_a_translator_keeps_apart_withhold_no_stream(tmp_path: Path, streams: dict[str, Stream]) -> None:
    (tmp_path / "streams.yaml").write_text(
        "streams:\n  kafka: {kafka: {topic: other}}\n  t: {kafka: {topic: word_counts}}\n"
    )
    assert {job.name for job in build_definitions().jobs or ()} == {"maintenance"}
    assert {job.name for job in build_definitions(translator=Apart()).jobs or ()} == {
        "kafka_drain",
        "t_drain",
        "maintenance",
    }


PROJECT = """
from pathlib import Path

import dagster as dg

from tests.dagster.test_translator import Own
from wordtide.config import load_streams
from wordtide.dagster.definitions import build_definitions

first, second = (load_streams(Path(path)) for path in PATHS)
defs = dg.Definitions.merge(
    build_definitions(first), build_definitions(second, translator=Own(), resource_prefix="b_")
)
"""


def test_two_sets_of_streams_merge_into_one_project_in_which_both_are_counted(
    tmp_path: Path, streams: dict[str, Stream]
) -> None:
    other = tmp_path / "other" / "streams.yaml"
    (other.parent / "in").mkdir(parents=True)
    (other.parent / "in" / "1.txt").write_text("p p q\n")
    other.write_text((tmp_path / "streams.yaml").read_text())
    second = build_definitions(load_streams(other), translator=Own(), resource_prefix="b_")
    dg.Definitions.validate_loadable(second)
    merged = dg.Definitions.merge(build_definitions(streams), second)
    assert set(merged.resources or {}) == {
        f"{prefix}{name}" for prefix in ("", "b_") for name in ("kafka", "hdfs", "spark", "tables", "openlineage")
    }
    with instance() as home:
        for name in ("s_sensor", "b_s_sensor"):
            assert _tick(merged, home, name).run_requests
        for name in ("s_drain", "b_s_drain", "maintenance", "b_maintenance"):
            assert merged.resolve_job_def(name).execute_in_process(instance=home).success
        for name in ("s_sensor", "b_s_sensor", "wordtide_alerts", "b_wordtide_alerts"):
            assert not _tick(merged, home, name).run_requests
        assert len({run.tags[STREAM_TAG] for run in home.get_runs() if STREAM_TAG in run.tags}) == 2
    assert _counted(streams) == {"x": 2, "y": 1}
    assert _counted(load_streams(other)) == {"p": 2, "q": 1}

    project = tmp_path / "project.py"
    project.write_text(PROJECT.replace("PATHS", repr([str(tmp_path / "streams.yaml"), str(other)])))
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-f", str(project)]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _counted(streams: dict[str, Stream]) -> dict[str, int]:
    rows = DeltaTable(streams["s"].table).to_pyarrow_table(columns=["kind", "word", "count"])
    return {row["word"]: row["count"] for row in rows.to_pylist() if row["kind"] == "count"}

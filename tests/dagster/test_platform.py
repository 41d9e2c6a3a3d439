"""This platform's own project shows the streams as `wordtide.dagster.build_definitions` does, and adds `top_words`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import platform_defs.definitions
import wordtide.dagster
from wordtide.dagster.definitions import VALIDATING

STREAMS = """
streams:
  news: {kafka: {topic: news}, owners: ["team:words"]}
  more: {kafka: {topic: news}}
  wire: {landing: {path: ./wire}, socket: {server: "127.0.0.1:9999"}}
  kafka: {kafka: {topic: other}}
  t: {kafka: {topic: word_counts}}
  landing: {kafka: {topic: top_words}}
  top_words: {landing: {path: ./top_words}}
  wrong-name: {kafka: {topic: x}}
"""


def graph(defs: dg.Definitions) -> dict[str, Any]:
    """Return what definitions show, by kind and name."""
    repository = defs.get_repository_def()
    specs = {
        ("asset", spec.key.to_user_string()): spec.replace_attributes(metadata={})
        for spec in defs.resolve_all_asset_specs()
    }
    checks = {("check", str(key)): () for key in defs.resolve_asset_graph().asset_check_keys}
    jobs = {
        ("job", job.name): (job.description, dict(job.tags), {node.name for node in job.nodes})
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    sensors = {
        ("sensor", sensor.name): (sensor.description, sensor.default_status, sensor.minimum_interval_seconds)
        for sensor in repository.sensor_defs
    }
    schedules = {("schedule", one.name): (one.description, one.cron_schedule) for one in repository.schedule_defs}
    resources = {("resource", name): type(resource) for name, resource in (defs.resources or {}).items()}
    return {**specs, **checks, **jobs, **sensors, **schedules, **resources}


def test_the_project_shows_the_graph_of_build_definitions_and_top_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "streams.yaml").write_text(STREAMS)
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.delenv(VALIDATING, raising=False)

    shown, expected = graph(platform_defs.definitions.build_definitions()), graph(wordtide.dagster.build_definitions())

    assert {name: shown.get(name) for name in expected} == expected
    added = [name for name in shown if name not in expected]
    assert {(kind, name) for kind, name in added if kind != "check"} == {
        *(("asset", f"{name}/word_counts/top_words") for name in ("news", "more", "wire", "landing", "top_words")),
        ("sensor", "follow_word_counts"),
    }
    assert len(added) == 6 + 5

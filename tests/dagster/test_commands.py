"""Dagster's own commands and a real `dagster dev`, as a user calls them."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.support import some_lines, topic_of, wait_until, words_of
from wordtide.cli.dagster_dev import DagsterDev
from wordtide.config import PROJECT_ROOT

SECONDS = 180.0


@pytest.fixture
def environment(place, cluster_home, tmp_path, monkeypatch):
    """The variables of somebody who uses the session's servers."""
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "streams.yaml"))
    monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", place.cluster.kafka)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    Path(tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")


def dagster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dagster", *arguments],
        cwd=PROJECT_ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_materialize_from_the_command_line_drains_what_is_there_and_ends(place, environment):
    stream = place.topic_stream(partitions=2)
    lines = some_lines(500)
    place.produce(stream, lines)
    ended = dagster("asset", "materialize", "--select", "s/word_counts", "-m", "wordtide.dagster.definitions")
    assert ended.returncode == 0, ended.stderr
    assert place.counted(stream) == words_of(lines)
    assert "BetaWarning" not in ended.stderr


def test_the_workspace_validates(place, environment):
    place.topic_stream()
    ended = dagster("definitions", "validate", "-w", "workspace.yaml")
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_streams_yaml_fails_validation_with_its_line(tmp_path, environment):
    (tmp_path / "streams.yaml").write_text("streams: {s: {}}")
    ended = dagster("definitions", "validate", "-w", "workspace.yaml")
    assert ended.returncode == 1
    assert "name exactly one source: kafka or landing" in ended.stdout + ended.stderr


def test_streams_whose_names_meet_fail_validation_with_their_line_and_the_others_can_be_materialized(
    place, environment
):
    place.topic_stream()
    config = yaml.safe_load((place.folder / "streams.yaml").read_text())
    (place.folder / "in").mkdir()
    (place.folder / "in" / "1.txt").write_text("a b\n")
    config["streams"] = {
        "kafka": {"kafka": {"topic": "other"}},
        "t": {"kafka": {"topic": "word_counts"}},
        "good": {"landing": {"path": "in", "min_age": "0s"}},
    }
    (place.folder / "streams.yaml").write_text(yaml.safe_dump(config))
    line = "would both be the asset kafka/word_counts; rename stream kafka"
    ended = dagster("definitions", "validate", "-w", "workspace.yaml")
    assert ended.returncode == 1
    assert line in ended.stdout + ended.stderr
    ended = dagster("asset", "materialize", "--select", "good/word_counts", "-m", "wordtide.dagster.definitions")
    assert ended.returncode == 0, ended.stderr
    ended = dagster("asset", "materialize", "--select", "t/word_counts", "-m", "wordtide.dagster.definitions")
    assert ended.returncode == 1
    assert line in ended.stdout + ended.stderr


def test_a_real_dagster_dev_counts_what_arrives(place, environment, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME")
    stream = place.topic_stream(partitions=2, linger="2s")
    first, second = some_lines(300, seed=1), some_lines(300, seed=2)
    place.produce(stream, first)
    with DagsterDev(log=place.folder / "dagster.log") as dev:
        dev.wait_ready()

        def ask(query: str) -> dict:
            request = urllib.request.Request(
                f"{dev.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]

        def counted() -> bool:
            return place.table(stream).open() is not None and place.counted(stream) == words_of(first)

        wait_until("the sensor's run has counted the first lines", counted, SECONDS)
        place.produce(stream, second)
        expected = words_of(first + second)
        wait_until("the second lines are counted", lambda: place.counted(stream) == expected, SECONDS)
        events = """{ assetOrError(assetKey: {path: ["s", "word_counts"]}) { ... on Asset {
            assetMaterializations { tags { key value } metadataEntries { label } } } } }"""

        def reported() -> list:
            found = ask(events)["assetOrError"].get("assetMaterializations", [])
            positions = [
                tag["value"] for event in found for tag in event["tags"] if tag["key"] == "dagster/data_version"
            ]
            ends = " ".join(f"{p}:{end}" for p, end in sorted(offsets().items()))
            return found if ends in positions else []

        def offsets() -> dict[int, int]:
            splits = [split for row in place.ledger(stream) for split in row["splits"]]
            return {split["partition"]: split["end"] for split in splits}

        found = wait_until("the last position is reported", reported, SECONDS)
        assert {"batch", "words", "rows", "lag"} <= {entry["label"] for entry in found[-1]["metadataEntries"]}
        runs = ask(
            '{ runsOrError(filter: {tags: [{key: "wordtide/stream", value: "s"}]}) { ... on Runs { results {'
            " runConfig tags { key value } } } } }"
        )["runsOrError"]["results"]
        assert all("wordtide/follow" in {tag["key"] for tag in run["tags"]} for run in runs)
        assert topic_of(stream) not in json.dumps(runs)


def test_the_readmes_downstream_asset_uses_spark_on_the_table(place, environment):
    stream = place.topic_stream()
    config = yaml.safe_load((place.folder / "streams.yaml").read_text())
    # A space: where a path is not a URL.
    config |= {"tables": str(place.folder / "my tables"), "streams": {"news": config["streams"]["s"]}}
    (place.folder / "streams.yaml").write_text(yaml.safe_dump(config))
    place.produce(stream, ["a antidisestablishmentarianism", "internationalization a"])
    section = (PROJECT_ROOT / "README.md").read_text().split("## In your own Dagster project")[1]
    code = section.split("```python\n")[1].split("```")[0]
    script = place.folder / "project.py"
    script.write_text(code)
    for select in ("news/word_counts", "long_words"):
        ended = dagster("asset", "materialize", "--select", select, "-f", str(script))
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "long_words" in ended.stderr

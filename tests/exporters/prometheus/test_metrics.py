"""What Prometheus is told: checked against the ledger's own rows, over HTTP, with servers that are dead."""

from __future__ import annotations

import json
import math
import signal
import socket
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import served, shell
from tests.cli.support import CLOSED_PORT, Shell
from tests.cli.test_questions import drain, land
from tests.support import create_topic, produce, unique
from wordtide.config import load_streams
from wordtide.embedded.cluster import ClusterAddress
from wordtide.exporters.prometheus import http, serve
from wordtide.exporters.prometheus.serve import StreamsCollector
from wordtide.status.monitor import Watcher
from wordtide.table.maintain import compact_if_needed
from wordtide.wiring import open_table

__all__ = ["served", "shell"]

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Return every sample by name and label values in the order of label names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Exporter:
    """The exporter in this process, over real HTTP."""

    def __init__(self) -> None:
        streams = load_streams()
        self.said: list[str] = []
        self.collector = StreamsCollector(streams, [Watcher(one, self.said.append) for one in streams.values()])

    def scrape(self) -> Samples:
        with http.served(self.collector, "127.0.0.1", 0) as port:
            return samples(get(port))


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert answer.status == 200
        body: bytes = answer.read()
        return body.decode()


@pytest.fixture
def folder(shell: Shell) -> Path:
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    return landing


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ledger(shell: Shell) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(shell("ledger", "s", "--json").out)
    return rows


def test_counters_and_histograms_are_what_the_ledger_says_and_each_batch_counts_once(
    shell: Shell, folder: Path
) -> None:
    land(folder, ["a b", "c"], "one")
    drain("s")
    running = Exporter()
    running.scrape()
    for name in ("two", "three"):
        land(folder, ["d e f"] * 3, name)
        drain("s")
    running.scrape()
    told = running.scrape()
    rows = [row for row in ledger(shell) if row["status"] == "published"]
    for name in ("lines", "bytes", "words"):
        assert told[f"wordtide_{name}_total", ("s",)] == sum(row[name] for row in rows)
    assert told["wordtide_files_total", ("s",)] == 3
    assert told["wordtide_batches_total", ("published", "s")] == len(rows) == 3
    for step in ("plan", "read", "count", "write"):
        assert told["wordtide_batch_step_seconds_count", (step, "s")] == 3
        spent = sum(row["seconds"][step] for row in rows)
        assert math.isclose(told["wordtide_batch_step_seconds_sum", (step, "s")], spent, abs_tol=1e-9)
    seconds = [when(row["committed_at"]) - when(row["planned_at"]) + row["seconds"]["plan"] for row in rows]
    for bound in ("0.1", "1.0", "+Inf"):
        expected = sum(one <= float(bound) for one in seconds)
        assert told["wordtide_batch_seconds_bucket", (bound, "s")] == expected
    waited = [when(row["committed_at"]) - split["mtime"] / 1000 for row in rows for split in row["splits"]]
    assert math.isclose(told["wordtide_file_latency_seconds_sum", ("s",)], sum(waited), abs_tol=1e-3)
    assert told["wordtide_last_commit_timestamp_seconds", ("s",)] == when(rows[-1]["committed_at"])


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_compaction_and_a_restart_change_no_counter(shell: Shell, folder: Path) -> None:
    for name in "abc":
        land(folder, ["x y"], name)
        drain("s")
    running = Exporter()
    before = running.scrape()
    assert compact_if_needed(open_table(load_streams()["s"]), live_files=0)
    after, restarted = running.scrape(), Exporter().scrape()
    assert after["wordtide_live_files", ("s",)] < before["wordtide_live_files", ("s",)]
    moved = {name for name, _ in before if before.get((name, _)) != after.get((name, _))}
    assert moved == {"wordtide_live_files"}
    assert restarted == after


def test_files_and_bytes_that_wait_are_told_before_there_is_a_table(shell: Shell, folder: Path) -> None:
    land(folder, ["12345"], "one")
    land(folder, ["123"], "two")
    told = Exporter().scrape()
    assert (told["wordtide_lag_files", ("s",)], told["wordtide_lag_bytes", ("s",)]) == (2, 10)
    assert told["wordtide_source_up", (str(folder), "s")] == told["wordtide_table_up", ("s",)] == 1
    assert ("wordtide_words_total", ("s",)) not in told


def test_a_topic_is_told_by_partition(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("metrics")
    create_topic(cluster, topic, 2)
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    produce(cluster, topic, ["a", "b", "c"], partition=0)
    drain("s")
    produce(cluster, topic, ["d", "e"], partition=1)
    told = Exporter().scrape()
    for name, values in {"lag_records": (0, 2), "position_offset": (3, 0), "end_offset": (3, 2)}.items():
        assert tuple(told[f"wordtide_{name}", (str(n), "s", topic)] for n in range(2)) == values
    assert told["wordtide_records_total", ("s",)] == 3


def test_dead_and_silent_servers_hold_up_no_scrape_and_are_named(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    monkeypatch.setattr(serve, "SCRAPE_SECONDS", 1.0)
    land(folder, ["a"])
    drain("s")
    both = "streams: {s: {landing: {path: ./landing, min_age: 0s}}, news: {kafka: {topic: t}}}\n"
    shell.streams(both)
    for port in (silent_port, CLOSED_PORT):
        monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", f"127.0.0.1:{port}")
        told = Exporter().scrape()
        assert told["wordtide_source_up", ("t", "news")] == 0
        assert told["wordtide_table_up", ("news",)] == told["wordtide_table_up", ("s",)] == 1
        assert told["wordtide_source_up", (str(folder), "s")] == told["wordtide_words_total", ("s",)] == 1
        assert not [name for name, labels in told if name == "wordtide_lag_records"]
    shell.streams("tables: hdfs:///tables\nstreams: {s: {landing: {path: ./landing}}}\n")
    monkeypatch.setenv("WORDTIDE_HDFS_URL", f"hdfs://127.0.0.1:{silent_port}")
    told = Exporter().scrape()
    assert told["wordtide_table_up", ("s",)] == 0


def test_a_table_that_goes_away_keeps_its_counters_and_is_down(shell: Shell, folder: Path) -> None:
    land(folder, ["a b"])
    drain("s")
    running = Exporter()
    running.scrape()
    log = Path(open_table(load_streams()["s"]).uri) / "_delta_log"
    entry = sorted(log.glob("*.json"))[-1]
    entry.write_text(entry.read_text()[:100])
    told = running.scrape()
    assert (told["wordtide_table_up", ("s",)], told["wordtide_words_total", ("s",)]) == (0, 2)
    assert len(running.said) == 1
    running.scrape()
    assert len(running.said) == 1


def test_the_command_serves_until_it_is_told_to_end(shell: Shell, folder: Path) -> None:
    land(folder, ["a b"])
    drain("s")
    process = shell.process("metrics", "--port", "0")
    try:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        port = int(line.rpartition(":")[2].partition("/")[0])
        assert samples(get(port))["wordtide_words_total", ("s",)] == 2
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, b"", b"")
    finally:
        process.kill()


def test_a_taken_port_is_one_line(shell: Shell, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = shell("metrics", "--port", str(server.getsockname()[1]))
    assert answer.code == 1
    assert "(address already in use); name another port" in answer.only_line

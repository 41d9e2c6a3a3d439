"""What befalls processes: signals at each step, dying Spark workers, two hosts at once, Dagster's own parts gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import dagster as dg
import pytest

import wordtide.drain.loop
from tests.dagster.support import by_hand, definitions, events
from tests.faults.lives import Orders, live, spark_deaths
from tests.support import (
    Place,
    assert_contiguous,
    assert_numbered,
    create_topic,
    some_lines,
    unique,
    wait_until,
    words_in,
    words_of,
)
from wordtide.cli.dagster_dev import DagsterDev
from wordtide.config import PROJECT_ROOT, Stream
from wordtide.dagster.runs import unfinished_runs
from wordtide.dagster.translator import WordtideTranslator
from wordtide.drain.loop import Step
from wordtide.embedded.cluster import ClusterAddress

SECONDS = 120.0
LONG_SECONDS = 240.0

# From a process that has imported everything a life takes a moment to begin.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.lives"])


@contextmanager
def life(place: Place, **orders: object) -> Iterator[tuple[ForkServerProcess, Event, Event]]:
    """Start a drain in a process of its own; it has ended afterwards.

    Yields:
        The process, what it sets when it is held, and what it then waits for.
    """
    held, leave = FORKS.Event(), FORKS.Event()
    given = Orders(str(place.folder / "streams.yaml"), place.cluster.kafka, **orders)  # type: ignore[arg-type]
    process = FORKS.Process(target=live, args=(given, held, leave))
    process.start()
    try:
        yield process, held, leave
    finally:
        process.kill()
        process.join(SECONDS)


def assert_exact(place: Place, stream: Stream, lines: list[str]) -> None:
    """Assert that every line is counted once and no offset is missing."""
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    splits = [split for row in rows for split in row["splits"]]
    ends = {
        n: max(split["end"] for split in splits if split["partition"] == n) for n in {s["partition"] for s in splits}
    }
    assert sum(ends.values()) == len(lines)
    assert_contiguous(rows, ends)


def published(run_id: str, place: Place, stream: Stream) -> bool:
    """Return whether a run has published a batch."""
    return run_id in {row["run_id"] for row in place.ledger(stream)[1:]}


def assert_whole(place: Place, stream: Stream) -> None:
    """Assert that what is published is whole: each batch holds the words that its ledger row says."""
    handle = place.handle(stream)
    for row in place.ledger(stream):
        assert words_in(handle, row["batch"] - 1, row["batch"]).total() == row["words"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_at_any_step_leaves_whole_batches_and_the_next_drain_goes_on(
    place: Place, number: signal.Signals
) -> None:
    stream = place.topic_stream(partitions=2, max_records=10)
    lines: list[str] = []
    for seed, step in enumerate(Step):
        more = some_lines(40, seed)
        lines += more
        place.produce(stream, more)
        with life(place, home=str(place.folder), run_id=step.value, step=step) as (process, held, _):
            assert held.wait(SECONDS)
            assert process.pid is not None
            os.kill(process.pid, number)
            process.join(SECONDS)
            # Python turns the first Ctrl-C into an exception.
            assert process.exitcode == (1 if number is signal.SIGINT else -number)
        assert_whole(place, stream)
        batches = [row["run_id"] for row in place.ledger(stream)].count(step.value)
        # With the founding one in the first life; the second batch only if it was committed before the signal.
        assert batches == 1 + (seed == 0) + (step is Step.REPORT)
    place.drain(stream)
    assert_exact(place, stream, lines)


def test_two_hosts_that_drain_one_stream_count_everything_once(place: Place) -> None:
    stream = place.topic_stream(partitions=3, max_records=40)
    lines = some_lines(200)
    place.produce(stream, lines)
    with life(place, home=str(place.folder / "left"), run_id="left", step=Step.COMMIT, follow=True) as (_, held, leave):
        assert held.wait(SECONDS)
        with life(place, home=str(place.folder / "right"), run_id="right", follow=True):
            wait_until("the right one has published", lambda: published("right", place, stream), SECONDS)
            # In the middle of the other's work the left one commits what it planned long ago.
            leave.set()
            for seed in range(8):
                more = some_lines(50, seed)
                lines += more
                place.produce(stream, more)
            wait_until("all is counted", lambda: place.counted(stream) == words_of(lines), SECONDS)
    assert_exact(place, stream, lines)
    assert published("left", place, stream)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_materialization_told_to_end_finishes_the_batch_in_hand_and_no_other(
    place: Place, number: signal.Signals
) -> None:
    stream = place.topic_stream(partitions=2, max_records=10)
    lines = some_lines(50)
    place.produce(stream, lines)
    dagster_home = place.folder / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.faults.lives import materialize; materialize()", str(place.folder)],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "WORDTIDE_STREAMS": str(place.folder / "streams.yaml"),
            "WORDTIDE_HOME": str(place.folder / "home"),
            "WORDTIDE_KAFKA_BOOTSTRAP": place.cluster.kafka,
            "DAGSTER_HOME": str(dagster_home),
        },
        stdout=subprocess.DEVNULL,
        stderr=(place.folder / "said").open("wb"),
    )
    try:
        wait_until("the second batch is in hand", (place.folder / "held").exists, SECONDS)
        process.send_signal(number)
        said = place.folder / "said"
        # It waits for the batch: as long as that is held it goes on.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        (place.folder / "go").touch()
        assert process.wait(SECONDS) != 0, said.read_text()
    finally:
        process.kill()
        process.wait(SECONDS)
    assert [row["batch"] for row in place.ledger(stream)] == [0, 1, 2]
    assert_whole(place, stream)
    place.drain(stream)
    assert_exact(place, stream, lines)


# Spark


@dataclass(frozen=True, slots=True)
class Deaths:
    """What three streams had to count, and how their drains on Spark ended."""

    place: Place
    streams: dict[str, Stream]
    lines: list[str]
    ends: dict[str, str]


@pytest.fixture(scope="module")
def deaths(cluster: ClusterAddress, tmp_path_factory: pytest.TempPathFactory) -> Deaths:
    """One session for all: what dies in it dies in the middle of a batch."""
    place = Place(tmp_path_factory.mktemp("spark"), cluster)
    lines = some_lines(400)
    topics = {name: unique(name) for name in ("retried", "starved", "cut")}
    for topic in topics.values():
        create_topic(cluster, topic, 2)
    streams = place.streams({name: {"kafka": {"topic": topic}, "engine": "spark"} for name, topic in topics.items()})
    for stream in streams.values():
        place.produce(stream, lines)
    said = place.folder / "said.json"
    process = FORKS.Process(target=spark_deaths, args=(str(place.folder / "streams.yaml"), cluster.kafka, str(said)))
    process.start()
    process.join(LONG_SECONDS)
    process.kill()
    process.join(SECONDS)
    assert process.exitcode == 0
    return Deaths(place, streams, lines, json.loads(said.read_text()))


def test_a_python_worker_that_the_kernel_kills_is_replaced_by_spark_and_nothing_counts_twice(deaths: Deaths) -> None:
    assert (deaths.place.folder / "retried").exists(), "nobody died: nothing was proved"
    assert deaths.ends["retried"] == "counted"
    assert_exact(deaths.place, deaths.streams["retried"], deaths.lines)


def test_a_worker_that_runs_out_of_memory_whenever_it_tries_fails_the_batch_in_one_line(deaths: Deaths) -> None:
    end = deaths.ends["starved"]
    assert end.startswith("EnvironmentProblem: Spark failed while batch 1 was counted: ")
    assert "\n" not in end
    # The next drain, of the same session, went on.
    assert_exact(deaths.place, deaths.streams["starved"], deaths.lines)


def test_a_spark_that_is_killed_fails_the_batch_in_one_line_and_the_next_drain_is_exact(deaths: Deaths) -> None:
    place, stream = deaths.place, deaths.streams["cut"]
    assert (place.folder / "cut").exists(), "nobody died: nothing was proved"
    end = deaths.ends["cut"]
    assert end.startswith("EnvironmentProblem: Spark failed while batch 1 was counted: ")
    assert "\n" not in end
    assert [row["batch"] for row in place.ledger(stream)] == [0]
    local = Stream(stream.name, stream.config.model_copy(update={"engine": "local"}), stream.table, None)
    place.drain(local)
    assert_exact(place, stream, deaths.lines)


# Dagster's own parts


def reported(home: dg.DagsterInstance, stream: Stream) -> list[int]:
    """Return the batches of a stream's events."""
    found = [event.metadata["batch"].value for event in events(home, stream) if "ranges" in event.metadata]
    return [number for number in found if isinstance(number, int)]


def test_a_drain_goes_on_without_dagsters_database_and_the_next_run_reports_the_rest(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = place.topic_stream(partitions=2, max_records=10, engine="local")
    lines = some_lines(50)
    place.produce(stream, lines)
    defs = definitions(place, stream)
    home = place.folder / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    commits: list[None] = []

    def reached(step: Step) -> None:
        if step is Step.COMMIT:
            commits.append(None)
            if len(commits) == 3:
                (home / "history").rename(home / "gone")

    with dg.DagsterInstance.local_temp(str(home)) as instance:
        monkeypatch.setattr(wordtide.drain.loop, "reached", reached)
        # Dagster itself cannot end a run that it cannot write down.
        with suppress(Exception):
            assert not by_hand(defs, stream, instance).success
        assert_exact(place, stream, lines)
        # Once each, of the check and of the batches.
        warnings = [record.getMessage() for record in caplog.records if record.name == "wordtide"]
        assert sorted(warning.rpartition("; ")[2] for warning in warnings) == [
            "it is tried again",
            "the next run reports the rest",
        ]
        # Of SQLite it depends on what was open whether it is "unable to open database file" or "disk I/O error".
        assert all("sqlite3.OperationalError" in warning and "\n" not in warning for warning in warnings)
        (home / "gone").rename(home / "history")
        before = reported(instance, stream)
        numbers = [row["batch"] for row in place.ledger(stream)][1:]
        assert len(numbers) >= 5
        assert before == numbers[: len(before)]
        assert len(before) < len(numbers)
        for record in unfinished_runs(instance, stream, WordtideTranslator()):
            # As Dagster's run monitoring does; without it, it is taken for dead after max_run and two minutes.
            instance.report_run_failed(record.dagster_run)
        assert by_hand(defs, stream, instance).success
        assert reported(instance, stream) == numbers
    assert_exact(place, stream, lines)


def processes_of(dev: DagsterDev) -> dict[int, str]:
    """Return the command lines of a `dagster dev` and what it started."""
    assert dev._process is not None
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[2]
                if int(group) == dev._process.pid:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kill(dev: DagsterDev, *commands: str) -> None:
    """Kill those processes of a `dagster dev` that run a module with arguments."""
    chosen = [pid for pid, line in processes_of(dev).items() if any(f"-m {command} " in line for command in commands)]
    assert len(chosen) == len(commands), processes_of(dev)
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)


def test_dagster_without_its_code_server_or_daemon_counts_on_and_goes_on_at_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_STREAMS", str(place.folder / "streams.yaml"))
    monkeypatch.setenv("WORDTIDE_HOME", str(place.folder / "home"))
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", place.cluster.kafka)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    stream = place.topic_stream(partitions=2, linger="10m")
    lines: list[str] = []

    def send_and_wait_until_counted() -> None:
        more = some_lines(30, len(lines))
        lines.extend(more)
        place.produce(stream, more)
        wait_until(
            "what was sent is counted",
            lambda: place.table(stream).open() is not None and place.counted(stream) == words_of(lines),
            LONG_SECONDS,
        )

    with DagsterDev(log=place.folder / "first.log") as dev:
        dev.wait_ready(LONG_SECONDS)
        send_and_wait_until_counted()
        kill(dev, "dagster code-server start", "dagster api grpc")
        send_and_wait_until_counted()
        # The run that was under way did it: the code server is where runs are started, not where they live.
        assert len({row["run_id"] for row in place.ledger(stream)}) == 1
        kill(dev, "dagster._daemon run")
        wait_until("dagster dev gives up without its daemon", lambda: not dev.running(), SECONDS)
        assert "daemon process shut down unexpectedly" in dev.obituary()
        assert "\n" not in dev.obituary()
        send_and_wait_until_counted()
    # The run was killed with what was left of the first; its stream is not held for long.
    with DagsterDev(log=place.folder / "second.log") as dev:
        dev.wait_ready(LONG_SECONDS)
        send_and_wait_until_counted()
    assert len({row["run_id"] for row in place.ledger(stream)}) == 2
    assert_exact(place, stream, lines)

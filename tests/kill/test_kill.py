"""Two drains of each stream side by side, killed at random and inside each named step; everything is counted once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.support import Place, assert_contiguous, assert_numbered, create_topic, some_lines, unique, wait_until, words_of
from wordtide.config import PROJECT_ROOT, Stream
from wordtide.drain import Step
from wordtide.table.commit import WordCounts

PARTITIONS = 3
STREAMS = ("lines", "files")
SLOTS = ("left", "right")
ORDERS: list[tuple[Step | None, str]] = [
    *((step, stream) for step in Step for stream in STREAMS),
    *((Step.COMMIT, stream) for stream in STREAMS * 2),
    *((None, "") for _ in range(8)),
]
"""Steps to be killed in, of which stream; None: from outside, at any moment. 20 in all."""
DAGSTER_YAML = """\
telemetry: {enabled: false}
# Two runs in one process cannot both have its stdout.
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
LIFE_SECONDS = 60.0
"""A life that takes longer than this has not met its step: something is wrong."""


@dataclass
class Feed:
    """Sends lines and lands files, a few at a time, and remembers what it gave."""

    place: Place
    topic: str
    stream: Stream
    lines: list[str] = field(default_factory=list)
    landed: list[str] = field(default_factory=list)
    files: int = 0

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.place.cluster.kafka, "acks": "all", "linger.ms": 0})
        self._chance = random.Random(7)

    def give(self) -> None:
        """Send a few lines and land a file."""
        lines = some_lines(self._chance.randrange(1, 30), seed=len(self.lines))
        for line in lines:
            self._producer.produce(self.topic, line, partition=self._chance.randrange(PARTITIONS))
        self.lines += lines
        self._producer.poll(0)
        in_file = some_lines(self._chance.randrange(1, 30), seed=-len(self.landed))
        self.place.land(self.stream, f"{self.files % 3}/{self.files}.txt", "".join(f"{x}\n" for x in in_file).encode())
        self.files += 1
        self.landed += in_file

    def finish(self) -> None:
        """Wait for the last acknowledgement."""
        assert self._producer.flush(30) == 0


@dataclass
class Life:
    """One process, from its start as a spare to its end."""

    process: subprocess.Popen[str]
    number: int = 0
    step: Step | None = None
    began: float = 0.0
    doomed_at: float | None = None

    def ready(self) -> bool:
        """Whether it has imported everything; bounded by the test's own deadline."""
        os.set_blocking(self.process.stdout.fileno(), False)  # type: ignore[union-attr]
        return self.process.stdout.readline() == "ready\n"  # type: ignore[union-attr]


class Arena:
    """Keeps two drains of each stream running, with warm spares behind them."""

    def __init__(self, folder: Path, home: Path, seed: int) -> None:
        self.log = folder / "log.jsonl"
        self.log.touch()
        self.dagster_home = folder / "dagster"
        self._folder = folder
        self._environment = {
            **os.environ,
            "WORDTIDE_STREAMS": str(folder / "streams.yaml"),
            "WORDTIDE_HOME": str(home),
            "DAGSTER_HOME": str(self.dagster_home),
            "PYTHONPATH": str(PROJECT_ROOT),
            "PYTHONFAULTHANDLER": "1",
        }
        self._chance = random.Random(seed)
        self._orders = list(ORDERS)
        self._chance.shuffle(self._orders)
        self._spares: list[Life] = []
        self.playing: dict[str, Life] = {}
        self.kills = 0
        self.ends: list[int] = []
        self._lives = 0
        self.make_dagster_home()

    def make_dagster_home(self) -> None:
        """Create an empty home."""
        self.dagster_home.mkdir(exist_ok=True)
        (self.dagster_home / "dagster.yaml").write_text(DAGSTER_YAML)

    @property
    def left(self) -> int:
        """Orders nobody has carried out yet."""
        return len(self._orders)

    def events(self, what: str) -> list[dict[str, Any]]:
        """Return what the children said."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["what"] == what]

    def tend(self) -> None:
        """Start what is missing, kill whose time has come, bury the dead."""
        awake = {event["life"] for event in self.events("awake")}
        for slot in SLOTS:
            life = self.playing.get(slot)
            if life is not None and life.step is None and life.doomed_at is None and life.number in awake:
                life.doomed_at = time.monotonic() + self._chance.uniform(0.0, 2.0)
            if life is not None and life.process.poll() is not None:
                self._bury(slot, life)
                life = None
            if life is None and self._orders and self._spares and self._spares[0].ready():
                self._send(slot, self._spares.pop(0))
            elif life is not None and life.doomed_at is not None and time.monotonic() > life.doomed_at:
                life.process.kill()
            elif life is not None and time.monotonic() - life.began > LIFE_SECONDS:
                life.process.send_signal(signal.SIGABRT)
                life.process.wait(30)
                stacks = (self._folder / "children.txt").read_text()[-6000:]
                raise AssertionError(f"never reached {life.step}; where it was:\n{stacks}")
        while len(self._spares) < min(2, len(self._orders)):
            self._spares.append(self._start())

    def _start(self) -> Life:
        with (self._folder / "children.txt").open("a") as output:
            return Life(
                subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("child.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    env=self._environment,
                    text=True,
                )
            )

    def _send(self, slot: str, life: Life) -> None:
        step, stream = self._orders.pop()
        self._lives += 1
        orders = {
            "slot": slot,
            "life": self._lives,
            "step": step,
            "stream": stream,
            "streams": STREAMS,
            "occurrence": self._chance.randrange(2, 5),
            "seed": self._chance.random(),
            "log": str(self.log),
        }
        life.number, life.step, life.began = self._lives, step, time.monotonic()
        assert life.process.stdin is not None
        life.process.stdin.write(json.dumps(orders) + "\n")
        life.process.stdin.flush()
        self.playing[slot] = life

    def _bury(self, slot: str, life: Life) -> None:
        code = life.process.returncode
        if code == -signal.SIGKILL:
            self.kills += 1
        else:
            self.ends.append(code)
            # Its order was not carried out.
            if life.step is not None:
                self._orders.insert(0, (life.step, self._chance.choice(STREAMS)))
        for pipe in (life.process.stdin, life.process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        del self.playing[slot]

    def close(self) -> None:
        """End every process that is left."""
        for life in [*self._spares, *self.playing.values()]:
            life.process.kill()
            life.process.wait(30)
        self._spares, self.playing = [], {}


@contextmanager
def arena(folder: Path, home: Path, seed: int) -> Iterator[Arena]:
    """An arena that is empty afterwards."""
    held = Arena(folder, home, seed)
    try:
        yield held
    finally:
        held.close()


def log_of(table: WordCounts) -> list[dict[str, Any]]:
    """Return every action of a table's log, oldest first."""
    entries = sorted(
        file.path for file in table.storage.list_files(f"{table.root}/_delta_log") if file.path.endswith(".json")
    )
    content = [b"".join(table.storage.read_range(path, 0, 1 << 30)) for path in entries]
    return [json.loads(line) for entry in content for line in entry.splitlines()]


def attempts_on_disk(table: WordCounts) -> set[str]:
    """Return the folders that attempts have written to, winners and orphans."""
    files = table.storage.list_files(f"{table.root}/data")
    return {file.path.removeprefix(f"{table.root}/data/").partition("/")[0] for file in files}


def assert_no_orphan_visible(table: WordCounts, rows: list[dict[str, Any]]) -> int:
    """Assert that the log names files of winning attempts only; return how many attempts are orphans."""
    winners = {f"{row['batch']}-{row['attempt']}" for row in rows if row["batch"] > 0}
    named = Counter(
        action["add"]["path"] for action in log_of(table) if "add" in action and action["add"]["dataChange"]
    )
    named = Counter({path: times for path, times in named.items() if path.startswith("data/")})
    assert max(named.values()) == 1
    assert {path.split("/")[1] for path in named} == winners
    return len(attempts_on_disk(table) - winners)


@pytest.mark.parametrize("where", ["local", "hdfs"])
def test_two_drains_killed_in_every_step_count_everything_once(
    where: str, place: Place, cluster_home: Path
) -> None:
    topic = unique("kill")
    create_topic(place.cluster, topic, PARTITIONS)
    base = str(place.folder) if where == "local" else f"hdfs:///{unique('kill')}"
    pace = {"batch_interval": "100ms", "linger": "2s", "max_run": "6s"}
    landing = {"path": f"{base}/landing", "min_age": "0s"}
    streams = place.streams(
        {"lines": {"kafka": {"topic": topic}, **pace}, "files": {"landing": landing, **pace}}, f"{base}/tables"
    )
    storage, root = place.landing(streams["files"])
    storage.mkdirs(root)
    feed = Feed(place, topic, streams["files"])
    with arena(place.folder, cluster_home, seed=11 if where == "local" else 12) as running:
        deleted_home = False
        deadline = time.monotonic() + 300
        while running.left or running.playing:
            assert time.monotonic() < deadline, f"{running.left} orders are left"
            if running.playing:
                feed.give()
            running.tend()
            if not deleted_home and running.left < len(ORDERS) // 2:
                # In the middle, under two drains at work.
                assert len(running.playing) > 0
                assert running.ends == [], running.events("failed")
                shutil.rmtree(running.dagster_home, ignore_errors=True)
                running.make_dagster_home()
                deleted_home = True
            time.sleep(0.1)
        feed.finish()
        killed = {(event["step"], event["stream"]) for event in running.events("kill")}
        assert killed == {(step, stream) for step in Step for stream in STREAMS}
        assert running.kills >= 20
        assert deleted_home
        for stream in streams.values():
            place.drain(stream)
        check_lines(place, streams["lines"], feed)
        check_files(place, streams["files"], feed)
        orphans = 0
        for stream in streams.values():
            rows = place.ledger(stream)
            winners = {row["run_id"] for row in rows}
            runs = [event for event in running.events("run") if event["stream"] == stream.name]
            assert {event["slot"] for event in runs if event["run_id"] in winners} == set(SLOTS), "one never committed"
            orphans += assert_no_orphan_visible(place.table(stream), rows)
            operations = [commit["operation"] for commit in place.handle(stream).history()]
            assert "OPTIMIZE" in operations
        assert orphans > 0, "no kill left an attempt behind, so nothing was proved"


def check_lines(place: Place, stream: Stream, feed: Feed) -> None:
    """Assert that every line was counted once."""
    assert place.counted(stream) == words_of(feed.lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    source = place.source(stream)
    ends = {partition: offered.end for partition, offered in source.snapshot().partitions.items()}  # type: ignore[attr-defined]
    source.close()
    assert sum(ends.values()) == len(feed.lines)
    assert_contiguous(rows, ends)


def check_files(place: Place, stream: Stream, feed: Feed) -> None:
    """Assert that every file was taken once."""
    assert place.counted(stream) == words_of(feed.landed)
    rows = place.ledger(stream)
    assert_numbered(rows)
    taken = Counter(split["path"] for row in rows for split in row["splits"])
    assert len(taken) == feed.files
    assert max(taken.values()) == 1

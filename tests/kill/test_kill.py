"""Two drains of one stream side by side, killed at random and inside each named step; everything is counted once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import Producer

from tests.support import (
    Place,
    assert_contiguous,
    assert_no_orphan_visible,
    assert_numbered,
    some_lines,
    topic_of,
    unique,
    words_of,
)
from wordtide.config import PROJECT_ROOT, Stream
from wordtide.drain.loop import Step
from wordtide.testing.child import Orders
from wordtide.testing.crash import Life, events_of

PARTITIONS = 3
SLOTS = ("left", "right")
DEFINITIONS = "wordtide.dagster.definitions:build_definitions"
ORDERS: list[Step | None] = [*Step, Step.COMMIT, None]
"""Steps to be killed in; None: from outside, at any moment. There are four cases: 24 kills in all."""
DAGSTER_YAML = """\
telemetry: {enabled: false}
# A tail of the output beside each run would be left behind by a kill.
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
LIFE_SECONDS = 120.0
"""A life that takes longer than this has not met its step: something is wrong."""


class Feed:
    """Sends lines or lands files, a few at a time, and remembers what it gave."""

    def __init__(self, place: Place, stream: Stream) -> None:
        self.lines: list[str] = []
        self.files = 0
        self._place = place
        self._stream = stream
        self._producer = Producer({"bootstrap.servers": place.cluster.kafka, "acks": "all", "linger.ms": 0})
        self._chance = random.Random(7)

    def give(self) -> None:
        """Send a few lines, or land a file of them."""
        lines = some_lines(self._chance.randrange(1, 40), seed=len(self.lines))
        self.lines += lines
        if self._stream.landing is not None:
            content = "".join(f"{line}\n" for line in lines)
            self._place.land(self._stream, f"{self.files % 3}/{self.files}.txt", content.encode())
            self.files += 1
            return
        for line in lines:
            self._producer.produce(topic_of(self._stream), line, partition=self._chance.randrange(PARTITIONS))
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait for the last acknowledgement."""
        assert self._producer.flush(30) == 0


@dataclass
class Player:
    """One process, from its start as a spare to its end."""

    life: Life
    number: int = 0
    step: Step | None = None
    began: float = 0.0
    doomed_at: float | None = None


class Arena:
    """Keeps two drains of a stream running, with warm spares behind them."""

    def __init__(self, stream: str, folder: Path, home: Path, seed: int) -> None:
        self._stream = stream
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
        self._spares: list[Player] = []
        self.playing: dict[str, Player] = {}
        self.kills = 0
        self.ends: list[int] = []
        self._lives = 0
        self.make_dagster_home()

    def make_dagster_home(self) -> None:
        """Put an empty home in place of the one there may be, under whoever uses that."""
        fresh = self._folder / "dagster-fresh"
        fresh.mkdir()
        (fresh / "dagster.yaml").write_text(DAGSTER_YAML)
        # Its databases too: Dagster itself cannot bear several processes that create them at once.
        with dg.DagsterInstance.from_config(str(fresh)) as instance:
            assert instance.get_runs_count() == 0
            assert instance.all_asset_keys() == []
        old = self._folder / f"dagster-{time.monotonic_ns()}"
        if self.dagster_home.exists():
            # Out of the way at once: who starts while it is emptied, file by file, would be hit as well.
            self.dagster_home.rename(old)
        fresh.rename(self.dagster_home)
        shutil.rmtree(old, ignore_errors=True)

    @property
    def left(self) -> int:
        """Orders nobody has carried out yet."""
        return len(self._orders)

    def events(self, what: str) -> list[dict[str, Any]]:
        """Return what the children said."""
        return [event for event in events_of(self.log) if event["what"] == what]

    def tend(self) -> None:
        """Start what is missing, kill whose time has come, bury the dead."""
        awake = {event["life"] for event in self.events("awake")}
        for slot in SLOTS:
            player = self.playing.get(slot)
            if player is not None and player.step is None and player.doomed_at is None and player.number in awake:
                player.doomed_at = time.monotonic() + self._chance.uniform(0.0, 2.0)
            if player is not None and player.life.process.poll() is not None:
                self._bury(slot, player)
                player = None
            if player is None and self._orders and self._spares and self._spares[0].life.ready():
                self._send(slot, self._spares.pop(0))
            elif player is not None and player.doomed_at is not None and time.monotonic() > player.doomed_at:
                player.life.process.kill()
            elif player is not None and time.monotonic() - player.began > LIFE_SECONDS:
                player.life.process.send_signal(signal.SIGABRT)
                player.life.process.wait(30)
                stacks = (self._folder / "children.txt").read_text()[-6000:]
                raise AssertionError(f"never reached {player.step}; where it was:\n{stacks}")
        while len(self._spares) < min(2, len(self._orders)):
            output = self._folder / "children.txt"
            self._spares.append(Player(Life(self._environment, output, DEFINITIONS)))

    def _send(self, slot: str, player: Player) -> None:
        self._lives += 1
        player.number, player.step, player.began = self._lives, self._orders.pop(), time.monotonic()
        player.life.send(
            Orders(
                (self._stream,),
                str(self.log),
                player.step,
                self._chance.randrange(3, 7),
                seed=self._chance.random(),
                compact_every=3,
                slot=slot,
                life=player.number,
            )
        )
        self.playing[slot] = player

    def _bury(self, slot: str, player: Player) -> None:
        code = player.life.end()
        if code == -signal.SIGKILL:
            self.kills += 1
        else:
            self.ends.append(code)
            # Its order was not carried out.
            self._orders.insert(0, player.step)
        del self.playing[slot]

    def close(self) -> None:
        """End every process that is left."""
        for player in [*self._spares, *self.playing.values()]:
            player.life.end()
        self._spares, self.playing = [], {}


@contextmanager
def arena(stream: str, folder: Path, home: Path, seed: int) -> Iterator[Arena]:
    """An arena that is empty afterwards."""
    held = Arena(stream, folder, home, seed)
    try:
        yield held
    finally:
        held.close()


def make_stream(kind: str, where: str, place: Place) -> Stream:
    """Return a stream with quick batches and short runs, its table on a local disk or on HDFS."""
    base = str(place.folder) if where == "local" else f"hdfs:///{unique('kill')}"
    pace = {"batch_interval": "100ms", "linger": "2s", "max_run": "5s"}
    if kind == "files":
        return place.folder_stream(f"{base}/tables", landing=f"{base}/landing", **pace)
    return place.topic_stream(PARTITIONS, f"{base}/tables", **pace)


@pytest.mark.parametrize("where", ["local", "hdfs"])
@pytest.mark.parametrize("kind", ["lines", "files"])
def test_two_drains_killed_in_every_step_count_everything_once(
    kind: str, where: str, place: Place, cluster_home: Path
) -> None:
    stream = make_stream(kind, where, place)
    feed = Feed(place, stream)
    with arena(stream.name, place.folder, cluster_home, seed=11) as running:
        home_deleted = False
        deadline = time.monotonic() + 420
        while running.left or running.playing:
            assert time.monotonic() < deadline, f"{running.left} orders are left"
            # Of those that the deletion below hits; none is killed by an error of its own.
            assert len(running.ends) <= len(SLOTS), running.events("failed")
            if running.playing:
                feed.give()
            running.tend()
            if not home_deleted and running.left <= len(ORDERS) // 2 and len(running.playing) == len(SLOTS):
                # In the middle, under two drains at work; until then none may have failed.
                assert running.ends == [], running.events("failed")
                running.make_dagster_home()
                home_deleted = True
            time.sleep(0.1)
        feed.finish()
        assert home_deleted
    assert running.kills >= len(ORDERS)
    assert {event["step"] for event in running.events("kill")} == set(Step)
    place.drain(stream)
    assert place.counted(stream) == words_of(feed.lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    if kind == "lines":
        ends = ends_of(place, stream)
        assert sum(ends.values()) == len(feed.lines)
        assert_contiguous(rows, ends)
    else:
        taken = Counter(split["path"] for row in rows for split in row["splits"])
        assert len(taken) == feed.files
        assert max(taken.values()) == 1
    winners = {row["run_id"] for row in rows}
    assert {event["slot"] for event in running.events("run") if event["run_id"] in winners} == set(SLOTS)
    assert running.events("compacted")
    assert assert_no_orphan_visible(place.table(stream), rows) > 0, "no kill left an attempt behind: nothing was proved"


def ends_of(place: Place, stream: Stream) -> dict[int, int]:
    """Return the end of each partition of a stream's topic."""
    source = place.source(stream)
    try:
        return {number: offered.end for number, offered in source.snapshot().partitions.items()}  # type: ignore[attr-defined]
    finally:
        source.close()

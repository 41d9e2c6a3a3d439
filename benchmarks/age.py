"""A table that takes a batch a second for a day: what its log and disk hold then, and what a commit costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from benchmarks.bench import Bench
from benchmarks.measure import Measure, Row, Section, Target
from wordtide.table.commit import WordCounts
from wordtide.table.maintain import compact_if_needed
from wordtide.table.upkeep import tidy
from wordtide.testing.age import LightTable, grow_older

BATCHES = 100_000
A_MINUTE = 60
"""Batches a simulated minute: one a second."""
COMPACT_EVERY = 50
"""As the drain does."""
PAIRS = 100
WORDS = 100
MB = 1 << 20


def run(bench: Bench) -> Section:
    """Let a table grow old, then commit to it and to a new one in turns."""
    batches = bench.scaled(BATCHES, 1500)
    old, new = LightTable(bench.folder, "old"), LightTable(bench.folder, "new")
    old.commit(WORDS)
    of_a_batch = _bytes(old.table.root)
    entries, log, disk = [], [], []
    with _unsynced():
        for number in range(1, batches):
            old.repeat()
            if number % COMPACT_EVERY == 0:
                compact_if_needed(old.table)
            if number % A_MINUTE == 0:
                grow_older(old.table, A_MINUTE)
                tidy(old.table, old.table.storage.delete)
                if number > batches // 2:
                    folder = f"{old.table.root}/_delta_log"
                    entries.append(float(len(os.listdir(folder))))
                    log.append(_bytes(folder) / MB)
                    allowed = 1.2 * _live_bytes(old.table) + 20 * A_MINUTE * of_a_batch
                    disk.append(_bytes(old.table.root) / allowed)
    seconds = _in_turns(old, new, bench.scaled(PAIRS, 20))
    aged, young = (Measure.of([1000 * one for one in side], "ms") for side in seconds)
    return Section(
        f"A table after {batches:,} batches, one a second",
        (
            Row("commit (snapshot, files, log; synced): old table : new table", aged, young, Target(1.3)),
            Row("files in the log, at most", _most(entries, "files"), target=Target(2000)),
            Row("log, at most", _most(log, "MB"), target=Target(50)),
            Row("disk : (1.2 × live data + 20 minutes of batches), at most", _most(disk, "×"), target=Target(1)),
        ),
        (
            f"Batches of {WORDS} words in two files each; compaction and clearing up as a drain does. Age is made:"
            " the log's times go back a minute with every 60 batches. Nothing is synced until the commits are timed.",
            f"“Peer” is a new table: {len(seconds[0])} commits to each in turns, after those of the new one's first"
            " batches. Log and disk over the second half of the batches.",
        ),
    )


def _in_turns(old: LightTable, new: LightTable, pairs: int) -> tuple[list[float], list[float]]:
    for _ in range(5):
        new.commit(WORDS)
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        for place in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            (old, new)[place].commit(WORDS)
            took[place].append(time.perf_counter() - began)
    return took


@contextmanager
def _unsynced() -> Iterator[None]:
    sync, os.fsync = os.fsync, lambda _descriptor: None
    try:
        yield
    finally:
        os.fsync = sync


def _most(values: Sequence[float], unit: str) -> Measure:
    return Measure.of([max(values)], unit)


def _bytes(folder: str) -> int:
    return sum(os.path.getsize(os.path.join(below, name)) for below, _, names in os.walk(folder) for name in names)


def _live_bytes(table: WordCounts) -> int:
    handle = table.open()
    if handle is None:
        raise RuntimeError("there is no table")
    return sum(pa.table(handle.get_add_actions(flatten=True))["size_bytes"].to_pylist())

"""One gigabyte of text: the CPU of our Spark engine against Spark SQL's own word count, in one session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import peer
from benchmarks.bench import Bench
from benchmarks.data import Text, zipf_file
from benchmarks.measure import Measure, Row, Section, Target
from benchmarks.ours import Drained, make_stream
from benchmarks.processes import Watch
from resources import SparkResource
from wordtide.config import EngineName
from wordtide.counting.spark import SparkEngine

BYTES = 1_000_000_000
TIMES = 5


def run(bench: Bench) -> Section:
    """Measure both in turns in one session."""
    landing = bench.folder / "landing"
    landing.mkdir()
    text = zipf_file(landing / "zipf.txt", 7, bench.scaled(BYTES, 100_000))
    resource = SparkResource(driver_memory=peer.HEAP)
    try:
        ours, theirs = [], []
        for number in range(TIMES + 1):
            ours.append(_timed(partial(_ours, bench, resource, landing, number, text)))
            theirs.append(_timed(partial(_peer, bench, resource, landing, number, text)))
    finally:
        resource.spark_session.stop()
    sides = [[Measure.of([run[what] for run in side[1:]], unit) for side in (ours, theirs)] for what, unit in _WHAT]
    return Section(
        f"{text.bytes / 1e9:.3g} GB of Zipf text on Spark",
        (
            Row("CPU", sides[1][0], sides[1][1], Target(0.3)),
            Row("wall clock", sides[0][0], sides[0][1]),
        ),
        (
            f"{TIMES} times after one of warm-up, in turns, in one session (local[*], heap {peer.HEAP}). CPU of driver,"
            " JVM and Python workers.",
            "Ours: the whole drain of a landed file into a new table, commit included. Peer: `read.text` →"
            " `explode(split)` → `groupBy` → `count` → Parquet.",
            f"{text.lines:,} lines, {int(text.counts.sum()):,} words, {int((text.counts > 0).sum()):,} distinct; both"
            " sides' counts equal those of the generator.",
        ),
    )


_WHAT = ((0, "s"), (1, "CPU-s"))


def _timed(work: Callable[[], Callable[[], None]]) -> tuple[float, float]:
    """Return seconds and CPU-seconds of the work; what it returns, the check, is not part of it."""
    watch = Watch()
    check = work()
    taken = watch.lap()
    check()
    return taken


def _ours(bench: Bench, resource: SparkResource, landing: Path, number: int, text: Text) -> Callable[[], None]:
    settings = {"landing": {"path": str(landing), "min_age": 0}, "engine": "spark"}
    stream = make_stream(bench.folder, f"drain_{number}", settings)
    engine = SparkEngine(lambda: resource.spark_session, resource.tasks())
    drained = Drained(stream, engines={EngineName.SPARK: engine})
    drained.run()

    def check() -> None:
        if not drained.counted().equals(text.table()):
            raise RuntimeError("ours: not the counts of the generator")

    return check


def _peer(bench: Bench, resource: SparkResource, landing: Path, number: int, text: Text) -> Callable[[], None]:
    out = bench.folder / f"counts-{number}"
    peer.count(resource.spark_session.read.text(str(landing))).write.parquet(str(out))

    def check() -> None:
        if not peer.counted(out).equals(text.table()):
            raise RuntimeError("peer: not the counts of the generator")

    return check

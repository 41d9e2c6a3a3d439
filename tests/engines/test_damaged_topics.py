"""Invariants 6 and 7 on a damaged topic: either engine parks the same ranges and counts all the rest."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from resources import SparkResource
from tests.damage import damage, fill, flip, no_codec, scramble, scramble_unsigned
from tests.servers import OwnBroker
from tests.support import Place, create_topic, some_lines
from wordtide.config import EngineName, Stream, load_streams
from wordtide.core.problems import EnvironmentProblem
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine

SPAWN = multiprocessing.get_context("spawn")
LIVES = 3
"""What a drain may take: the client may abort once, here or in an executor."""


def streams_on(own: Place, topic: str, partitions: int, **config: Any) -> tuple[Stream, Stream]:
    """Return a stream of each engine on a new topic."""
    create_topic(own.cluster, topic, partitions)
    source = {"kafka": {"topic": topic}, "batch_interval": "100ms", **config}
    streams = own.streams(
        {name.value: {**source, "engine": name.value} for name in (EngineName.LOCAL, EngineName.SPARK)}
    )
    return streams["local"], streams["spark"]


def drain_local(own: Place, name: str) -> None:
    own.drain(load_streams(own.streams_yaml)[name])


def drain_both(own: Place, spark: SparkResource, local: Stream, on_spark: Stream) -> None:
    """Drain both to the end; the client may abort its process at a wrong checksum, but not again and again."""
    for life in range(LIVES):
        process = SPAWN.Process(target=drain_local, args=(own, local.name))
        process.start()
        process.join(120)
        if process.exitcode == 0:
            break
        assert (process.exitcode, life) == (-signal.SIGABRT, 0)
    engines = {
        EngineName.LOCAL: LocalEngine(),
        EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks()),
    }
    failures = []
    for _ in range(LIVES):
        try:
            own.drain(on_spark, engines=engines)
            break
        except EnvironmentProblem as problem:
            failures.append(str(problem))
    assert len(failures) <= 1
    assert all("Spark failed while batch" in failure for failure in failures)


def seen(own: Place, stream: Stream) -> tuple[Counter[str], list[tuple[int, int, int, str]]]:
    """Return what was counted, and the ranges that are parked with the reason."""
    snapshot = own.table(stream).snapshot()
    assert snapshot is not None
    parked = [(waiting.split, waiting.reason) for waiting in snapshot.ledger.parked.values()]
    ranges = [(split.partition, split.start, split.end, reason) for split, reason in parked]  # type: ignore[union-attr]
    return own.counted(stream), sorted(ranges)


@pytest.mark.parametrize(
    ("codec", "how"),
    [("none", flip), ("zstd", scramble), ("lz4", no_codec), ("gzip", scramble_unsigned)],
    ids=["checksum", "zstd data", "codec", "checksum of gzip data"],
)
def test_either_engine_parks_the_same_ranges_and_counts_the_rest(
    own: Place, broker: OwnBroker, spark: SparkResource, codec: str, how: Callable[[bytearray], None]
) -> None:
    topic = f"damaged-{codec}"
    local, on_spark = streams_on(own, topic, partitions=3)
    fill(own, local, codec, 3)
    broker.stop()
    damage(broker, topic, 0, {1, 2}, how)
    damage(broker, topic, 1, {3}, how)
    broker.start()
    drain_both(own, spark, local, on_spark)
    words, parked = seen(own, local)
    assert [where[:3] for where in parked] == [(0, 5, 10), (1, 15, 20)]
    assert seen(own, on_spark) == (words, parked)
    assert sum(words.values()) == (1 + 3 + 4) * 5 * 31


def test_the_bounds_of_a_batch_hold_on_spark(own: Place, spark: SparkResource) -> None:
    local, on_spark = streams_on(own, "bounded", partitions=3, max_records=700, max_bytes="16KB")
    lines = some_lines(3000)
    own.produce(local, lines)
    drain_both(own, spark, local, on_spark)
    batches = [row for row in own.ledger(on_spark) if row["status"] == "published"]
    assert {row["engine"] for row in batches} == {"spark"}
    assert all(row["records"] <= 700 and row["bytes"] <= 16_000 for row in batches)
    # Nor are they much smaller than they may be.
    assert len(batches) <= 3 * max(sum(map(len, lines)) // 16_000 + 1, 3000 // 700 + 1)
    assert own.counted(on_spark) == own.counted(local) == Counter(" ".join(lines).split(" "))

"""One small batch in a process that has been running for a while, from the plan to the commit."""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.data import zipf_lines
from benchmarks.measure import Measure, Row, Section, Target
from benchmarks.ours import Drained, make_stream
from wordtide.cli.produce import Sender, ensure_topic
from wordtide.core.model import Committed

LINES = 1000
WARM_UP = 10
TIMES = 30
PARTITIONS = 4


def run(bench: Bench) -> Section:
    """Measure batches of 1,000 lines on a local table and on one in HDFS."""
    local = _batches(bench, "local", None)
    hdfs = _batches(bench, "hdfs", f"{bench.servers.hdfs.url}/benchmarks/warm_batch")
    return Section(
        f"A warm batch of {LINES:,} lines, plan to commit",
        (
            Row("local table", Measure.of(local, "ms"), target=Target(50)),
            Row("table on HDFS", Measure.of(hdfs, "ms"), target=Target(200)),
        ),
        (
            f"{TIMES} batches after {WARM_UP} of warm-up, one process, {PARTITIONS} partitions, local engine.",
            "From the look at the topic's offsets until the commit has returned; the ledger row is part of it. The HDFS"
            " has one NameNode and two DataNodes, replication 2.",
        ),
    )


def _batches(bench: Bench, name: str, tables: str | None) -> list[float]:
    topic = f"warm-{name}"
    connection = bench.servers.kafka
    ensure_topic(connection, topic, PARTITIONS)
    milliseconds: list[float] = []

    def committed(batch: Committed) -> None:
        assert batch.counted is not None
        planned = batch.batch.planned_at.timestamp() - batch.counted.seconds["plan"]
        milliseconds.append((time.time() - planned) * 1000)

    stream = make_stream(bench.folder, name, {"kafka": {"topic": topic}}, tables)
    drained = Drained(stream, kafka=connection, hdfs=bench.servers.hdfs, on_commit=committed)
    sender = Sender(connection, topic)
    times = WARM_UP + bench.scaled(TIMES, 3)
    for line in range(times):
        for value in zipf_lines(line, LINES):
            sender.send(value)
        sender.finish()
        drained.run()
    drained.close()
    if len(milliseconds) != times:
        raise RuntimeError(f"{times} batches were expected, {len(milliseconds)} were committed")
    return milliseconds[WARM_UP:]

"""A steady trickle: how long from a message's Kafka timestamp until its count can be read, and at what CPU."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from confluent_kafka import Message

from benchmarks import peer
from benchmarks.bench import Bench
from benchmarks.data import vocabulary
from benchmarks.measure import Measure, Row, Section, Target, percentile
from benchmarks.ours import make_stream
from benchmarks.processes import Watch, arguments, child
from wordtide.cli.dagster_dev import write_instance
from wordtide.cli.produce import Sender, ensure_topic
from wordtide.config import PROJECT_ROOT
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.table.commit import BATCH_APP
from wordtide.table.query import counts
from wordtide.table.scan import Scan
from wordtide.wiring import open_table

LINES_A_SECOND = 500
WORDS_A_LINE = 8
PARTITIONS = 4
WARM_UP_SECONDS = 30
SECONDS = 60
SLICES = 6
START_SECONDS = 180.0
LINGER_SECONDS = 10
INTERVAL = "250ms"

Offsets = dict[int, int]


@dataclass(frozen=True, slots=True)
class Visible:
    """A batch that can be read: the offsets ``[start, end)`` by partition, and since when (seconds, Unix time)."""

    start: Offsets
    end: Offsets
    at: float


@dataclass(slots=True)
class Feed:
    """Sends lines at a fixed rate from a thread, and remembers what Kafka says of each."""

    connection: KafkaConnection
    topic: str
    words: Counter[str] = field(default_factory=Counter)
    stamps: list[tuple[int, int, int]] = field(default_factory=list)  # partition, offset, ms since the epoch
    failure: list[BaseException] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs; at its end all that was sent is acknowledged."""
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(60)
        if self.failure:
            raise self.failure[0]

    def _work(self) -> None:
        try:
            sender = Sender(self.connection, self.topic, self._taken)
            random = np.random.default_rng(11)
            frequent = vocabulary()[:5000]
            began, sent = time.monotonic(), 0
            while not self._stop.wait(0.01):
                for _ in range(int((time.monotonic() - began) * LINES_A_SECOND) - sent):
                    line = [frequent[i] for i in (random.zipf(1.3, WORDS_A_LINE) % len(frequent)).tolist()]
                    sender.send(" ".join(line).encode())
                    self.words.update(line)
                    sent += 1
                sender.poll()
            sender.finish()
        except BaseException as error:
            self.failure.append(error)

    def _taken(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        self.stamps.append((partition, offset, message.timestamp()[1]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one side did: latencies (ms) of the measured messages in their order, CPU-seconds a second, batches."""

    latencies: Sequence[float]
    cpu: float
    batches: int


def run(bench: Bench) -> Section:
    """Measure both sides, one after the other, each with a topic of its own and the same lines."""
    ours = _ours(bench)
    theirs = _peer(bench)
    return Section(
        f"Steady {LINES_A_SECOND} lines/s × {WORDS_A_LINE} words: from message to visible count",
        (
            _latency_row("p50", 50, ours, theirs),
            _latency_row("p95", 95, ours, theirs),
            Row(
                "CPU-seconds a second",
                Measure.of([ours.cpu], "CPU-s/s"),
                Measure.of([theirs.cpu], "CPU-s/s"),
                Target(0.3),
            ),
            Row("batches", Measure.of([ours.batches], ""), Measure.of([theirs.batches], "")),
        ),
        (
            f"All messages of {bench.scaled(SECONDS, 5)} s after {bench.scaled(WARM_UP_SECONDS, 3)} s of warm-up;"
            f" in brackets the spread over {SLICES} stretches of that time. {PARTITIONS} partitions.",
            "Visible: the file system's time at which our commit's log entry appeared, respectively the peer's"
            " `_SUCCESS`.",
            f"Ours: the stream's drain job under Dagster with its events kept, batch_interval {INTERVAL}, nothing else"
            " set. The CPU is that of the run's process.",
            "Peer: Structured Streaming, foreachBatch: count by word → Parquet, a folder a batch (so that a repeated"
            " batch replaces itself); no trigger named, which is the default and its lowest latency. The CPU is that"
            " of driver and JVM.",
        ),
    )


def _latency_row(what: str, percent: float, ours: Outcome, theirs: Outcome) -> Row:
    sides = [_percentile(side.latencies, percent) for side in (ours, theirs)]
    return Row(f"latency {what}", sides[0], sides[1], Target(0.6))


def _percentile(latencies: Sequence[float], percent: float) -> Measure:
    slices = [percentile(part.tolist(), percent) for part in np.array_split(np.array(latencies), SLICES)]
    return Measure(percentile(latencies, percent), min(slices), max(slices), SLICES, "ms")


def _ours(bench: Bench) -> Outcome:
    servers, folder = bench.servers, bench.folder / "ours"
    (folder / "dagster").mkdir(parents=True)
    settings = {
        "kafka": {"topic": "steady-ours"},
        "batch_interval": INTERVAL,
        # Only so that the run ends soon after the last message.
        "linger": f"{LINGER_SECONDS}s",
    }
    stream = make_stream(folder, "steady", settings)
    (folder / "streams.yaml").write_text(
        yaml.safe_dump({"tables": str(folder / "tables"), "streams": {"steady": settings}})
    )
    write_instance(folder / "dagster")
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "wordtide.dagster.definitions"]
    command += ["-j", "steady_drain", "--tags", json.dumps({"wordtide/follow": "true"})]
    environment = {
        "DAGSTER_HOME": str(folder / "dagster"),
        "WORDTIDE_STREAMS": str(folder / "streams.yaml"),
        "WORDTIDE_HOME": str(folder),
        "WORDTIDE_KAFKA_BOOTSTRAP": servers.kafka.bootstrap,
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    log = folder / "run.log"
    table = open_table(stream)

    def first_commit() -> bool:
        handle = table.open()
        return handle is not None and (handle.transaction_version(BATCH_APP) or 0) > 0

    feed = Feed(servers.kafka, "steady-ours")
    ensure_topic(servers.kafka, feed.topic, PARTITIONS)
    with child(command, log, environment) as process:
        with feed.running():
            _wait(first_commit, log)
            began, cpu = _measure(bench, process.pid)
        code = process.wait(LINGER_SECONDS + 60)
    if code != 0:
        raise RuntimeError(f"the drain ended with {code}: {log.read_text()[-3000:]}")
    handle = table.open()
    assert handle is not None
    found = counts(handle)
    _check("ours", dict(zip(found["word"].to_pylist(), found["count"].to_pylist(), strict=True)), feed.words)
    appeared = _log_entries(Path(stream.table) / "_delta_log")
    batches = [
        Visible(
            {split.partition: split.start for split in row.splits},
            {split.partition: split.end for split in row.splits},
            appeared[row.batch],
        )
        for row in Scan(handle).rows(after=0)
    ]
    return _outcome(bench, feed, batches, began, cpu)


def _log_entries(log: Path) -> dict[int, float]:
    """Return when each batch's log entry appeared: linking a file is the last change of its inode."""
    appeared = {}
    for entry in log.glob("*.json"):
        found = re.search(r'"wordtide\.batch":"(\d+)"', entry.read_text())
        if found:
            appeared[int(found[1])] = entry.stat().st_ctime
    return appeared


def _peer(bench: Bench) -> Outcome:
    servers, folder = bench.servers, bench.folder / "peer"
    folder.mkdir()
    feed = Feed(servers.kafka, "steady-peer")
    ensure_topic(servers.kafka, feed.topic, PARTITIONS)
    given = {"bootstrap": servers.kafka.bootstrap, "topic": feed.topic, "folder": str(folder)}
    log = folder / "query.log"
    with child([sys.executable, "-m", "benchmarks.steady", json.dumps(given)], log) as process:
        with feed.running():
            _wait(lambda: any(folder.glob("counts/batch=*/_SUCCESS")), log)
            began, cpu = _measure(bench, process.pid)
        deadline = time.monotonic() + 60
        while sum(_last_offsets(folder).values()) < len(feed.stamps) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait(60)
    if code != 0:
        raise RuntimeError(f"the query ended with {code}: {log.read_text()[-3000:]}")
    found = peer.counted(folder / "counts")
    _check("peer", dict(zip(found["word"].to_pylist(), found["count"].to_pylist(), strict=True)), feed.words)
    return _outcome(bench, feed, list(_peer_batches(folder)), began, cpu)


def _peer_batches(folder: Path) -> Iterator[Visible]:
    before: Offsets = {}
    for batch in sorted(int(path.name) for path in (folder / "checkpoint" / "offsets").glob("[0-9]*")):
        after = _offsets(folder / "checkpoint" / "offsets" / str(batch))
        done = folder / "counts" / f"batch={batch}" / "_SUCCESS"
        if done.exists():
            yield Visible({partition: before.get(partition, 0) for partition in after}, after, done.stat().st_ctime)
        before = after


def _last_offsets(folder: Path) -> Offsets:
    commits = [int(path.name) for path in (folder / "checkpoint" / "commits").glob("[0-9]*")]
    return _offsets(folder / "checkpoint" / "offsets" / str(max(commits))) if commits else {}


def _offsets(entry: Path) -> Offsets:
    """Return the end offsets of a batch as a query's offset log holds them: version, metadata, one line a source."""
    by_topic: dict[str, dict[str, int]] = json.loads(entry.read_text().splitlines()[2])
    return {int(partition): offset for offsets in by_topic.values() for partition, offset in offsets.items()}


def _measure(bench: Bench, pid: int) -> tuple[float, float]:
    """Wait for warm-up and measured time; return when the latter began and the CPU-seconds a second within it."""
    time.sleep(bench.scaled(WARM_UP_SECONDS, 3))
    began, watch = time.time(), Watch(pid)
    time.sleep(bench.scaled(SECONDS, 5))
    seconds, cpu = watch.lap()
    return began, cpu / seconds


def _outcome(bench: Bench, feed: Feed, batches: Sequence[Visible], began: float, cpu: float) -> Outcome:
    ended = began + bench.scaled(SECONDS, 5)
    visible = {
        (partition, offset): batch.at
        for batch in batches
        for partition, end in batch.end.items()
        for offset in range(batch.start[partition], end)
    }
    measured = sorted(
        (stamp, partition, offset) for partition, offset, stamp in feed.stamps if began <= stamp / 1000 < ended
    )
    latencies = [visible[partition, offset] * 1000 - stamp for stamp, partition, offset in measured]
    return Outcome(latencies, cpu, sum(began <= batch.at < ended for batch in batches))


def _check(side: str, found: Mapping[str, int], sent: Counter[str]) -> None:
    if found != sent:
        wrong = sum(found.get(word, 0) != sent[word] for word in found.keys() | sent.keys())
        raise RuntimeError(f"{side}: {wrong} words are not counted as they were sent")


def _wait(ready: object, log: Path) -> None:
    assert callable(ready)
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing was committed in {START_SECONDS:.0f} s: {log.read_text()[-3000:]}")
        time.sleep(0.1)


def query() -> None:
    """The peer's process: streams until its standard input ends."""
    given = arguments()
    folder = Path(given["folder"])
    spark = peer.session()
    lines = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", given["bootstrap"])
        .option("subscribe", given["topic"])
        .option("startingOffsets", "earliest")
        .load()
    )
    running = (
        lines.writeStream.foreachBatch(partial(peer.write_batch, folder / "counts"))
        .option("checkpointLocation", str(folder / "checkpoint"))
        .start()
    )
    sys.stdin.read()
    running.stop()
    spark.stop()


if __name__ == "__main__":
    query()

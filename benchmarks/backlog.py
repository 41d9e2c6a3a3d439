"""Two million messages wait: how fast they are counted, here and by Structured Streaming's availableNow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from benchmarks import peer
from benchmarks.bench import Bench
from benchmarks.data import WORDS, WORDS_A_LINE, Text, zipf_blocks
from benchmarks.measure import Measure, Row, Section, Target
from benchmarks.ours import Drained, make_stream
from benchmarks.processes import Watch, answer, arguments, run_child
from resources import SparkResource
from wordtide.cli.produce import ensure_topic
from wordtide.config import EngineName, KafkaSource, StreamConfig
from wordtide.core.model import KafkaSplit
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine
from wordtide.drain.loop import Engine
from wordtide.drain.pacing import choose_engine
from wordtide.sources.kafka.connection import KafkaConnection

MESSAGES = 2_000_000
PARTITIONS = 4
TOPIC = "backlog"
PROCESSES = 3
"""Each gives one cold value and `TIMES` warm ones."""
TIMES = 3
SIDES = ("auto", "local", "peer")


def run(bench: Bench) -> Section:
    """Measure our two engines and the peer on one topic, processes taking turns."""
    messages = bench.scaled(MESSAGES, 10_000)
    sent = _produce(bench.servers.kafka, messages)
    cold: dict[str, list[float]] = {side: [] for side in SIDES}
    warm: dict[str, list[float]] = {side: [] for side in SIDES}
    cpu: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(PROCESSES):
        for side in SIDES:
            folder = bench.folder / f"{side}-{number}"
            folder.mkdir()
            given = {"side": side, "bootstrap": bench.servers.kafka.bootstrap, "folder": str(folder)}
            laps = run_child("benchmarks.backlog", given, folder)
            cold[side].append(laps[0][0])
            warm[side] += [seconds for seconds, _ in laps[1:]]
            cpu[side] += [seconds for _, seconds in laps[1:]]
            _check(side, folder, sent)
    rates = {side: Measure.of([messages / s / 1000 for s in warm[side]], "k msg/s") for side in SIDES}
    work = {side: Measure.of(cpu[side], "CPU-s") for side in SIDES}
    starts = {side: Measure.of(cold[side], "s") for side in SIDES}
    return Section(
        f"A backlog of {messages:,} messages of {sent.bytes // sent.lines} B in {PARTITIONS} partitions → committed",
        (
            Row("engine auto", rates["auto"], rates["peer"], Target(2, at_least=True)),
            Row("engine local (no JVM)", rates["local"], rates["peer"], Target(2, at_least=True)),
            Row("CPU of a warm drain, auto", work["auto"], work["peer"]),
            Row("CPU of a warm drain, local", work["local"], work["peer"]),
            Row("session start and first drain, auto", starts["auto"], starts["peer"]),
            Row("session start and first drain, local", starts["local"], starts["peer"]),
        ),
        (
            f"{PROCESSES} processes a side, in turns; each drains the topic once cold and {TIMES} times warm, each time"
            " into a new table. The target is judged on the warm drains: sessions stay.",
            "Peer: Structured Streaming with availableNow, foreachBatch: count by word → Parquet; offsets a trigger not"
            " limited, which was faster than 500,000. Its start includes the look-up of the Kafka jar in Ivy's cache.",
            "Each side's counts equal those of the generated messages. On these cores engine auto counts with"
            f" the {_chosen()} engine.",
        ),
    )


def _produce(connection: KafkaConnection, messages: int) -> Text:
    ensure_topic(connection, TOPIC, PARTITIONS)
    producer = Producer({**connection.librdkafka(), "linger.ms": 50, "compression.type": "lz4"})
    counts = np.zeros(WORDS, np.int64)
    size = sent = 0
    for text, ranks in zipf_blocks(3, messages * WORDS_A_LINE):
        counts += np.bincount(ranks, minlength=WORDS)
        for value in text.splitlines():
            while True:
                try:
                    producer.produce(TOPIC, value, partition=sent % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            size += len(value)
            sent += 1
    if producer.flush(60):
        raise RuntimeError("the broker did not take all messages")
    return Text(size, sent, counts)


def _check(side: str, folder: Path, sent: Text) -> None:
    for number in range(TIMES + 1):
        found = peer.counted(folder / f"counts-{number}") if side == "peer" else _ours(folder, number, side).counted()
        if not found.equals(sent.table()):
            raise RuntimeError(f"{side}, drain {number}: not the counts of what was sent")


def _ours(folder: Path, number: int, engine: str, **more: Any) -> Drained:
    settings = {"kafka": {"topic": TOPIC}, "engine": engine}
    more.setdefault("kafka", KafkaConnection("127.0.0.1:1"))
    return Drained(make_stream(folder, f"drain_{number}", settings), **more)


def _chosen() -> EngineName:
    """Return what `auto` takes for the largest batch."""
    config = StreamConfig(kafka=KafkaSource(topic=TOPIC))
    return choose_engine(config, [KafkaSplit(TOPIC, 0, 0, config.max_records)], SparkResource().own_cores())


def _drain_ours(given: Mapping[str, Any]) -> list[tuple[float, float]]:
    watch = Watch()
    resource = SparkResource()
    engines: dict[EngineName, Engine] = {
        EngineName.LOCAL: LocalEngine(),
        EngineName.SPARK: SparkEngine(lambda: resource.spark_session, resource.tasks()),
    }
    laps = []
    for number in range(TIMES + 1):
        drained = _ours(
            Path(given["folder"]),
            number,
            given["side"],
            kafka=KafkaConnection(given["bootstrap"]),
            engines=engines,
            own_cores=resource.own_cores(),
        )
        drained.run()
        drained.close()
        laps.append(watch.lap())
    return laps


def _drain_peer(given: Mapping[str, Any]) -> list[tuple[float, float]]:
    watch = Watch()
    folder = Path(given["folder"])
    spark = peer.session()
    laps = []
    for number in range(TIMES + 1):
        reading = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", given["bootstrap"])
            .option("subscribe", TOPIC)
            .option("startingOffsets", "earliest")
        )
        if "max_offsets" in given:
            reading = reading.option("maxOffsetsPerTrigger", given["max_offsets"])
        lines = reading.load()
        query = (
            lines.writeStream.foreachBatch(partial(peer.write_batch, folder / f"counts-{number}"))
            .option("checkpointLocation", str(folder / f"checkpoint-{number}"))
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        laps.append(watch.lap())
    spark.stop()
    return laps


def main() -> None:
    """One process of one side."""
    given = arguments()
    answer(given, _drain_peer(given) if given["side"] == "peer" else _drain_ours(given))


if __name__ == "__main__":
    main()

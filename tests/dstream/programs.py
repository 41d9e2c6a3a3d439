"""The tutorial's programs on PySpark's own DStreams, in one process and one Spark: started by `test_parity`.

What counts is the tutorial's text. Only what names a source or shows a result is not: its Kafka source was removed in
Spark 3, so the same values come from a queue, and what each batch counted is gathered besides being printed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.streaming import DStream, StreamingContext

SECONDS = 90.0
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.default.parallelism": "1",
}


class Found:
    """What a program has counted. Plain values: a checkpoint takes every function, and what that refers to, along."""

    def __init__(self) -> None:
        self.lines = 0
        self.batches: list[dict[str, int]] = []

    def took(self, counts: list[tuple[str, int]]) -> None:
        if counts:
            self.batches.append(dict(counts))

    def read(self, lines: int) -> None:
        self.lines += lines


def word_count(lines: DStream[str], found: Found) -> DStream[tuple[str, int]]:
    """Count as the tutorial does."""
    words = lines.flatMap(lambda line: line.split(" "))
    wordCounts = words.map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)  # noqa: N806 (the tutorial's)
    wordCounts.pprint()
    wordCounts.foreachRDD(lambda rdd: found.took(rdd.collect()))
    # After the words: whoever sees how many lines there were sees their words.
    lines.foreachRDD(lambda rdd: found.read(rdd.count()))
    return wordCounts


def main(directory: str, port: str, folder: str, values: str, expected: str) -> None:
    """Run until as many lines are counted as expected of each source; write what was to ``found.json``."""
    sc = SparkContext("local[2]", "FileStream", conf=SparkConf().setAll(list(SETTINGS.items())))
    ssc = StreamingContext(sc, 1)
    ssc.checkpoint(f"{folder}/checkpoints")
    queue: list[Any] = [sc.parallelize(batch) for batch in json.loads(values)]
    found = {name: Found() for name in ("files", "socket", "values")}
    word_count(ssc.textFileStream(directory), found["files"])
    word_count(ssc.socketTextStream("127.0.0.1", int(port)), found["socket"])
    counts = word_count(ssc.queueStream(queue), found["values"])
    totals: dict[str, int] = {}
    running = counts.updateStateByKey(lambda new, total: sum(new) + (total or 0))
    running.foreachRDD(lambda rdd: totals.update(rdd.collect()))
    ssc.start()
    print("started", flush=True)
    awaited: dict[str, int] = json.loads(expected)
    deadline = time.monotonic() + SECONDS

    def missing() -> bool:
        # The totals are the last that a batch shows: its lines are seen before them.
        of_batches = sum(sum(batch.values()) for batch in found["values"].batches)
        late = sum(totals.values()) < of_batches
        return late or any(found[name].lines < lines for name, lines in awaited.items())

    while time.monotonic() < deadline and missing():
        ssc.awaitTerminationOrTimeout(0.1)
    ssc.stop(stopSparkContext=True, stopGraceFully=False)
    counted = {name: {"lines": one.lines, "batches": one.batches} for name, one in found.items()}
    Path(folder, "found.json").write_text(json.dumps({**counted, "totals": totals}))


if __name__ == "__main__":
    main(*sys.argv[1:])

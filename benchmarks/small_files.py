"""Ten thousand small files on HDFS: counted by us, against Spark merely reading them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import peer
from benchmarks.bench import Bench
from benchmarks.data import WORDS, WORDS_A_LINE, Text, zipf_blocks
from benchmarks.measure import Measure, Row, Section, Target
from benchmarks.ours import Drained, make_stream
from resources import SparkResource
from wordtide.config import EngineName
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine
from wordtide.drain.loop import Engine
from wordtide.storage import HdfsStorage

FILES = 10_000
LINES_A_FILE = 125
"""Ten kilobytes. It divides the lines of a generated block, so there are exactly as many files as asked for."""
TIMES = 5
FOLDER = "/benchmarks/small_files"


def run(bench: Bench) -> Section:
    """Measure the whole drain and the bare read in turns, in one session."""
    hdfs = bench.servers.hdfs
    files = bench.scaled(FILES, 50)
    storage = HdfsStorage(hdfs)
    text = _write(storage, files)
    resource = SparkResource(driver_memory=peer.HEAP)
    engines: dict[EngineName, Engine] = {
        EngineName.LOCAL: LocalEngine(),
        EngineName.SPARK: SparkEngine(lambda: resource.spark_session, resource.tasks()),
    }
    settings = {"landing": {"path": f"{hdfs.url}{FOLDER}", "min_age": 0}}
    seconds: dict[str, list[float]] = {"auto": [], "local": [], "peer": []}
    try:
        for number in range(TIMES + 1):
            for engine in ("auto", "local"):
                stream = make_stream(bench.folder, f"{engine}_{number}", {**settings, "engine": engine})
                drained = Drained(stream, hdfs=hdfs, engines=engines, own_cores=resource.own_cores())
                seconds[engine].append(drained.run()[1])
                if not drained.counted().equals(text.table()):
                    raise RuntimeError(f"{engine}: not the counts of the generator")
            started = time.perf_counter()
            resource.spark_session.read.text(f"{hdfs.url}{FOLDER}").write.format("noop").mode("overwrite").save()
            seconds["peer"].append(time.perf_counter() - started)
            lines = resource.spark_session.read.text(f"{hdfs.url}{FOLDER}").count() if number == 0 else text.lines
            if lines != text.lines:
                raise RuntimeError(f"peer: read {lines} of {text.lines} lines")
    finally:
        resource.spark_session.stop()
        storage.delete(FOLDER)
    measures = {side: Measure.of(taken[1:], "s") for side, taken in seconds.items()}
    return Section(
        f"{files:,} files of {text.bytes / files / 1000:.3g} kB on HDFS → counted and committed",
        (
            Row("engine auto", measures["auto"], measures["peer"], Target(0.5)),
            Row("engine local (no JVM)", measures["local"], measures["peer"], Target(0.5)),
        ),
        (
            f"{TIMES} times after one of warm-up, in turns, in one session (local[*], heap {peer.HEAP}).",
            "Ours: the whole drain into a new local table: listing, reading, counting, proof, ledger rows, commit."
            " Peer: `spark.read.text(folder)` to the noop sink, so it reads and counts nothing.",
            "Our counts equal those of the generator; the peer reads as many lines.",
        ),
    )


def _write(storage: HdfsStorage, files: int) -> Text:
    counts = np.zeros(WORDS, np.int64)
    size = lines = 0
    written = 0
    storage.mkdirs(FOLDER)
    with ThreadPoolExecutor(16) as pool:
        for text, ranks in zipf_blocks(5, files * LINES_A_FILE * WORDS_A_LINE):
            counts += np.bincount(ranks, minlength=WORDS)
            held = text.splitlines(keepends=True)
            pieces = [b"".join(held[at : at + LINES_A_FILE]) for at in range(0, len(held), LINES_A_FILE)]
            names = [f"{FOLDER}/{number:06d}.txt" for number in range(written, written + len(pieces))]
            list(pool.map(lambda name, piece: storage.write_durably(name, [piece], private=True), names, pieces))
            written += len(pieces)
            size += len(text)
            lines += len(held)
    return Text(size, lines, counts)

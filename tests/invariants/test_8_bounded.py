"""Bounded: memory does not grow with backlog, file size or distinct words, and every wait ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import wordtide.drain.loop
import wordtide.sources.kafka.source
from tests.support import Place, topic_of, words_of
from wordtide.config import PROJECT_ROOT, Stream
from wordtide.core.model import Halt, KafkaSplit, Stop
from wordtide.core.problems import PlanAgain, SourceUnavailable
from wordtide.counting.kernel import CHUNK_BYTES
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.read import KafkaReader
from wordtide.sources.kafka.source import KafkaTopic
from wordtide.table.commit import WordCounts
from wordtide.table.ledger import Ledger
from wordtide.table.maintain import compact_if_needed
from wordtide.table.upkeep import tidy
from wordtide.testing.age import LightTable, grow_older
from wordtide.wiring import open_source

MB = 1 << 20

# Drains a landing stream in a process of its own and says how far its memory grew.
SCRIPT = """
import json, resource, sys
from pathlib import Path
from wordtide.config import EngineName, load_streams
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain
from wordtide.drain.pacing import Pace
from wordtide.wiring import open_source, open_table

(stream,) = load_streams(Path(sys.argv[1])).values()
drain = Drain(stream, open_source(stream), open_table(stream), {EngineName.LOCAL: LocalEngine()},
              run_id="test", on_commit=lambda committed: None)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
summary = drain.run(Pace.of(stream.config, by_hand=True))
print(json.dumps({"grown": peak() - before, "words": summary.words}))
"""


def ledger_of(place: Place, stream: Stream) -> Ledger:
    """Return the ledger of a stream, founding its table."""
    place.drain(stream)
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    return snapshot.ledger


def grown(place: Place, megabytes: int) -> int:
    """Return by how many bytes a process grows that counts a file of this size."""
    stream = place.folder_stream(
        f"tables-{megabytes}", engine="local", landing=str(place.folder / f"landing-{megabytes}")
    )
    line = " ".join(f"word{n}" for n in range(130)) + "\n"
    times = megabytes * MB // len(line)
    place.land(stream, "big.txt", line.encode() * times)
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(place.folder / "streams.yaml")],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(ended.stdout)
    assert said["words"] == 130 * times
    return int(said["grown"])


def test_memory_does_not_grow_with_the_size_of_a_file(place: Place) -> None:
    small, large = grown(place, 16), grown(place, 160)
    assert large < small + 48 * MB, f"{small / MB:.0f} MB for 16 MB, {large / MB:.0f} MB for 160 MB"


def test_a_reader_holds_about_a_chunk_whatever_waits(place: Place) -> None:
    stream = place.topic_stream()
    value = "x" * 100_000
    ledger = ledger_of(place, stream)
    place.produce(stream, [value] * 400)
    source = place.source(stream)
    assert isinstance(source, KafkaTopic)
    plan = source.look().plan(ledger, lambda _app: 0)
    reader = source.reader(2**42)
    assert isinstance(reader, KafkaReader)
    sizes = [len(text.text) for text in reader.read(plan.splits)]
    source.close()
    assert sum(sizes) >= 400 * len(value)
    # Before the first record nothing is known of their size; then a fetch is about a chunk.
    assert max(sizes) < 1.5 * CHUNK_BYTES


def test_a_batch_takes_no_more_than_its_caps(place: Place) -> None:
    stream = place.topic_stream(partitions=3, max_records=100)
    lines = [f"w{n}" for n in range(1000)]
    place.produce(stream, lines)
    place.drain(stream)
    rows = place.ledger(stream)
    assert max(row["records"] for row in rows) <= 100
    assert len(rows) >= 11
    assert place.counted(stream) == words_of(lines)


def test_a_source_that_always_changes_ends_the_drain(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordtide.drain.loop, "PLAN_AGAIN_LIMIT", 4)
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    source = place.source(stream)
    looks: list[None] = []

    def verify(*_arguments: object) -> None:
        looks.append(None)
        raise PlanAgain("changed again")

    source.verify = verify  # type: ignore[method-assign]
    with pytest.raises(SourceUnavailable, match="gave up after 4 plans in a row"):
        place.drain(stream, source=source)
    assert len(looks) == 4


def test_a_broker_that_is_not_there_ends_the_drain_in_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordtide.sources.kafka.source, "BOOTSTRAP_TIMEOUT_MS", 1000)
    stream = place.topic_stream()
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SourceUnavailable, match="no answer") as refused:
            place.drain(stream, source=open_source(stream, KafkaConnection(address), place.hdfs))
    assert "\n" not in str(refused.value)
    assert not Path(place.table(stream).uri, "_delta_log").exists()


def test_a_read_of_what_never_comes_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.sources.kafka.read.STALL_SECONDS", 1.0)
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    # Nobody ever writes what follows: a read that waited for it would never end.
    beyond = [KafkaSplit(topic_of(stream), 0, 1, 5)]
    reading = place.source(stream).reader(2**42).read(beyond)
    with pytest.raises(StopIteration) as ended:
        next(reading)
    (proof,) = ended.value.value
    assert proof.stop == Stop(Halt.SILENT, beyond[0], "nothing arrived for 1 s")


def test_a_table_at_one_batch_a_second_has_a_bounded_log_and_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 batches; a minute passes with every sixty. Nothing is synced, which is not what is measured."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    light = LightTable(tmp_path, "light")
    table = light.table
    light.commit()
    of_a_batch = footprint(table.root)
    for minute in range(50):
        for second in range(60):
            light.repeat()
            if second == 59 or second == 29:
                compact_if_needed(table)
        grow_older(table, 60)
        tidy(table, table.storage.delete)
        if minute >= 20:
            files, size = footprint(f"{table.root}/_delta_log")
            assert files <= 2000
            assert size <= 50 * MB
            live = sum(live_sizes(table))
            assert footprint(table.root)[1] <= 1.2 * live + 20 * 60 * of_a_batch[1]
    assert len(live_sizes(table)) < 1000
    assert light.commit() == 2


def footprint(folder: str) -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    sizes = [os.path.getsize(os.path.join(below, name)) for below, _, names in os.walk(folder) for name in names]
    return len(sizes), sum(sizes)


def live_sizes(table: WordCounts) -> list[int]:
    handle = table.open()
    assert handle is not None
    sizes: list[int] = pa.table(handle.get_add_actions(flatten=True))["size_bytes"].to_pylist()
    return sizes

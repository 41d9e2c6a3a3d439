"""Whole or absent: no reader sees part of a batch or of a landed file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from deltalake import DeltaTable
from hdfs_native import Client, WriteOptions

from tests.support import Place, rows_in, some_lines, unique, words_in, words_of
from wordtide.table.maintain import compact_if_needed
from wordtide.table.query import counts
from wordtide.table.scan import Scan


def test_every_version_of_the_table_holds_whole_batches_only(place: Place) -> None:
    stream = place.topic_stream(partitions=2, max_records=8)
    for seed in range(3):
        place.produce(stream, some_lines(40, seed))
        place.drain(stream)
        compact_if_needed(place.table(stream), live_files=5)
    newest = place.handle(stream)
    assert newest.version() > 15
    for version in range(newest.version() + 1):
        handle = DeltaTable(newest.table_uri, version=version)
        ledger = {row.batch: row.words for row in Scan(handle).rows()}
        assert sorted(ledger) == list(range(len(ledger)))
        held: Counter[int] = Counter()
        for batch, _window, _word, count in rows_in(handle):
            held[batch] += count
        assert held == {batch: words for batch, words in ledger.items() if words}


def test_a_range_of_batches_reads_the_same_over_a_compaction(place: Place) -> None:
    stream = place.topic_stream(max_records=10)
    lines = some_lines(80)
    place.produce(stream, lines, partition=0)
    place.drain(stream)
    ranges = [(-1, 3), (3, 4), (2, 7), (7, None), (0, 8)]

    def read() -> list[dict[str, int]]:
        handle = place.handle(stream)
        return [
            dict(zip(*(counts(handle, after, through)[name].to_pylist() for name in ("word", "count")), strict=True))
            for after, through in ranges
        ]

    before, sleeper = read(), place.handle(stream)
    assert before[1] == words_of(lines[30:40])
    assert compact_if_needed(place.table(stream), live_files=2)
    assert read() == before
    # A reader that opened the table earlier still finds its files.
    assert words_in(sleeper, 2, 7) == words_of(lines[20:70])


def test_a_file_is_not_taken_before_it_has_its_name(place: Place) -> None:
    stream = place.folder_stream()
    folder = Path(place.landing(stream)[1])
    names = [".a.txt.123.tmp", "_a.txt", "a.txt.tmp", "a.txt._COPYING_", "a.inprogress.7", "_temporary/0/part-0"]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"half of it")
    place.drain(stream)
    assert not place.counted(stream)
    (folder / names[0]).rename(folder / "a.txt")
    place.drain(stream)
    assert place.counted(stream) == {"half": 1, "of": 1, "it": 1}


def test_a_young_file_is_left_alone(place: Place) -> None:
    landing = {"path": str(place.folder / "landing"), "min_age": "1h"}
    Path(landing["path"]).mkdir()
    stream = place.streams({"s": {"landing": landing, "batch_interval": "100ms"}})["s"]
    place.land(stream, "a.txt", b"young\n")
    source = place.source(stream)
    place.table(stream).found(source.found(), "a" * 32, "test")
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    plan = source.look().plan(snapshot.ledger, snapshot.position)
    assert (plan.splits, plan.waiting) == ((), 1)


def test_a_file_under_construction_on_hdfs_is_left_alone_until_it_is_closed(place: Place) -> None:
    stream = place.folder_stream(landing=f"hdfs:///{unique('open')}")
    _, root = place.landing(stream)
    client = Client(place.cluster.hdfs)
    block = 1 << 20
    writer = client.create(f"{root}/a.txt", WriteOptions(block_size=block, replication=1))
    # The first block is complete and listed while the second is being written.
    writer.write(b"word\n" * (block // 5) + b"!" * (block % 5))
    writer.write(b"more\n")
    writer.hsync()
    place.drain(stream)
    assert not place.counted(stream)
    writer.close()
    place.drain(stream)
    counted = place.counted(stream)
    assert counted["word"] == block // 5
    assert counted.total() == block // 5 + 1

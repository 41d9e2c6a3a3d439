"""Which small files become one, and what a vacuum may delete."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support import Place, rows_in, some_lines
from wordtide.table.maintain import (
    LARGE_ROWS,
    LiveFile,
    compact_if_needed,
    plan_compaction,
    vacuum,
    worth_merging,
)

FILES = st.lists(
    st.builds(
        LiveFile,
        kind=st.sampled_from(["count", "batch"]),
        day=st.sampled_from(["2026-01-01", "2026-01-02"]),
        path=st.uuids().map(str),
        size=st.integers(1, 1000),
        rows=st.integers(0, 100),
    ),
    unique_by=lambda file: file.path,
    max_size=40,
)


@given(FILES)
def test_a_group_is_of_one_partition_bounded_and_worth_it(files: list[LiveFile]) -> None:
    groups = plan_compaction(files, rows=100, size=1000)
    grouped = [file for group in groups for file in group]
    assert len(set(grouped)) == len(grouped)
    for group in groups:
        assert len(group) > 1
        assert len({(file.kind, file.day) for file in group}) == 1
        assert sum(file.rows for file in group) <= 100
        assert sum(file.size for file in group) <= 1000


@given(FILES)
def test_files_of_half_the_target_are_left_alone_and_few_small_ones_stay(files: list[LiveFile]) -> None:
    groups = plan_compaction(files, rows=100, size=1000)
    grouped = {file for group in groups for file in group}
    for file in grouped:
        assert file.rows < 50
        assert file.size < 500
    for kind in ("count", "batch"):
        for day in ("2026-01-01", "2026-01-02"):
            here = [f for f in files if (f.kind, f.day) == (kind, day) and f.rows < 50 and f.size < 500]
            tiny = sum(f.rows for f in here) <= 100 and sum(f.size for f in here) <= 1000
            if tiny and len(here) > 1:
                assert set(here) <= grouped


@given(FILES)
def test_only_a_file_larger_than_all_smaller_ones_of_its_day_waits(files: list[LiveFile]) -> None:
    files = [replace(file, rows=file.rows * 1000) for file in files]
    chosen = set(worth_merging(files))
    for file in set(files) - chosen:
        smaller = [f for f in files if f.partition == file.partition and f.rows < file.rows]
        assert file.rows >= LARGE_ROWS
        assert sum(f.rows for f in smaller) < file.rows


def test_a_row_is_merged_a_few_times_a_day_only() -> None:
    day: list[LiveFile] = []
    rewritten = 0
    for hour in range(400):
        day += [LiveFile("count", "2026-01-01", f"{hour}-{n}", 10, 1000) for n in range(100)]
        for group in plan_compaction(worth_merging(day), rows=1 << 30, size=1 << 30):
            rows = sum(file.rows for file in group)
            rewritten += rows
            day = [file for file in day if file not in group] + [LiveFile("count", "2026-01-01", f"m{hour}", 10, rows)]
    total = sum(file.rows for file in day)
    assert total == 400 * 100 * 1000
    assert rewritten < 10 * total
    assert len(day) < 12


def test_a_vacuum_deletes_old_orphans_and_nothing_that_a_reader_may_still_need(place: Place) -> None:
    stream = place.topic_stream(max_records=10)
    place.produce(stream, some_lines(60))
    place.drain(stream)
    table = place.table(stream)
    rows, root = rows_in(place.handle(stream)), Path(table.root)
    some_file = next(root.glob("kind=count/*/*.parquet"))
    orphans = [some_file.with_name(f"99-{'e' * 32}-0.parquet"), some_file.with_name(f"99-{'f' * 32}-0.parquet")]
    for orphan in orphans:
        orphan.write_bytes(some_file.read_bytes())
    os.utime(orphans[0], (1e9, 1e9))
    assert compact_if_needed(table, live_files=2)
    before = set(root.rglob("*.parquet"))
    assert vacuum(table.uri) == 1
    assert before - set(root.rglob("*.parquet")) == {orphans[0]}
    assert rows_in(place.handle(stream)) == rows


def test_few_files_are_left_alone(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(10))
    place.drain(stream)
    version = place.handle(stream).version()
    assert not compact_if_needed(place.table(stream), live_files=3)
    assert place.handle(stream).version() == version


def test_a_table_that_is_not_there_is_left_alone(place: Place) -> None:
    assert not compact_if_needed(place.table(place.topic_stream()), live_files=0)

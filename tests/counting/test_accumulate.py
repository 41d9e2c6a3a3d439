from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.counting.lines import untimed
from wordtide.counting import accumulate
from wordtide.counting.accumulate import RESULT_SCHEMA, Accumulator, Limits
from wordtide.counting.kernel import count_words

Totals = dict[tuple[int, str], int]
Part = list[tuple[int, str, int]]

# Words that are equal for long, end early, hold what looks like padding, and sort otherwise by code unit than by byte.
_stems = st.sampled_from(
    ["", "\0", "a", "ab", "aaaaaaaa", "aaaaaaab", "ц", "https://example.org/a/long/common/prefix/"]
)
_word = st.builds(str.__add__, _stems, st.one_of(st.text("a\0b", max_size=20), st.text(max_size=5)))
_window = st.sampled_from([0, 1, 60_000_000, -60_000_000, 2**62, -(2**62)])
_part = st.lists(st.tuples(_window, _word, st.integers(-2, 3)), max_size=30)

few = settings(untimed, max_examples=40)  # an example may write a hundred files

TIGHT = [
    Limits(),
    Limits(rows=20, bytes=10_000, batch_rows=3, batch_bytes=100, runs=2),
    Limits(rows=10_000, bytes=50, batch_rows=100, batch_bytes=1, runs=3),
    Limits(rows=1, bytes=1, batch_rows=1, batch_bytes=1, runs=2),
]


def table(part: Part) -> pa.Table:
    windows, words, counts = ([row[column] for row in part] for column in range(3))
    columns = [pa.array(windows, pa.int64()), pa.array(words, pa.string()), pa.array(counts, pa.int64())]
    return pa.table(columns, ["window", "word", "count"])


def totals(parts: list[Part]) -> Totals:
    summed = Counter[tuple[int, str]]()
    for window, word, count in (row for part in parts for row in part):
        summed[window, word] += count
    return {key: summed[key] for key in sorted(summed, key=lambda key: (key[0], key[1].encode())) if summed[key]}


def rows(batches: list[pa.RecordBatch], limits: Limits) -> Totals:
    """The result as a dict in its order, after checking what holds for every result."""
    found: list[tuple[tuple[int, str], int]] = []
    for batch in batches:
        batch.validate(full=True)
        assert batch.schema == RESULT_SCHEMA
        words = batch.column("word").to_pylist()
        assert 1 <= len(words) <= limits.batch_rows
        assert len(words) == 1 or sum(len(word.encode()) for word in words) <= limits.batch_bytes
        windows = batch.column("window_start").cast(pa.int64()).to_pylist()
        found += zip(zip(windows, words, strict=True), batch.column("count").to_pylist(), strict=True)
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("limits", TIGHT)
@few
@given(parts=st.lists(_part, max_size=12))
@example(parts=[])
@example(parts=[[(0, "gone", 1)], [(0, "gone", -1)]])
@example(parts=[[(0, "x" * 32 + tail, 1)] for tail in ("", "\0", "a", "", "b" * 9, "b" * 9 + "\0")])
def test_result_is_the_sorted_sum_within_any_limits(limits: Limits, parts: list[Part]) -> None:
    with Accumulator(limits) as sums:
        for part in parts:
            sums.add_table(table(part))
        found = rows(list(sums.result()), limits)
        assert list(found.items()) == list(totals(parts).items())
        assert sums.distinct == len(found)
        assert sums.words == sum(found.values())


@pytest.mark.parametrize("limits", TIGHT)
@few
@given(texts=st.lists(st.tuples(_window, st.lists(_word.filter(lambda word: " " not in word), min_size=1)), max_size=8))
def test_counted_texts_are_summed_by_window(limits: Limits, texts: list[tuple[int, list[str]]]) -> None:
    with Accumulator(limits) as sums:
        for window, some in texts:
            for counted in count_words(" ".join(some).encode(), True):
                sums.add(window, counted)
        found = rows(list(sums.result()), limits)
        assert list(found.items()) == list(
            totals([[(window, word, 1) for word in some] for window, some in texts]).items()
        )
        assert sums.words == sum(len(some) for _, some in texts)


@pytest.mark.parametrize("block", [1, 2, 5])
@untimed
@given(part=_part)
def test_blocks_of_any_size_give_the_same_order(block: int, part: Part) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulate, "_BLOCK_ROWS", block)
        with Accumulator() as sums:
            sums.add_table(table(part))
            assert list(rows(list(sums.result()), Limits()).items()) == list(totals([part]).items())


def test_runs_are_merged_in_several_passes() -> None:
    limits = Limits(rows=100, bytes=1 << 20, batch_rows=7, batch_bytes=1 << 20, runs=3)
    parts = [[(number % 3, f"w{(number * 7919 + row * 31) % 5_000}", 1) for row in range(150)] for number in range(40)]
    with Accumulator(limits) as sums:
        for part in parts:
            sums.add_table(table(part))
        assert len(sums._runs) > 2
        found = rows(list(sums.result()), limits)
        assert found == totals(parts)
        assert list(found) == sorted(found, key=lambda key: (key[0], key[1].encode()))


def test_a_sorted_result_is_in_utf8_order() -> None:
    words = ["z", "Z", "é", "\uffff", "\U00010000", "", "a\0", "a", "a" * 40, "a" * 40 + "\0"]
    with Accumulator() as sums:
        sums.add_table(table([(0, word, 1) for word in words]))
        found = [word.encode() for batch in sums.result() for word in batch.column("word").to_pylist()]
    assert all(before < after for before, after in pairwise(found))
    assert len(found) == len(words)


def test_words_of_ten_megabytes_are_summed() -> None:
    long = "x" * 10_000_000
    parts = [[(0, long, 1), (0, long + "\0", 2)], [(0, long, 3), (0, long + "y", 4)], [(0, long, 5)]]
    limits = Limits(bytes=15_000_000)
    with Accumulator(limits) as sums:
        for part in parts:
            sums.add_table(table(part))
        assert rows(list(sums.result()), limits) == totals(parts)


def test_other_column_types_are_cast_and_nulls_refused() -> None:
    words = pa.array(["b", "a", "b"]).dictionary_encode()
    columns = {
        "count": pa.array([1, 2, 3], pa.int32()),
        "word": words,
        "window": pa.array([5, 5, 5], pa.timestamp("us")),
    }
    with Accumulator() as sums:
        sums.add_table(pa.table(columns))
        assert rows(list(sums.result()), Limits()) == {(5, "a"): 2, (5, "b"): 4}
    with Accumulator() as sums, pytest.raises(ValueError, match="nulls"):
        sums.add_table(table([(0, None, 1)]))  # type: ignore[list-item]


def test_sliced_arrays_are_read_where_they_begin() -> None:
    part = [(0, "skipped", 9), (1, "a", 1), (1, "bb", 2), (0, "skipped", 9)]
    with Accumulator() as sums:
        sums.add_table(table(part).slice(1, 2))
        assert rows(list(sums.result()), Limits()) == {(1, "a"): 1, (1, "bb"): 2}


def test_a_result_can_be_taken_once() -> None:
    with Accumulator() as sums:
        sums.result()
        with pytest.raises(RuntimeError, match="once"):
            sums.result()


def test_spilling_leaves_no_file_behind(tmp_path: Path) -> None:
    def ours() -> list[str]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}"))
            except FileNotFoundError:  # the listing's own descriptor
                continue
        return [name for name in found if name.startswith(str(tmp_path))]

    with Accumulator(TIGHT[-1], tmp_path) as sums:
        sums.add_table(table([(0, "b", 1), (0, "a", 1)]))
        assert ours()
        assert not list(tmp_path.iterdir())
        result = sums.result()
        next(result)
    assert not ours()


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import pyarrow as pa
from wordtide.counting.accumulate import Accumulator, Limits
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rows = 2_000
words = [f"word{n}" for n in range(rows)]
many = pa.table({"window": pa.array([0] * rows), "word": words, "count": pa.array([1] * rows)})
try:
    with Accumulator(Limits(rows=1_000, batch_rows=100), Path(sys.argv[1])) as sums:
        sums.add_table(many)
except OSError as error:
    print("refused", error.errno)
"""


def test_a_full_disk_is_an_os_error_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails a write just as a full disk does.
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("refused"), done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())

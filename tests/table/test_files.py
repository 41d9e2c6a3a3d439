"""What the statistics of a file promise, and what readers find because of them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.transaction import AddAction
from hypothesis import given
from hypothesis import strategies as st

from wordtide.storage import LocalStorage
from wordtide.table.files import ROWS_A_FILE, _lower, _stats, _upper, attempt_path, write_counts
from wordtide.table.schema import COUNT_SCHEMA, PARTITION_BY, SCHEMA

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
COLUMNS = ("window_start", "word", "count")


def counts(words: list[str]) -> pa.RecordBatch:
    schema = pa.schema([COUNT_SCHEMA.field(name) for name in COLUMNS])
    return pa.record_batch([[NOON] * len(words), words, [1] * len(words)], schema=schema)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_bounds_of_a_string_enclose_it_by_code_points_and_by_bytes(word: str) -> None:
    assert _lower(word) <= word <= _upper(word)
    assert _lower(word).encode() <= word.encode() <= _upper(word).encode()


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)))
def test_bounds_of_a_time_enclose_it_in_milliseconds(moment: datetime) -> None:
    low, high = (datetime.fromisoformat(bound(moment)) for bound in (_lower, _upper))
    assert low <= moment <= high
    assert high - low <= timedelta(milliseconds=1)


def test_every_plain_column_has_statistics() -> None:
    rows = pa.table({"batch": [3], "window_start": [NOON], "word": ["w"], "count": [1]}, schema=COUNT_SCHEMA)
    stats = json.loads(_stats(rows))
    plain = {f.name for f in SCHEMA if f.name not in PARTITION_BY and not pa.types.is_nested(f.type)}
    assert set(stats["nullCount"]) == plain
    assert {name for name, nulls in stats["nullCount"].items() if nulls == 0} == set(COUNT_SCHEMA.names)
    assert stats["minValues"] == {"batch": 3, "window_start": "2026-01-02T12:00:00.123Z", "word": "w", "count": 1}


@pytest.mark.parametrize("other", ["short", "x" * 500, "\ud7ff" * 33], ids=repr)
def test_a_word_is_found_by_its_name_beside_any_other(tmp_path: Path, other: str) -> None:
    storage, root = LocalStorage(), str(tmp_path / "t")
    write_deltalake(root, pa.Table.from_pylist([], schema=SCHEMA), partition_by=PARTITION_BY)
    words = sorted(["the", other])
    files = list(write_counts(storage, root, 7, "a" * 32, date(2026, 1, 2), [counts(words)]))
    DeltaTable(root).create_write_transaction(
        [AddAction(f.path, f.size, f.partition, 0, True, f.stats) for f in files],
        "append",
        SCHEMA,
        PARTITION_BY,
        commit_properties=CommitProperties(),
    )
    dataset = DeltaTable(root).to_pyarrow_dataset()
    for word in words:
        assert dataset.to_table(columns=["word"], filter=ds.field("word") == word).to_pylist() == [{"word": word}]
    assert dataset.count_rows(filter=ds.field("window_start") >= NOON) == 2


def test_rows_beyond_a_files_share_go_to_the_next_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.table.files.ROWS_A_FILE", 3)
    batches = [counts(["a", "b"]), counts(["c", "d"]), counts(["e"])]
    files = list(write_counts(LocalStorage(), str(tmp_path), 1, "f" * 32, date(2026, 1, 2), batches))
    assert [json.loads(file.stats)["numRecords"] for file in files] == [4, 1]
    assert len({file.path for file in files}) == 2
    assert all((tmp_path / file.path).stat().st_size == file.size for file in files)
    assert ROWS_A_FILE == 1 << 20


def test_no_two_attempts_share_a_path() -> None:
    day = date(2026, 1, 2)
    paths = {attempt_path("count", day, number, attempt * 32) for number in (1, 2, 11) for attempt in "ab"}
    assert len(paths) == 6

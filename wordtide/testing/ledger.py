"""What a table says, and what must be true of it. Words are summed here, never by the code under test."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.table.commit import WordCounts

ATTEMPT = re.compile(r"\d+-[0-9a-f]{32}")
"""How a file of an attempt is named: batch number and uuid; compaction's are named otherwise."""


def words_of(lines: Iterable[str]) -> Counter[str]:
    """Count words as the tutorial does."""
    return Counter(word for line in lines for word in line.split(" "))


def words_in(handle: DeltaTable, after: int = -1, through: int | None = None) -> Counter[str]:
    """Return the words of a table: the sum of the count rows of batches ``after < batch <= through``."""
    found: Counter[str] = Counter()
    scanner = handle.to_pyarrow_dataset().scanner(
        columns=["batch", "word", "count"], filter=ds.field("kind") == "count", batch_size=1 << 16
    )
    for rows in scanner.to_batches():
        table = pa.Table.from_batches([rows])
        summed = table.group_by(["batch", "word"], use_threads=False).aggregate([("count", "sum")])
        for batch, word, count in zip(
            *(summed.column(n).to_pylist() for n in ("batch", "word", "count_sum")), strict=True
        ):
            if after < batch and (through is None or batch <= through):
                found[word] += count
    return found


def rows_in(handle: DeltaTable) -> list[tuple[Any, ...]]:
    """Return all count rows of a table in one order: batch, window, word, count."""
    columns = ["kind", "batch", "window_start", "word", "count"]
    rows = handle.to_pyarrow_table(columns=columns).to_pylist()
    return sorted(tuple(row[name] for name in columns[1:]) for row in rows if row["kind"] == "count")


def assert_numbered(rows: Sequence[Mapping[str, Any]]) -> None:
    """Assert that batches are numbered 0, 1, 2 … and no attempt occurs twice."""
    assert [row["batch"] for row in rows] == list(range(len(rows)))
    assert len({row["attempt"] for row in rows}) == len(rows)


def assert_contiguous(rows: Sequence[Mapping[str, Any]], ends: Mapping[int, int]) -> None:
    """Assert that the ledger took every offset of every partition once, from 0 to its end."""
    reached = dict.fromkeys(ends, 0)
    for row in rows:
        if row["status"] != "published":
            continue
        for split in row["splits"]:
            assert split["start"] == reached[split["partition"]], f"gap or overlap in batch {row['batch']}: {split}"
            assert split["end"] > split["start"]
            reached[split["partition"]] = split["end"]
    assert reached == dict(ends)


def log_of(table: WordCounts) -> list[dict[str, Any]]:
    """Return every action of a table's Delta log, oldest first."""
    entries = sorted(
        (file.path, file.length)
        for file in table.storage.list_files(f"{table.root}/_delta_log")
        if file.path.endswith(".json")
    )
    actions: list[dict[str, Any]] = []
    for content in table.storage.read_small(entries):
        assert isinstance(content, bytes)
        actions += [json.loads(line) for line in content.splitlines()]
    return actions


def attempts_on_disk(table: WordCounts) -> set[str]:
    """Return the attempts that have written files, winners and orphans."""
    return {found[0] for file in table.storage.list_files(table.root) if (found := ATTEMPT.search(file.path))}


def assert_no_orphan_visible(table: WordCounts, rows: Sequence[Mapping[str, Any]]) -> int:
    """Assert that the log names files of winning attempts only, each once; return how many attempts are orphans.

    The log is cleaned up after ten minutes, from its old end: what is left of it is judged, and must be all since then.
    """
    winners = {f"{row['batch']}-{row['attempt']}" for row in rows if row["batch"] > 0}
    added = Counter(
        action["add"]["path"] for action in log_of(table) if "add" in action and action["add"]["dataChange"]
    )
    assert set(added.values()) == {1}
    named = {found[0] for path in added if (found := ATTEMPT.search(path))}
    oldest = min(map(_batch_of, named))
    assert named == {attempt for attempt in winners if _batch_of(attempt) >= oldest}
    return len(attempts_on_disk(table) - winners)


def _batch_of(attempt: str) -> int:
    return int(attempt.partition("-")[0])

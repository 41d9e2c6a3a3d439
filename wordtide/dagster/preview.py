"""A look into a table at the end of a run, as an event shows it. Bounded, whatever the table's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from deltalake import DeltaTable

from wordtide.table.query import counts

ROWS = 100_000
"""Rows of the newest batches that are summed up; it takes some 50 ms."""
SHOWN = 10


def preview_from(batches: Sequence[tuple[int, int]]) -> int | None:
    """Return the first of the newest batches, given as (number, rows), that have few enough rows together, if any."""
    newest = list(reversed(batches))
    sums = accumulate(rows for _, rows in newest)
    fitting = [number for (number, _), rows in zip(newest, sums, strict=True) if rows <= ROWS]
    return fitting[-1] if fitting else None


def top_words(handle: DeltaTable, first: int, last: int) -> str:
    """Return the most frequent words of some batches as a Markdown table."""
    rows = counts(handle, after=first - 1, through=last, limit=SHOWN).to_pylist()
    which = f"batch {first}" if first == last else f"batches {first} to {last}"
    return "\n".join([f"| word | in {which} |", "|:--|--:|", *(_line(row) for row in rows)])


def _line(row: Mapping[str, Any]) -> str:
    word = "".join(c if c.isprintable() else " " for c in row["word"][:60])
    shown = word.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;") or "(empty)"
    return f"| {shown} | {row['count']:,} |"


def row_count(handle: DeltaTable) -> int:
    """Return how many rows a table has, from its log alone."""
    return int(sum(handle.get_add_actions(flatten=True).column("num_records").to_pylist()))

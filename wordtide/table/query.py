"""Questions to a table that a person asks: top words, the ledger, what is parked."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from wordtide.counting.accumulate import RESULT_SCHEMA, Accumulator
from wordtide.table.scan import Scan, counts_in


def counts(handle: DeltaTable, after: int = -1, through: int | None = None) -> pa.Table:
    """Return (word, count) summed over all windows of batches ``after < batch <= through``, highest first.

    Ties are ordered by word, as UTF-8 bytes. Sums of zero (corrections) are left out.
    """
    with Accumulator() as sums:
        for batch in Scan(handle).counts(["word", "count"], counts_in(after, through)):
            if len(batch):
                nowhere = pa.repeat(pa.scalar(0, pa.int64()), len(batch))
                columns = {"window": nowhere, "word": batch.column("word"), "count": batch.column("count")}
                sums.add_table(pa.table(columns))
        table = pa.Table.from_batches(list(sums.result()), schema=RESULT_SCHEMA)
    return table.select(["word", "count"]).sort_by([("count", "descending"), ("word", "ascending")])


def top(handle: DeltaTable, limit: int) -> list[dict[str, Any]]:
    """Return the ``limit`` most frequent words as ``{"word": …, "count": …}``."""
    table = counts(handle)
    rows: list[dict[str, Any]] = table.slice(0, min(limit, len(table))).to_pylist()
    return rows

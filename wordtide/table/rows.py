"""Reads a table's rows: the ledger and the counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.batch import Status
from wordtide.errors import TableRefused
from wordtide.table.ledger import Ledger
from wordtide.table.schema import BATCH_SCHEMA

_LEDGER_COLUMNS = ["batch", "status", "committed_at", "identity", "fingerprint", "splits"]
_NEWEST = 50
_ROWS_AT_ONCE = 256
"""A row may name 10,000 files, so this bounds what is held beside the ledger itself."""


def _batch_filter(after: int, before: int | None = None) -> ds.Expression:
    chosen = (ds.field("kind") == "batch") & (ds.field("batch") > after)
    return chosen if before is None else chosen & (ds.field("batch") < before)


def read_batch_rows(handle: DeltaTable, after: int = -1, before: int | None = None) -> list[dict[str, Any]]:
    """Return the ledger rows with numbers in ``(after, before)``, oldest first."""
    dataset = handle.to_pyarrow_dataset()
    table = dataset.to_table(columns=BATCH_SCHEMA.names, filter=_batch_filter(after, before))
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=lambda row: int(row["batch"]))


def newest_published(handle: DeltaTable, last: int) -> dict[str, Any] | None:
    """Return the newest published row among the last few batches up to ``last``, its splits only."""
    chosen = _batch_filter(last - _NEWEST) & (ds.field("status") == Status.PUBLISHED.value)
    rows = handle.to_pyarrow_dataset().to_table(columns=["batch", "splits"], filter=chosen).to_pylist()
    return max(rows, key=lambda row: int(row["batch"]), default=None)


def batch_totals(handle: DeltaTable, columns: list[str], after: int, before: int | None) -> dict[str, list[Any]]:
    """Return a few plain columns of the ledger rows with numbers in ``(after, before)``, oldest first."""
    dataset = handle.to_pyarrow_dataset()
    table = dataset.to_table(columns=["batch", *columns], filter=_batch_filter(after, before)).sort_by("batch")
    found: dict[str, list[Any]] = table.to_pydict()
    return found


def _rows(dataset: ds.Dataset, chosen: ds.Expression) -> Iterator[dict[str, Any]]:
    scanner = dataset.scanner(columns=_LEDGER_COLUMNS, filter=chosen, batch_size=_ROWS_AT_ONCE)
    for rows in scanner.to_batches():
        yield from rows.to_pylist()


def catch_up(handle: DeltaTable, ledger: Ledger, stored: int) -> None:
    """Take in the batches after ``ledger.last`` up to ``stored``, the batch number in the log.

    Of a topic's batches only those are read that say more than the ``txn`` actions do: the founding one and what is
    parked. A folder's files have no other record.

    Raises:
        TableRefused: A batch is missing or there twice: rows were rolled back (RESTORE), numbers were not.
    """
    dataset = handle.to_pyarrow_dataset()
    new = _batch_filter(ledger.last)
    numbers = np.sort(dataset.to_table(columns=["batch"], filter=new).column("batch").to_numpy())
    if not np.array_equal(numbers, np.arange(ledger.last + 1, stored + 1)):
        raise TableRefused(
            f"table {handle.table_uri}: the ledger does not hold each batch from {ledger.last + 1} to {stored} once;"
            " was it RESTOREd? Draining on would lose or repeat counts: restore a whole copy, or found a new table"
        )
    if ledger.last < 0:
        ledger.apply(dataset.to_table(columns=_LEDGER_COLUMNS, filter=new & (ds.field("batch") == 0)).to_pylist())
        new = _batch_filter(0)
    # Published rows only add, in any order; the others also take back, so they come last and in order. What was put
    # away comes first: it frees paths, of which there may be as many as were published.
    published = ds.field("status") == Status.PUBLISHED.value
    others: list[dict[str, Any]] = []
    freed: dict[str, int] = {}
    for row in _rows(dataset, new & ~published):
        ledger.free(row, freed)
        if row["status"] != Status.PUT_AWAY:
            others.append(row)
    if not ledger.of_topic:
        for row in _rows(dataset, new & published):
            ledger.apply([row], freed)
    ledger.apply(others, freed)
    ledger.last = stored


def count_filter(after: int = -1, through: int | None = None) -> ds.Expression:
    """Return the filter for count rows of batches ``after < batch <= through``: exact over any compaction."""
    chosen = (ds.field("kind") == "count") & (ds.field("batch") > after)
    return chosen if through is None else chosen & (ds.field("batch") <= through)

"""Reads a table's rows: the ledger and the counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.core.model import Status
from wordtide.core.problems import TableRefused
from wordtide.table.ledger import Ledger, paths_named_by
from wordtide.table.schema import BATCH_SCHEMA

_LEDGER_COLUMNS = ["batch", "status", "committed_at", "identity", "fingerprint", "splits"]
_OF_MANY_FILES = frozenset({Status.PUBLISHED.value, Status.PUT_AWAY.value})
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
    heads = dataset.to_table(columns=["batch", "status"], filter=new)
    numbers = np.sort(heads.column("batch").to_numpy())
    if not np.array_equal(numbers, np.arange(ledger.last + 1, stored + 1)):
        raise TableRefused(
            f"table {handle.table_uri}: the ledger does not hold each batch from {ledger.last + 1} to {stored} once;"
            " was it RESTOREd? Draining on would lose or repeat counts: restore a whole copy, or found a new table"
        )
    try:
        _take_in(dataset, ledger, frozenset(heads.column("status").unique().to_pylist()))
    except BaseException:
        # Whoever keeps it would take in some rows twice.
        ledger.forget()
        raise
    ledger.last = stored


def _take_in(dataset: ds.Dataset, ledger: Ledger, statuses: frozenset[str]) -> None:
    """Take in all rows after ``ledger.last``, which have these statuses.

    Of paths that only published and put-away rows name, of which there may be very many, the rows are streamed: what
    was put away comes first, and what older batches published under such a path is over. All that is said of other
    paths is held and taken in by batch number.
    """
    new = _batch_filter(ledger.last)
    if ledger.last < 0:
        ledger.apply(dataset.to_table(columns=_LEDGER_COLUMNS, filter=new & (ds.field("batch") == 0)).to_pylist())
        new = _batch_filter(0)
    status = ds.field("status")
    others: list[dict[str, Any]] = []
    if statuses - _OF_MANY_FILES:
        others += _rows(dataset, new & ~status.isin(sorted(_OF_MANY_FILES)))
    if not ledger.of_topic:
        named = ledger.parked.keys() | ledger.stalled.keys()
        for row in others:
            named.update(paths_named_by(row))
        freed: dict[str, int] = {}
        for row in _rows(dataset, new & (status == Status.PUT_AWAY.value)) if Status.PUT_AWAY in statuses else ():
            streamed = _hold(row, named, others)
            ledger.apply([{**row, "splits": streamed}])
            for split in streamed:
                freed[split["path"]] = max(row["batch"], freed.get(split["path"], -1))
        for row in _rows(dataset, new & (status == Status.PUBLISHED.value)) if Status.PUBLISHED in statuses else ():
            streamed = _hold(row, named, others)
            current = [split for split in streamed if row["batch"] > freed.get(split["path"], -1)]
            ledger.apply([{**row, "splits": current}])
    ledger.apply(others)


def _hold(row: dict[str, Any], named: Collection[str], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the part of a row about named paths with the others, and return the splits of the rest."""
    splits: list[dict[str, Any]] = row["splits"]
    held = [split for split in splits if split["path"] in named] if named else []
    if not held:
        return splits
    others.append({**row, "splits": held})
    return [split for split in splits if split["path"] not in named]


def count_filter(after: int = -1, through: int | None = None) -> ds.Expression:
    """Return the filter for count rows of batches ``after < batch <= through``: exact over any compaction."""
    chosen = (ds.field("kind") == "count") & (ds.field("batch") > after)
    return chosen if through is None else chosen & (ds.field("batch") <= through)

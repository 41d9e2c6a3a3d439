"""Brings a `Ledger` up to date with a version of its table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.core.model import Status
from wordtide.table.ledger import Ledger
from wordtide.table.record import LedgerEntry, SplitRecord
from wordtide.table.scan import Scan, batches_in
from wordtide.table.splits import paths_named_by

_OF_MANY_FILES = frozenset({Status.PUBLISHED.value, Status.PUT_AWAY.value})


def catch_up(handle: DeltaTable, ledger: Ledger, stored: int) -> None:
    """Take in the batches after ``ledger.last`` up to ``stored``, the batch number in the log.

    Of a topic's batches only those are read that say more than the ``txn`` actions do: the founding one and what is
    parked. A folder's files have no other record.

    Raises:
        TableRefused: A batch is missing or there twice: rows were rolled back (RESTORE), numbers were not.
    """
    scan = Scan(handle)
    statuses = scan.statuses(ledger.last, stored)
    try:
        _take_in(scan, ledger, statuses)
    except BaseException:
        # Whoever keeps it would take in some rows twice.
        ledger.forget()
        raise
    ledger.last = stored


def _take_in(scan: Scan, ledger: Ledger, statuses: frozenset[str]) -> None:
    """Take in all rows after ``ledger.last``, which have these statuses.

    Of paths that only published and put-away rows name, of which there may be very many, the rows are streamed: what
    was put away comes first, and what older batches published under such a path is over. All that is said of other
    paths is held and taken in by batch number.
    """
    new = batches_in(ledger.last)
    if ledger.last < 0:
        ledger.apply(scan.entries(new & (ds.field("batch") == 0)))
        new = batches_in(0)
    status = ds.field("status")
    others: list[LedgerEntry] = []
    if statuses - _OF_MANY_FILES:
        others += scan.entries(new & ~status.isin(sorted(_OF_MANY_FILES)))
    if not ledger.of_topic:
        named = ledger.parked.keys() | ledger.stalled.keys()
        for entry in others:
            named.update(paths_named_by(entry))
        freed: dict[str | None, int] = {}
        if Status.PUT_AWAY in statuses:
            for entry in scan.entries(new & (status == Status.PUT_AWAY.value)):
                streamed = _hold(entry, named, others)
                ledger.apply([replace(entry, splits=streamed)])
                for record in streamed:
                    freed[record.path] = max(entry.batch, freed.get(record.path, -1))
        if Status.PUBLISHED in statuses:
            for entry in scan.entries(new & (status == Status.PUBLISHED.value)):
                streamed = _hold(entry, named, others)
                current = tuple(record for record in streamed if entry.batch > freed.get(record.path, -1))
                ledger.apply([replace(entry, splits=current)])
    ledger.apply(others)


def _hold(entry: LedgerEntry, named: Collection[str], others: list[LedgerEntry]) -> tuple[SplitRecord, ...]:
    """Put the part of a row about named paths with the others, and return the splits of the rest."""
    held = tuple(record for record in entry.splits if record.path in named) if named else ()
    if not held:
        return entry.splits
    others.append(replace(entry, splits=held))
    return tuple(record for record in entry.splits if record.path not in named)

"""Tells a backend what the ledger holds: batch by batch, each in events of its own, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deltalake import DeltaTable
from openlineage.client.event_v2 import RunEvent

from wordtide.exporters.openlineage.events import batch_events
from wordtide.exporters.openlineage.naming import Names
from wordtide.table.rows import batch_totals, read_batch_rows

ROWS_AT_ONCE = 50
"""A row may name 10,000 files."""


class Telling:
    """The events of one stream's batches, from its ledger.

    Args:
        names: What things are called.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        # Looked up once, then carried from row to row: of a table with a long past that is most of a look's work.
        self._at: tuple[str, int] | None = None
        self._identity: Mapping[str, Any] = {}

    def events(self, handle: DeltaTable, after: int, through: int) -> Iterator[tuple[int, tuple[RunEvent, ...]]]:
        """Yield number and events of each batch with ``after < number <= through``, oldest first."""
        table_id = str(handle.metadata().id)
        if self._at != (table_id, after):
            self._identity = _identity_at(handle, after)
        while after < through:
            end = min(after + ROWS_AT_ONCE, through)
            for row in read_batch_rows(handle, after=after, before=end + 1):
                if row["identity"] is not None:
                    self._identity = json.loads(row["identity"])
                self._at = table_id, row["batch"]
                yield row["batch"], batch_events(row, self._identity, self._names)
            after = end


def _identity_at(handle: DeltaTable, number: int) -> Mapping[str, Any]:
    """Return what positions belong to at a batch: what the newest row up to it says that says anything."""
    if number < 0:
        return {}
    said = [text for text in batch_totals(handle, ["identity"], -1, number + 1)["identity"] if text is not None]
    found: Mapping[str, Any] = json.loads(said[-1]) if said else {}
    return found

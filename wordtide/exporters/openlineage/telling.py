"""Tells a backend what the ledger holds: batch by batch, each in events of its own, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deltalake import DeltaTable
from openlineage.client.event_v2 import RunEvent

from wordtide.exporters.openlineage.events import batch_events
from wordtide.exporters.openlineage.naming import Names
from wordtide.table.scan import Scan

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
        self._identity: Mapping[str, str] = {}

    def events(self, handle: DeltaTable, after: int, through: int) -> Iterator[tuple[int, tuple[RunEvent, ...]]]:
        """Yield number and events of each batch with ``after < number <= through``, oldest first."""
        table_id, scan = str(handle.metadata().id), Scan(handle)
        if self._at != (table_id, after):
            self._identity = scan.identity_at(after)
        while after < through:
            end = min(after + ROWS_AT_ONCE, through)
            for row in scan.rows(after=after, before=end + 1):
                if row.identity is not None:
                    self._identity = row.identity
                self._at = table_id, row.batch
                yield row.batch, batch_events(row, self._identity, self._names)
            after = end

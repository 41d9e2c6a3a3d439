"""The word-count tables, for assets that read them."""

import dagster as dg
from deltalake import DeltaTable

from resources.hdfs import HdfsResource
from wordtide.config import Stream
from wordtide.errors import SourceUnavailable
from wordtide.table.commit import WordCounts
from wordtide.wiring import open_table


class TablesResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the tables of streams.

    Example:
        `tables.read(stream).to_pyarrow_dataset()` gives a dataset for DuckDB, Polars or Arrow; count rows have
        `kind = 'count'`.
    """

    hdfs: HdfsResource

    def open(self, stream: Stream) -> WordCounts:
        """Return a stream's table, which may not be founded yet."""
        return open_table(stream, self.hdfs.address())

    def read(self, stream: Stream) -> DeltaTable:
        """Return a fresh handle at the newest version.

        Raises:
            SourceUnavailable: There is no table yet.
        """
        table = self.open(stream)
        handle = table.open()
        if handle is None:
            raise SourceUnavailable(f"stream {stream.name} has no table yet ({table.uri}); drain it first")
        return handle

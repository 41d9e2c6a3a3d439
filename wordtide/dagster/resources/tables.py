"""The word-count tables, for assets that read them."""

from urllib.parse import unquote

import dagster as dg
from deltalake import DeltaTable

from wordtide.config import Stream
from wordtide.core.problems import SourceUnavailable
from wordtide.dagster.resources.hdfs import HdfsResource
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

    def count_files(self, stream: Stream) -> list[str]:
        """Return the paths of the files that hold count rows now, as Spark and other readers of Parquet take them.

        Raises:
            SourceUnavailable: There is no table yet.
        """
        # delta-rs gives URLs: a space in a path comes as %20, for which Spark looks to the letter.
        return [unquote(uri) for uri in self.read(stream).file_uris(partition_filters=[("kind", "=", "count")])]

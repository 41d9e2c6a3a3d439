"""Questions to a table that a person asks: its most frequent words."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from wordtide.table.scan import Scan, counts_in

_SETTINGS = {"memory_limit": "512MB", "preserve_insertion_order": "false"}
"""Beyond that DuckDB writes what it has summed to temporary files."""
_ALL = 2**62


def counts(handle: DeltaTable, after: int = -1, through: int | None = None, limit: int = _ALL) -> pa.Table:
    """Return (word, count) summed over all windows of batches ``after < batch <= through``, highest first.

    Ties are ordered by word, as UTF-8 bytes. Sums of zero (corrections) are left out.

    Raises:
        OSError: A file of the table cannot be read, or there is no space for temporary files.
    """
    # Here, because neither `--help` nor a drain has questions.
    import duckdb

    rows = Scan(handle).counts(["word", "count"], counts_in(after, through))
    with (
        TemporaryDirectory(prefix="wordtide-") as spilled,
        duckdb.connect(config={**_SETTINGS, "temp_directory": spilled}) as database,
    ):
        database.register("rows", rows)
        try:
            found: pa.Table = database.sql(
                "SELECT word, sum(count)::BIGINT AS count FROM rows GROUP BY word HAVING sum(count) <> 0"
                " ORDER BY count DESC, word LIMIT ?",
                params=[min(limit, _ALL)],
            ).to_arrow_table()
        except duckdb.Error as error:
            raise OSError(f"{handle.table_uri} cannot be read: {error}") from error
    return found


def top(handle: DeltaTable, limit: int) -> list[dict[str, Any]]:
    """Return the ``limit`` most frequent words as ``{"word": …, "count": …}``."""
    words: list[dict[str, Any]] = counts(handle, limit=limit).to_pylist()
    return words

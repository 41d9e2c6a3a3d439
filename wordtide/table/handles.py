"""Opens tables. On an HDFS each call of delta-rs that asks it has a limit; see `wordtide.system.limits`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.table import TableAlterer
from pyarrow.fs import PyFileSystem

from wordtide.config import is_url
from wordtide.storage.hdfs_client import answer_seconds, hdfs_server

T = TypeVar("T")

CALLS_WITHIN = 2
"""A call of delta-rs is many of HDFS: it may take as long as so many of those."""
VACUUM_WITHIN = 20
"""One that lists and deletes files takes longer, the more there are."""


def open_handle(uri: str) -> DeltaTable:
    """Return a handle at a table's newest version.

    Raises:
        NoAnswer: The HDFS it is on hangs; so do the handle's own calls.
        TableNotFoundError: There is no table.
        DeltaError: It cannot be read.
    """
    return _LimitedTable(uri) if is_url(uri) else DeltaTable(uri)


def within_limit(uri: str, function: Callable[[], T], within: int = CALLS_WITHIN) -> T:
    """Return what a function returns that asks the file system of a table; raises NoAnswer if that hangs."""
    if not is_url(uri):
        return function()
    where = urlsplit(uri)
    return hdfs_server(f"{where.scheme}://{where.netloc}").ask(within * answer_seconds(), function)


class _LimitedTable(DeltaTable):
    """The calls that are used here of those that ask the file system. The others answer from memory."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._ask(lambda: DeltaTable.__init__(self, uri))

    def transaction_version(self, app_id: str) -> int | None:
        return self._ask(lambda: DeltaTable.transaction_version(self, app_id))

    def create_write_transaction(self, *args: Any, **named: Any) -> None:
        self._ask(lambda: DeltaTable.create_write_transaction(self, *args, **named))

    def vacuum(self, *args: Any, **named: Any) -> list[str]:
        return self._ask(lambda: DeltaTable.vacuum(self, *args, **named), VACUUM_WITHIN)

    @property
    def alter(self) -> TableAlterer:
        return _LimitedAlterer(self)

    def to_pyarrow_dataset(self, *args: Any, **named: Any) -> pa.dataset.Dataset:
        files: Any = _LimitedFiles.from_table(self._table, None, self._table.get_add_file_sizes())
        files.uri = self._uri
        return super().to_pyarrow_dataset(*args, **{"filesystem": PyFileSystem(files), **named})

    def _ask(self, function: Callable[[], T], within: int = CALLS_WITHIN) -> T:
        return within_limit(self._uri, function, within)


class _LimitedAlterer(TableAlterer):
    def add_columns(self, *args: Any, **named: Any) -> None:
        within_limit(self.table.table_uri, lambda: TableAlterer.add_columns(self, *args, **named))

    def set_table_properties(self, *args: Any, **named: Any) -> None:
        within_limit(self.table.table_uri, lambda: TableAlterer.set_table_properties(self, *args, **named))


class _LimitedFiles(DeltaStorageHandler):
    """What Arrow reads a table's Parquet files through: its threads, which all datasets share, must not hang either."""

    uri: str

    def open_input_file(self, path: str) -> pa.PythonFile:
        file = within_limit(self.uri, lambda: self._handler.open_input_file(path))
        return pa.PythonFile(_LimitedFile(self.uri, file), mode="r")


class _LimitedFile:
    def __init__(self, uri: str, file: Any) -> None:
        self._uri = uri
        self._file = file
        self.closed = False

    def read(self, count: int) -> bytes:
        content: bytes = within_limit(self._uri, lambda: self._file.read(count))
        return content

    def seek(self, position: int, whence: int = 0) -> int:
        at: int = self._file.seek(position, whence)
        return at

    def tell(self) -> int:
        at: int = self._file.tell()
        return at

    def size(self) -> int:
        size: int = self._file.size()
        return size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

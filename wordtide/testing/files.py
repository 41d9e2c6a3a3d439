"""Landed files, and what happens to them: plain functions on a local disk or an HDFS."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from types import TracebackType

from hdfs_native import Client, WriteOptions

from wordtide.storage import FileInfo, HdfsAddress, HdfsStorage, LocalStorage, Storage
from wordtide.storage.base import temporary_name


def late_rename(storage: Storage, path: str, content: bytes) -> Callable[[], FileInfo]:
    """Write a file under a hidden temporary name, as careful writers do.

    Returns:
        What gives it its name, to be called later, and returns the file as a listing shows it. Its mtime is that of the
        writing: a file that appears with an old mtime.
    """
    hidden = temporary_name(path, uuid.uuid4().hex)
    storage.write_durably(hidden, [content], private=True)

    def rename() -> FileInfo:
        storage.rename(hidden, path)
        return storage.stat(path)

    return rename


def rewrite(storage: Storage, path: str, content: bytes, *, same_mtime: bool = False) -> FileInfo:
    """Replace a landed file by other content under its name.

    Nobody sees half of it. On HDFS the name is free for a moment between the two.

    Args:
        storage: Where it is.
        path: The file.
        content: The new one. Of the same length, it is told from the old one by the mtime alone.
        same_mtime: Give it the old one's mtime; told by the length alone then.

    Returns:
        The file as a listing shows it.

    Raises:
        ValueError: Same length and same mtime: nobody could tell.
    """
    old = storage.stat(path)
    if same_mtime and len(content) == old.length:
        raise ValueError(f"{path}: same length and same mtime; no listing shows the difference")
    hidden = temporary_name(path, uuid.uuid4().hex)
    storage.write_durably(hidden, [content], private=True)
    if same_mtime:
        set_mtime(storage, hidden, old.mtime_ms)
    if isinstance(storage, LocalStorage):
        os.replace(hidden, path)
    else:
        storage.delete(path)
        storage.rename(hidden, path)
    return storage.stat(path)


def set_mtime(storage: Storage, path: str, mtime_ms: int) -> None:
    """Set a file's modification time, ms since the epoch."""
    if isinstance(storage, HdfsStorage):
        Client(storage.address.url).set_times(path, mtime_ms, mtime_ms)
    else:
        os.utime(path, ns=(mtime_ms * 1_000_000, mtime_ms * 1_000_000))


def append(storage: Storage, path: str, content: bytes) -> FileInfo:
    """Append to a landed file, as `hdfs dfs -appendToFile` does, and return it as a listing shows it."""
    if isinstance(storage, HdfsStorage):
        with Client(storage.address.url).append(path) as writer:
            writer.write(content)
    else:
        with open(path, "ab") as file:
            file.write(content)
    return storage.stat(path)


class SlowWriter:
    """Writes an HDFS file under its final name for everybody to see, a piece at a time: what careful writers do not do.

    What is written is flushed to the DataNodes (hsync) with each piece; the file is open until `finish`.

    Args:
        address: The HDFS.
        path: The file; must not exist.
        block_size: Bytes of a block. Small ones make a file of many blocks, whose full ones a reader sees at once.
    """

    def __init__(self, address: HdfsAddress, path: str, block_size: int = 1 << 20) -> None:
        self._address = address
        self._path = path
        options = WriteOptions(block_size=block_size, create_parent=True)
        self._writer = Client(address.url).create(path, options)

    def __enter__(self) -> SlowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, content: bytes) -> None:
        """Write a piece; readers can see it afterwards."""
        self._writer.write(content)
        self._writer.hsync()

    def finish(self) -> FileInfo:
        """Close the file and return it as a listing shows it."""
        self._writer.close()
        return HdfsStorage(self._address).stat(self._path)

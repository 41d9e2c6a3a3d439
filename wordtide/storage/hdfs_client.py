"""hdfs-native with a limit on each call; alone it waits for ever for a NameNode or DataNode that hangs.

Its own `dfs.client.socket-timeout` covers connecting to a DataNode and writing to it, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from hdfs_native import Client, FileReader, FileStatus, FileWriter, WriteOptions

from wordtide.core.problems import ConfigError
from wordtide.system.limits import Server, server_of

T = TypeVar("T")

ANSWER_SECONDS = 30.0
"""How long the answer to one call is waited for: the longest pauses of a healthy NameNode are a tenth of it."""
_VARIABLE = "WORDTIDE_HDFS_TIMEOUT"
_ADVICE = (
    f"its NameNode or a DataNode hangs: see their logs and restart what hangs, or raise {_VARIABLE} if it only pauses"
)

# With the defaults a dead NameNode costs 160 s of silence, with these 0.1 s. One fail-over is left, as two need.
_CONFIG = {
    "dfs.client.failover.max.attempts": "1",
    "dfs.client.failover.sleep.base.millis": "50",
    "dfs.client.failover.sleep.max.millis": "100",
}
_NO_KEYS = {"hadoop.security.key.provider.path": "", "dfs.encryption.key.provider.uri": ""}
_LISTED_AT_ONCE = 10_000
"""Entries of a listing that one limit is for."""
_WRITTEN_AT_ONCE = 4 << 20
"""Bytes of a write that one limit is for."""


def answer_seconds() -> float:
    """Return ``WORDTIDE_HDFS_TIMEOUT``, else `ANSWER_SECONDS`.

    Raises:
        ConfigError: It is no duration, or none at all.
    """
    named = os.environ.get(_VARIABLE)
    if not named:
        return ANSWER_SECONDS
    # Not above: Spark's executors run this module, without what reads streams.yaml.
    from wordtide.config import parse_seconds

    try:
        seconds = parse_seconds(named)
    except ValueError as error:
        raise ConfigError(f"{_VARIABLE}: {error}") from None
    if not seconds:
        raise ConfigError(f"{_VARIABLE}: must be longer than 0s")
    return seconds


def hdfs_server(url: str) -> Server:
    """Return what is known of how an HDFS answers, for all its clients in this process."""
    return server_of(f"HDFS at {url}", _ADVICE)


class LimitedClient:
    """The calls of `hdfs_native.Client` that are used here; each may raise `NoAnswer`, for the rest see there.

    Args:
        url: ``hdfs://host:port`` or ``hdfs://nameservice``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw: Client | None = None
        self.server = hdfs_server(url)

    @property
    def raw(self) -> Client:
        """The client itself, for who has a limit of their own."""
        if self._raw is None:
            self._raw = _made(self._url)
        return self._raw

    def renew(self) -> None:
        """Connect anew at the next call: the NameNode at the other end of a connection may be gone without a word."""
        self._raw = None

    def get_file_info(self, path: str) -> FileStatus:
        """See `Client`."""
        return self._ask(lambda: self.raw.get_file_info(path))

    def list_status(self, path: str, recursive: bool = False) -> Iterator[FileStatus]:
        """See `Client`."""
        listing: Iterator[FileStatus] | None = None

        def more() -> list[FileStatus]:
            nonlocal listing
            if listing is None:
                listing = iter(self.raw.list_status(path, recursive))
            return list(islice(listing, _LISTED_AT_ONCE))

        while True:
            piece = self._ask(more)
            yield from piece
            if len(piece) < _LISTED_AT_ONCE:
                return

    def read(self, path: str) -> LimitedReader:
        """See `Client`."""
        return LimitedReader(self._ask(lambda: self.raw.read(path)), self._ask)

    def create(self, path: str, options: WriteOptions) -> LimitedWriter:
        """See `Client`."""
        return LimitedWriter(self._ask(lambda: self.raw.create(path, options)), self._ask)

    def rename(self, source: str, target: str) -> None:
        """See `Client`."""
        self._ask(lambda: self.raw.rename(source, target))

    def mkdirs(self, path: str, *, create_parent: bool) -> None:
        """See `Client`."""
        self._ask(lambda: self.raw.mkdirs(path, create_parent=create_parent))

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        """See `Client`."""
        return self._ask(lambda: self.raw.delete(path, recursive))

    def _ask(self, function: Callable[[], T]) -> T:
        try:
            return self.server.ask(answer_seconds(), function)
        except TimeoutError:
            self.renew()
            raise


def _made(url: str) -> Client:
    """Return a new client, one without keys where it cannot use the key provider that Hadoop's configuration names.

    Only a NameNode can use a keystore file (``jceks://``). What is in no encryption zone is read all the same.
    """
    try:
        return Client(url, _CONFIG)
    except RuntimeError as error:
        if "KMS URI" not in str(error):
            raise
        return Client(url, _CONFIG | _NO_KEYS)


class LimitedReader:
    """The calls of `hdfs_native.FileReader` that are used here."""

    def __init__(self, raw: FileReader, ask: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._raw = raw
        self._ask = ask

    def __len__(self) -> int:
        """Return the bytes that can be read; known since it was opened."""
        return len(self._raw)

    def read_range(self, start: int, length: int) -> bytes:
        """Return some bytes; a limit is for all of them."""
        return self._ask(lambda: self._raw.read_range(start, length))


class LimitedWriter:
    """The calls of `hdfs_native.FileWriter` that are used here."""

    def __init__(self, raw: FileWriter, ask: Callable[[Callable[[], object]], object]) -> None:
        self._raw = raw
        self._ask = ask

    def write(self, content: bytes) -> None:
        """Write bytes, however many."""
        view = memoryview(content)
        for at in range(0, len(view), _WRITTEN_AT_ONCE):
            self._write(view[at : at + _WRITTEN_AT_ONCE])

    def _write(self, piece: memoryview) -> None:
        self._ask(lambda: self._raw.write(piece))

    def hsync(self) -> None:
        """Have it on the DataNodes' disks."""
        self._ask(self._raw.hsync)

    def close(self) -> None:
        """Publish it."""
        self._ask(self._raw.close)

"""Where landed files and tables live: a local disk or an HDFS, behind one small interface."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from wordtide.core.problems import ConfigError, SourceUnavailable
from wordtide.storage.base import (
    CHUNK_BYTES,
    AccessDenied,
    FileInfo,
    NoFolder,
    PathProblem,
    Readable,
    Storage,
    Unreadable,
    is_hidden,
)
from wordtide.storage.hdfs import HdfsAddress, HdfsStorage
from wordtide.storage.local import LocalStorage
from wordtide.storage.survey import Closed, Odd, Survey, everywhere

__all__ = [
    "CHUNK_BYTES",
    "AccessDenied",
    "Closed",
    "FileInfo",
    "HdfsAddress",
    "HdfsStorage",
    "LocalStorage",
    "NoFolder",
    "Odd",
    "PathProblem",
    "Readable",
    "Storage",
    "Survey",
    "Unreadable",
    "everywhere",
    "is_hidden",
    "storage_for",
]

_DEFAULT_HTTP_PORT = 9870


def storage_for(location: str, hdfs: HdfsAddress | None) -> tuple[Storage, str]:
    """Return the storage of a location and the path in it.

    Args:
        location: An absolute local folder, ``hdfs:///path`` or ``hdfs://host:port/path``.
        hdfs: The HDFS in use; completes ``hdfs:///path`` and knows the HTTP port of its NameNode.

    Raises:
        SourceUnavailable: ``hdfs:///path``, and no HDFS is known.
        ConfigError: Neither a folder nor ``hdfs://``.
    """
    if "://" not in location:
        return LocalStorage(), os.path.abspath(location)
    # Not urlsplit's path: `?` and `#` are ordinary characters of a file name.
    scheme, _, rest = location.partition("://")
    host, slash, path = rest.partition("/")
    path = "/" + "/".join(part for part in (slash + path).split("/") if part)
    if scheme == "file" and not host:
        return LocalStorage(), path
    if scheme != "hdfs":
        raise ConfigError(f"{location}: neither a folder nor hdfs://")
    if hdfs is not None and host in {"", urlsplit(hdfs.url).netloc}:
        return HdfsStorage(hdfs), path
    if not host:
        raise SourceUnavailable(f"{location}: no HDFS is known; set WORDTIDE_HDFS_URL or start `wordtide up`")
    name = host.rpartition(":")[0] or host
    return HdfsStorage(HdfsAddress(f"hdfs://{host}", f"{name}:{_DEFAULT_HTTP_PORT}")), path

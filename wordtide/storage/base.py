"""What a storage can do. Paths are absolute and hold neither scheme, host nor port."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wordtide.core.problems import SourceUnavailable
from wordtide.storage.fileid import UNKNOWN

if TYPE_CHECKING:
    from wordtide.storage.survey import MayEnter, Survey

CHUNK_BYTES = 4 << 20
"""Bytes per chunk of a range being read: of the 6 ms that 4 MiB take from HDFS the call itself is 0.5."""


class FileInfo(NamedTuple):
    """A file as a listing shows it. A tuple, because there is one for each file of the folder at each look.

    Attributes:
        path: Absolute, without host and port.
        length: Bytes.
        mtime_ms: Last modification, ms since the epoch.
        block_size: Bytes of an HDFS block; 0 on a local disk.
        file_id: What the file system knows it by, see `wordtide.storage.fileid`; 0 where a listing does not say.
    """

    path: str
    length: int
    mtime_ms: int
    block_size: int
    file_id: int = UNKNOWN


class NoFolder(SourceUnavailable):
    """A folder that is to be listed is not there. Where others may remove it meanwhile, that says: it is empty."""


class PathProblem(SourceUnavailable):
    """The storage answers, and one path cannot be looked at or read. Others can, and this one may mend by itself.

    Attributes:
        place: The path, with its server.
        reason: Why, and what to do; with the place the error's text.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        """Return the one line."""
        return f"{self.place}: {self.reason}"


class AccessDenied(PathProblem):
    """This user is not let at a path; the reason says whose permission is missing."""


class Unreadable(PathProblem):
    """The bytes, or the entry itself, cannot be had: a bad sector, a block without a sound copy, no key."""


class Readable(Protocol):
    """What reading files asks of a storage.

    Every method raises SourceUnavailable when the storage does not answer (PathProblem, if it is about one path alone),
    and FileNotFoundError for a missing path unless it says otherwise.
    """

    def stat(self, path: str) -> FileInfo:
        """Return what a listing shows for one file; FileNotFoundError also when it is a folder."""
        ...

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes ``[start, end)`` in chunks of at most `CHUNK_BYTES`.

        Fewer bytes come when the file holds fewer that can be read (HDFS: the unfinished last block of an open file).
        """
        ...

    def read_small(self, files: Sequence[tuple[str, int]]) -> Generator[bytes | PathProblem | None, None, None]:
        """Yield the first ``length`` bytes of each (path, length) in turn, None for a missing file.

        Of a file that may not be read comes the error, not raised: the others are read all the same. Fewer bytes come
        where fewer can be read. For many files that each fit well into memory: some are read ahead.
        """
        ...


class Storage(Readable, Protocol):
    """A local disk or an HDFS. Implementations hold an address only, so they pickle and ship to executors.

    For errors see `Readable`.
    """

    def list_files(self, root: str) -> list[FileInfo]:
        """Return the files below a folder, recursively, in no particular order: all of them, or an error.

        Folders named ``.x`` or ``_x`` and linked folders are not entered.

        Raises:
            SourceUnavailable: ``root`` is missing, no folder, or something below it cannot be looked at.
        """
        ...

    def survey(self, root: str, enter: MayEnter = ...) -> Survey:
        """Return what is below a folder, as `list_files`, with what cannot be looked at instead of an error.

        Args:
            root: The folder.
            enter: Whether a folder below it is worth being listed; of others nothing is said.

        Raises:
            NoFolder: ``root`` is missing.
            SourceUnavailable: ``root`` is a file, or cannot be listed itself.
        """
        ...

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder."""
        ...

    def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
        """Write a new file, whole or not at all, flushed to disk, and return its length.

        Args:
            path: Missing parent folders are made.
            chunks: The content.
            private: Nobody else knows the path before this returns, so that no temporary name is needed.

        Raises:
            FileExistsError: The path is taken; what it holds is untouched.
            EnvironmentProblem: No room, or no permission to write.
        """
        ...

    def rename(self, source: str, target: str) -> None:
        """Rename a file, or a folder with all it holds; FileExistsError, nothing changed, when the target exists.

        Raises:
            FileNotFoundError: There is no source, or no folder to rename it into.
            EnvironmentProblem: Not permitted, or the target is on another file system.
        """
        ...

    def mkdirs(self, path: str) -> None:
        """Make a folder and its parents; an existing folder is fine."""
        ...

    def delete(self, path: str) -> bool:
        """Delete a file, or a folder with all it holds; return whether there was one."""
        ...

    def prune(self, root: str) -> None:
        """Delete the folders below and including ``root`` that hold no file; never a file. A missing root is fine."""
        ...

    def pinned(self, path: str) -> AbstractContextManager[int]:
        """Return a context with a file's id, which no other file gets as long as it lasts; 0 where there is none.

        Raises:
            FileNotFoundError: There is no file.
        """
        ...

    def identified(self, files: Sequence[FileInfo], seconds: float) -> list[FileInfo]:
        """Return files with their ids where a listing shows none; as they are if it does, or they are others by now.

        Args:
            files: As they were listed.
            seconds: No further question is put after this time; the rest is returned as it is.

        Raises:
            SourceUnavailable: Nobody answers who knows the ids.
        """
        ...

    def pages_with_ids(self, folder: str) -> Iterator[list[FileInfo]]:
        """Yield the files of one folder with their ids in pages of some 1,000; none where listings show the ids.

        Raises:
            SourceUnavailable: Nobody answers who knows the ids.
        """
        ...

    def under_construction(self, path: str) -> bool:
        """Return whether a writer has the file open. A local disk cannot tell: False. A missing file: False."""
        ...

    def clock_ms(self) -> int:
        """Return the time by the clock that gives files their mtimes, as far as it can be asked; ms since the epoch."""
        ...

    def namespace(self) -> str:
        """Return what paths belong to: ``file``, or the cluster id of the HDFS."""
        ...


def is_hidden(name: str) -> bool:
    """Return whether a file's or folder's own name marks it as not meant to be read."""
    return name.startswith((".", "_"))


def temporary_name(path: str, token: str) -> str:
    """Return a hidden name beside ``path`` that no listing takes for a file to read."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name[:150]}.{token}.tmp"

"""The ids by which a NameNode knows its files. Only WebHDFS shows them: of a file, or of a page of a folder's entries.

A file keeps its id when it is renamed, appended to or given another time, and no other file ever gets it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from wordtide.storage.base import FileInfo, PathProblem

Ask = Callable[..., Any]
"""Asks WebHDFS about a path: ``ask(path, operation, **parameters)`` is the answer's JSON, None for a missing path.

Raises SourceUnavailable where it is away or refuses.
"""

_SINGLY = 32
"""Up to so many files of a folder are asked for one by one: a page of 1,000 entries costs as much as that."""
_THREADS = 8
_SIGNED = bytes((byte + 128) % 256 for byte in range(256))


def pages(ask: Ask, folder: str, after: str = "") -> Iterator[list[FileInfo]]:
    """Yield the files of a folder with their ids, a page at a time (1,000 entries, unless ``dfs.ls.limit`` says else).

    Args:
        ask: Asks WebHDFS.
        folder: The folder. It has no files if it is gone.
        after: Begin behind this name, whether there is such an entry or not.
    """
    while True:
        answer = ask(folder, "LISTSTATUS_BATCH", startAfter=after)
        if answer is None:
            return
        listing = answer["DirectoryListing"]
        entries = listing["partialListing"]["FileStatuses"]["FileStatus"]
        yield [_info(f"{folder.rstrip('/')}/{one['pathSuffix']}", one) for one in entries if one["type"] == "FILE"]
        if not entries or not listing["remainingEntries"]:
            return
        after = entries[-1]["pathSuffix"]


def with_ids(ask: Ask, files: Sequence[FileInfo], seconds: float) -> list[FileInfo]:
    """Return files with their ids; as they are where they have changed or gone, or when time is up.

    Args:
        ask: Asks WebHDFS.
        files: As they were listed.
        seconds: No further question is put after this time.
    """
    until = time.monotonic() + seconds
    folders: dict[str, list[FileInfo]] = {}
    for file in files:
        folders.setdefault(file.path.rpartition("/")[0], []).append(file)
    look_up = partial(_of_folder, ask, until)
    if len(folders) == 1:
        found = look_up(*folders.popitem())
    else:
        found = {}
        with ThreadPoolExecutor(min(_THREADS, len(folders) or 1), "file-ids") as pool:
            for some in pool.map(look_up, folders.keys(), folders.values()):
                found |= some
    return [_matched(file, found.get(file.path)) for file in files]


def _matched(listed: FileInfo, answered: FileInfo | None) -> FileInfo:
    """Return the listed file with the id of the answer, if that is about the file that was listed."""
    if answered is None or (answered.length, answered.mtime_ms) != (listed.length, listed.mtime_ms):
        return listed
    return listed._replace(file_id=answered.file_id)


def _of_folder(ask: Ask, until: float, folder: str, files: Sequence[FileInfo]) -> dict[str, FileInfo]:
    paths = [file.path for file in files]
    found: dict[str, FileInfo] = {}
    # What this user may not ask about stays without an id, alone.
    with suppress(PathProblem):
        for file in _paged(ask, until, folder, paths) if len(paths) > _SINGLY else _singly(ask, until, paths):
            found[file.path] = file
    return found


def _singly(ask: Ask, until: float, paths: Sequence[str]) -> Iterator[FileInfo]:
    for path in paths:
        if time.monotonic() >= until:
            return
        answer = ask(path, "GETFILESTATUS")
        if answer is not None:
            yield _info(path, answer["FileStatus"])


def _paged(ask: Ask, until: float, folder: str, paths: Sequence[str]) -> Iterator[FileInfo]:
    """Yield the entries of those pages of a folder that show one of some paths in it."""
    skip = len(folder) + 1
    left = sorted((path[skip:] for path in paths), key=_place)
    reached = ""
    while left and time.monotonic() < until:
        # Just before the name: little but itself comes after all but its last character.
        for page in pages(ask, folder or "/", max(reached, left[0][:-1], key=_place)):
            yield from page
            if page:
                reached = page[-1].path[skip:]
            if _place(reached) >= _place(left[0]) or time.monotonic() >= until:
                break
        else:
            return
        rest = left[bisect_right(left, _place(reached), key=_place) :]
        if len(left) - len(rest) < _SINGLY:
            # They are few among many.
            yield from _singly(ask, until, [f"{folder}/{name}" for name in rest[:_SINGLY]])
            rest = rest[_SINGLY:]
        left = rest


def _place(name: str) -> bytes:
    """Return what puts names in a NameNode's order: their UTF-8 as signed bytes."""
    return name.encode("utf-8", "surrogatepass").translate(_SIGNED)


def _info(path: str, status: Mapping[str, Any]) -> FileInfo:
    return FileInfo(path, status["length"], status["modificationTime"], status["blockSize"], status["fileId"])

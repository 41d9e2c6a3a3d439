"""Keeps a table from showing its age while it is drained: a little at a time, in a thread of its own, off no switch.

Three things pile up: files that compaction replaced, log entries that delta-rs cannot delete or that a quiet table has
no checkpoint for, and files that no commit named. Nothing is deleted before it is old enough (`wordtide.table.ages`),
and what is deleted is decided by what is committed: a process may die anywhere, and two may do it at once.
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from math import ceil
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from wordtide.core.problems import TableRefused
from wordtide.table.ages import RETENTION, Ages, ages_of
from wordtide.table.commit import WordCounts
from wordtide.table.deltalog import DeltaLog
from wordtide.table.files import utc_now
from wordtide.table.handles import open_handle
from wordtide.table.panics import panics_as_errors
from wordtide.table.replaced import FOLDER, Fate, fate, is_young, read_lists

log = logging.getLogger("wordtide")

STEP_SECONDS = 30.0
"""From one look at what is old enough to the next."""
SEARCH_EVERY = RETENTION / 8
"""From one search for files that no commit named, which lists the whole table, to the next."""
FINISH_SECONDS = 1.0
"""What the end of a drain waits for, so that short runs get something done as well."""

EXIT_SECONDS = 10.0
"""What the end of the process waits for a call in hand: a thread in native code crashes an interpreter that ends."""

Delete = Callable[[str], None]
"""Deletes one path, or raises `_Stopped`."""


class _Stopped(Exception):
    """The drain ends; the rest is for the next one."""


class Upkeep:
    """Does what is due, in a thread that lives only while there is something to do.

    Args:
        table: The table; it may not be there yet.
    """

    def __init__(self, table: WordCounts) -> None:
        self._table = table
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._next = 0.0
        self._warned = False

    def nudge(self) -> None:
        """Begin what is due, unless that is going on; returns at once."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + STEP_SECONDS
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, name=f"upkeep-{self._table.stream.name}", daemon=True)
        atexit.unregister(self._end)
        atexit.register(self._end)
        self._thread.start()

    def finish(self) -> None:
        """Give what is going on a moment, then end it after the file in hand."""
        if self._thread is None:
            return
        self._thread.join(FINISH_SECONDS)
        self._stop.set()
        self._thread.join(FINISH_SECONDS)
        if not self._thread.is_alive():
            atexit.unregister(self._end)

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(EXIT_SECONDS)

    def _work(self) -> None:
        try:
            tidy(self._table, self._delete)
        except _Stopped:
            pass
        except ExceptionGroup as failures:
            reasons = dict.fromkeys(" ".join(str(one).split())[:300] for one in failures.exceptions)
            # Once a drain: a folder that we may not delete from grows, and somebody has to know.
            log.log(
                logging.INFO if self._warned else logging.WARNING,
                "table %s: old files were left for later: %s",
                self._table.uri,
                "; ".join(reasons),
            )
            self._warned = True

    def _delete(self, path: str) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._table.storage.delete(path)


def tidy(table: WordCounts, delete: Delete) -> None:
    """Delete what is old enough: three kinds, and what one fails by keeps none of the others.

    Raises:
        ExceptionGroup: Why some of it was left for later, such as a file system that does not answer or refuses.
    """
    failures: list[Exception] = []
    for part in (delete_replaced, delete_log, delete_unnamed):
        try:
            with panics_as_errors():
                part(table, delete)
        except _Stopped:
            raise
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"upkeep of {table.uri}", failures)


def delete_log(table: WordCounts, delete: Delete) -> None:
    """Delete the log entries that nobody needs and delta-rs has left."""
    handle = table.open()
    if handle is None:
        return
    for path in _log_of(table).expired(utc_now(), _ages(handle).log):
        delete(path)


def delete_replaced(table: WordCounts, delete: Delete) -> None:
    """Delete the files of compactions' lists whose time has come, and then the lists."""
    lists = list(read_lists(table.storage, table.root))
    handle = table.open() if lists else None
    if handle is None:
        return
    now, ages, deltalog = utc_now(), _ages(handle), _log_of(table)
    waiting = [(path, one) for path, one in lists if not is_young(one, deltalog, now, ages)]
    if not waiting:
        return
    # Opened after the lists were read: what they remove is not live any more, whatever has been committed since.
    live = _Live(table, handle)
    for place, one in waiting:
        known = live.paths.union(*(other.removed for path, other in lists if path != place))
        match fate(one, _actions(table, one.version), known, now, ages):
            case Fate.OPEN:
                continue
            case Fate.DUE:
                unneeded: Iterable[str] = one.removed
            case Fate.VOID:
                unneeded = one.added
            case Fate.UNKNOWN:
                if not one.readable:
                    log.warning("%s cannot be read and is deleted; a vacuum finds the files that it named", place)
                unneeded = ()
        for path in unneeded:
            # A RESTORE brings files back to life.
            if path not in live:
                delete(f"{table.root}/{path}")
        delete(place)


class _Live:
    """The files that are live now: whatever else was committed is read before the next answer.

    Args:
        table: The table.
        handle: A handle of it.
    """

    def __init__(self, table: WordCounts, handle: DeltaTable) -> None:
        self._table = table
        self._take(handle)

    def __contains__(self, path: str) -> bool:
        if self._table.entry(self._version + 1) is not None:
            handle = self._table.open()
            if handle is None:
                raise TableRefused(f"table {self._table.uri} was deleted meanwhile")
            self._take(handle)
        return path in self.paths

    def _take(self, handle: DeltaTable) -> None:
        self._version, self.paths = handle.version(), _live_paths(handle)


def delete_unnamed(table: WordCounts, delete: Delete) -> None:
    """Delete the files that no commit has named for `RETENTION` or longer; look for them now and then only."""
    if not table.storage.exists(f"{table.root}/_delta_log"):
        return
    mark = f"{table.root}/{FOLDER}/searched"
    if _age(table, mark) < SEARCH_EVERY:
        return
    for path in unnamed(table.uri):
        delete(f"{table.root}/{path}")
    table.storage.delete(mark)
    try:
        table.storage.write_durably(mark, [b""])
    except FileExistsError:
        # Another drain has looked as well.
        return


def unnamed(uri: str) -> list[str]:
    """Return the files, relative to the table, that no commit of the last `Ages.unnamed` names and that are as old."""
    with panics_as_errors():
        return [unquote(path) for path in full_vacuum(uri, dry_run=True)]


def full_vacuum(uri: str, *, dry_run: bool) -> list[str]:
    """Find, or delete, the files that no version of the last `Ages.unnamed` names; return their encoded paths."""
    handle = open_handle(uri)
    hours = ceil(_ages(handle).unnamed / timedelta(hours=1))
    # The age is decided here: delta-rs takes a property that it cannot read for a week, and refuses less. And its
    # default, lite, reads the log only and never finds an orphan.
    return handle.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)


def _age(table: WordCounts, path: str) -> timedelta:
    try:
        mtime_ms = table.storage.stat(path).mtime_ms
    except FileNotFoundError:
        return timedelta.max
    return abs(timedelta(seconds=utc_now().timestamp() - mtime_ms / 1000))


def _ages(handle: DeltaTable) -> Ages:
    return ages_of(handle.metadata().configuration)


def _log_of(table: WordCounts) -> DeltaLog:
    return DeltaLog.of(table.storage.list_files(f"{table.root}/_delta_log"))


def _live_paths(handle: DeltaTable) -> frozenset[str]:
    paths = pa.table(handle.get_add_actions(flatten=True))["path"].to_pylist()
    return frozenset(unquote(path) for path in paths)


def _actions(table: WordCounts, version: int) -> list[Mapping[str, Any]] | None:
    """Return what a version did; None if its entry is gone, or cannot be read (a checkpoint holds the table then)."""
    entry = table.entry(version)
    if entry is None:
        return None
    content = b"".join(table.storage.read_range(entry.path, 0, entry.length))
    try:
        return [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return None

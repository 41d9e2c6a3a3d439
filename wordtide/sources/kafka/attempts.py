"""Remembers on this machine which Kafka ranges are being read: the next reader knows those that ended a process.

A marker is a locked file, in memory where there is a place for that: the lock ends with its process, whatever ended
that. A process keeps its files and rewrites them, since to make one takes longer than to write it. An unlocked
marker costs its range a slower reading once, so one that is left by a kill does no harm.

What ended a process may lie behind the range, since a client fetches ahead; and once it is found, whatever is read
before it would meet it again. So a marker concerns each read that begins before its end, until it is narrowed to the
damage or proven groundless.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from wordtide.core.model import KafkaSplit

FORGOTTEN_SECONDS = 86_400.0
"""Age of a marker that nobody came back for."""
UNUSED_SECONDS = 60.0
"""Age of one that says nothing; a younger one may be about to be locked."""
_UNFINISHED = ".new"


@dataclass(frozen=True, slots=True)
class Fatal:
    """Earlier attempts that ended with their process, and may have met what these ranges hold; false if none did."""

    markers: tuple[Path, ...]

    def __bool__(self) -> bool:
        return bool(self.markers)

    def settle(self, bootstrap: str, damaged: Sequence[KafkaSplit]) -> None:
        """Forget them: what ended the process is found, or was not there.

        Args:
            bootstrap: The cluster.
            damaged: What was found; a read that begins before it has still to be careful.
        """
        # Where there is no room for less, all that they mark is read with care again.
        with suppress(OSError):
            if damaged:
                content = _content(bootstrap, damaged)
                # Not locked, as if left by a process that ended here.
                unfinished = _folder() / f"{uuid4().hex}{_UNFINISHED}"
                unfinished.write_text(content)
                unfinished.rename(unfinished.with_suffix(""))
            for marker in self.markers:
                marker.unlink(missing_ok=True)


@contextmanager
def attempt(bootstrap: str, splits: Sequence[KafkaSplit]) -> Iterator[Fatal]:
    """Mark ranges as being read, and give the attempts that ended their process and concern any of them."""
    marker, fatal = None, Fatal(())
    # Without a place for markers, or where it is full, everything else works; only a process that ends leaves nothing
    # for the next.
    with suppress(OSError):
        marker = _Marker.idle()
        fatal = Fatal(tuple(_fatal(bootstrap, splits)))
        marker.write(_content(bootstrap, splits))
    try:
        yield fatal
    finally:
        if marker is not None:
            marker.write("")
            _Marker.kept.append(marker)


class _Marker:
    """A locked file of this process."""

    kept: ClassVar[list[_Marker]] = []
    """In no use."""
    names: ClassVar[set[str]] = set()
    """Of all that this process made: not by its id, which another one had before."""

    def __init__(self) -> None:
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        self.process = os.getpid()
        self._path = folder / uuid4().hex
        self.names.add(self._path.name)
        self._file = self._path.open("wb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        atexit.register(self._end)

    @classmethod
    def idle(cls) -> _Marker:
        """Return one that is in no use, a new one if need be."""
        while cls.kept:
            marker = cls.kept.pop()
            # A forked process has its parent's.
            if marker.process == os.getpid():
                return marker
        return cls()

    def write(self, content: str) -> None:
        """Replace what it holds."""
        os.ftruncate(self._file.fileno(), 0)
        os.pwrite(self._file.fileno(), content.encode(), 0)

    def _end(self) -> None:
        if self.process == os.getpid():
            self._path.unlink(missing_ok=True)


def _folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 a disk would cost a warm batch some percent
    return (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"wordtide-reading-{os.getuid()}"


def _content(bootstrap: str, splits: Sequence[KafkaSplit]) -> str:
    ranges = [[split.topic, split.partition, split.start, split.end] for split in splits]
    return json.dumps({"bootstrap": bootstrap, "ranges": ranges})


def _fatal(bootstrap: str, splits: Sequence[KafkaSplit]) -> Iterator[Path]:
    mine = {(split.topic, split.partition): split for split in splits}
    folder = _folder()
    for name in os.listdir(folder):
        if name in _Marker.names:
            continue
        marker = folder / name
        # Another process may settle it at the same time.
        with suppress(FileNotFoundError), marker.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            content = file.read()
            age = time.time() - marker.stat().st_mtime
            if age > (FORGOTTEN_SECONDS if content else UNUSED_SECONDS):
                marker.unlink()
            elif _concerns(content, bootstrap, mine):
                yield marker


def _concerns(content: str, bootstrap: str, mine: dict[tuple[str, int], KafkaSplit]) -> bool:
    try:
        marked = json.loads(content)
        ranges = marked["ranges"] if marked["bootstrap"] == bootstrap else []
        found = [(mine.get((topic, partition)), end) for topic, partition, _, end in ranges]
    except (ValueError, KeyError, TypeError):
        # Cut off while it was written.
        return False
    return any(split is not None and split.start < end for split, end in found)

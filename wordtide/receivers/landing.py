"""The durable lander: takes bytes from receivers, lands them as files that appear whole, and says when they are safe.

How a receiver uses it::

    lander = Lander(storage, root, "socket-localhost-9999", limits, metrics, say)
    lander.start()
    if lander.has_room(0.5):            # else: do not read from the network; that is the backpressure
        ticket = lander.put(data, events=3)
    ticket.wait(5.0)                    # only if the sender wants an acknowledgement: True = on disk
    lander.close(30.0)                  # lands the rest, or says what could not be

A thread of its own writes the files, so that puts from any number of threads share a file and its fsync: what is put
while one file is being written goes into the next. With ``max_age_s=0`` a file is written as soon as there is something
to write, which is what a sender that waits for its acknowledgement wants.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wordtide.core.problems import EnvironmentProblem, WordtideError
from wordtide.receivers.backoff import Backoff
from wordtide.receivers.metrics import Metrics
from wordtide.storage import CHUNK_BYTES, Storage

Say = Callable[[str], None]
"""Takes one line for the operator, from any thread."""
Write = Callable[[str, bytearray, Mapping[str, Any]], None]
"""Lands a file's content at a path, with what its puts noted; called again with the same after it failed."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_HANGS_AFTER = 30.0
"""Seconds after which a write that neither ends nor fails is worth a line."""
_LONGEST_PREFIX = 80


class LandingEnded(EnvironmentProblem):
    """Trying again would be wrong: nothing lands any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is full.

    Attributes:
        max_bytes: It is closed before it grows beyond this; what is put at once is never divided. Memory holds twice
            as much, and what each receiver puts at once.
        max_age_s: Seconds after its first byte, even if there is room left.
    """

    max_bytes: int
    max_age_s: float


class Ticket:
    """What was put, and whether it is durable yet."""

    def __init__(self) -> None:
        self._landed = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Return whether it is in a file that survives a power cut, waiting at most so long for that."""
        return self._landed.wait(seconds)

    def stamp(self) -> None:
        """It is."""
        self._landed.set()


class _Batch:
    """The content of one file to be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.opened = time.monotonic()
        # Not a list of what was put: a million short lines would take ten times their bytes.
        self.data = bytearray()
        self.events = 0
        self.notes: dict[str, Any] = {}
        self.ticket = Ticket()


class Lander:
    """Lands what is put into it in one folder, in the order of the puts; several landers may share the folder.

    A file is written under a hidden name, fsynced, renamed, and its folder fsynced (`Storage.write_durably`). When that
    fails, for want of room or because the storage is away, it is tried again, with pauses of at most 10 s, until it
    works: the same bytes under the same name, so that a try whose success was not heard of is not repeated. Meanwhile
    `has_room` becomes False. One line is said when landing fails and one when it works again.

    Names are ``<prefix>-<UTC time>-<this lander>-<number>.txt``: in the order of landing for one lander, and nobody
    else's, whatever was started before or runs beside it.

    Args:
        storage: Where.
        root: Folder in it; made when missing.
        prefix: Begins every name; what is no letter or digit becomes ``-``.
        limits: When a file is full.
        metrics: Counts what waits and what has landed.
        say: Takes a line at every change between working and failing.
        write: Lands a file together with what is noted about it, instead of `Storage.write_durably`.
    """

    def __init__(
        self,
        storage: Storage,
        root: str,
        prefix: str,
        limits: Limits,
        metrics: Metrics,
        say: Say,
        write: Write | None = None,
    ) -> None:
        self._storage = storage
        self._root = root
        self._prefix = re.sub(r"[^A-Za-z0-9]+", "-", prefix)[:_LONGEST_PREFIX]
        self._limits = limits
        self._metrics = metrics
        self._say = say
        self._write = write or self._write_alone
        self._who = uuid.uuid4().hex[:12]
        self._number = 0
        self._latest_name = ""
        self._changed = threading.Condition()
        self._full: deque[_Batch] = deque()
        self._filling: _Batch | None = None
        self._waiting = 0
        self._deadline: float | None = None  # Set by `close`: when to give up.
        self._ended = False
        self._broken: BaseException | None = None
        self._problem = ""
        self._writing_since: float | None = None
        self._hangs = False

    def start(self) -> None:
        """Make the folder if it is missing, and begin.

        Raises:
            WordtideError: The folder cannot be made, or its storage does not answer.
        """
        self._storage.mkdirs(self._root)
        # A daemon: a write that hangs for ever must not keep the process from ending once it has been given up.
        threading.Thread(target=self._run, name="wordtide-land", daemon=True).start()

    @property
    def max_bytes(self) -> int:
        """Bytes that a file holds unless more is put at once."""
        return self._limits.max_bytes

    def has_room(self, seconds: float) -> bool:
        """Return whether something may be put, waiting at most so long for it: ask before reading from the network."""
        with self._changed:
            return self._changed.wait_for(self._room, seconds)

    def put(self, data: bytes, events: int, notes: Mapping[str, Any] | None = None) -> Ticket:
        """Take bytes that must not be divided, whole lines for instance, into memory; never waits.

        Args:
            data: Content of a file, not empty.
            events: How many lines or events that is, for the figures.
            notes: For ``write``; of several with one key in one file the last one holds.

        Returns:
            What says when it has landed.

        Raises:
            EnvironmentProblem: The lander has ended, so this would never land.
        """
        with self._changed:
            if self._ended:
                raise EnvironmentProblem(f"{self._root}: nothing lands any more") from self._broken
            batch = self._filling
            if batch is not None and len(batch.data) + len(data) > self._limits.max_bytes:
                self._full.append(batch)
                batch = None
            if batch is None:
                batch = _Batch(self._new_name())
            batch.data += data
            batch.events += events
            batch.notes.update(notes or {})
            self._filling = batch
            if len(batch.data) >= self._limits.max_bytes:
                self._full.append(batch)
                self._filling = None
            self._waiting += len(data)
            self._metrics.add(waiting_bytes=len(data))
            self._changed.notify_all()
            return batch.ticket

    def close(self, seconds: float) -> None:
        """Land everything that was put, trying for at most so long, and end.

        Raises:
            EnvironmentProblem: Some of it could not be landed and is lost; the text says how much and why.
        """
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify_all()
            # Once more than its tries may take, for one that hangs.
            self._changed.wait_for(lambda: self._ended, seconds + 1.0)
            self._ended = True
            if self._broken is not None:
                raise self._broken
            if self._waiting:
                why = self._problem or "the storage does not answer"
                raise EnvironmentProblem(
                    f"{self._root}: {self._waiting:,} received bytes could not be landed within {seconds:.0f} s"
                    f" and are lost ({why})"
                )

    def watch(self) -> None:
        """Say once when a write hangs, and once when it is over: to be called now and then.

        Raises:
            BaseException: Whatever ended the writing thread, which only a mistake in this program does.
        """
        if self._broken is not None:
            raise self._broken
        since = self._writing_since
        hangs = since is not None and time.monotonic() - since > _HANGS_AFTER
        if hangs and not self._hangs:
            self._say(f"{self._root}: a write neither ends nor fails since {_HANGS_AFTER:.0f} s; {self._waits()}")
        elif self._hangs and not hangs:
            self._say(f"{self._root}: the write that hung is over")
        self._hangs = hangs

    def _room(self) -> bool:
        return not self._ended and self._waiting < 2 * self._limits.max_bytes

    def _waits(self) -> str:
        return f"{self._waiting:,} bytes wait in memory, and from {2 * self._limits.max_bytes:,} on nothing is read"

    def _new_name(self) -> str:
        self._number += 1
        now = datetime.now(UTC)
        stamp = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"
        # A clock that is set back must not change the order.
        self._latest_name = max(stamp, self._latest_name)
        return f"{self._prefix}-{self._latest_name}-{self._who}-{self._number:08d}.txt"

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None and self._land(batch):
                pass
        except BaseException as error:
            self._broken = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _next(self) -> _Batch | None:
        """Return the oldest batch once it is full or old enough; None when all has landed and no more comes."""
        with self._changed:
            while True:
                if self._full:
                    return self._full.popleft()
                batch, wait = self._filling, None
                if batch is not None:
                    wait = batch.opened + self._limits.max_age_s - time.monotonic()
                    if wait <= 0 or self._deadline is not None:
                        self._filling = None
                        return batch
                elif self._deadline is not None:
                    return None
                self._changed.wait(wait)

    def _land(self, batch: _Batch) -> bool:
        """Write a batch, trying until it works; False when it was given up at the end."""
        pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        failing_since: float | None = None
        while True:
            self._writing_since = time.monotonic()
            try:
                self._write(f"{self._root.rstrip('/')}/{batch.name}", batch.data, batch.notes)
                break
            except LandingEnded:
                raise
            except (WordtideError, OSError) as error:
                # What to do about it is said for commands that end; this one goes on by itself.
                self._problem = str(error).partition("; ")[0]
                if failing_since is None:
                    failing_since = self._writing_since
                    self._say(f"{self._problem}; trying until it works; {self._waits()}")
            finally:
                self._writing_since = None
            if not self._pause(pauses):
                return False
        if failing_since is not None:
            lasted = time.monotonic() - failing_since
            self._say(f"{self._root}: landing again after {lasted:.0f} s, nothing that waited was lost")
        with self._changed:
            self._waiting -= len(batch.data)
            self._metrics.landed(len(batch.data), batch.events, datetime.now(UTC))
            self._changed.notify_all()
        batch.ticket.stamp()
        return True

    def _write_alone(self, path: str, data: bytearray, _notes: Mapping[str, Any]) -> None:
        try:
            self._storage.write_durably(path, pieces(data))
        except FileExistsError:
            # The name is nobody else's: an earlier try had worked, and we were not told. What appears is whole.
            if self._storage.stat(path).length != len(data):
                raise

    def _pause(self, pauses: Backoff) -> bool:
        """Wait before the next try; return whether there is to be one."""
        with self._changed:
            if self._deadline is None:
                if self._changed.wait_for(lambda: self._deadline is not None, pauses.next()):
                    pauses.reset()
                return True
            left = self._deadline - time.monotonic()
            if left > 0:
                self._changed.wait_for(lambda: self._ended, min(left, pauses.next()))
            return left > 0


def pieces(data: bytearray) -> Iterator[bytes]:
    """Yield a content as a storage takes it."""
    for at in range(0, len(data), CHUNK_BYTES):
        yield bytes(memoryview(data)[at : at + CHUNK_BYTES])

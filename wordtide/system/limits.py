"""Calls of native code that nothing can interrupt, with a limit on how long their answer is waited for.

hdfs-native and delta-rs wait in Rust for a server that accepts connections and says nothing: for ever, and no signal
gets through to them. So a worker thread makes the call, and whoever wants its answer waits with a limit, which a signal
interrupts. A worker that is late is abandoned: it is a daemon, so it keeps no process from ending, and it is used again
once its call has returned. What an abandoned call asked for may still happen then.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from wordtide.core.problems import SourceUnavailable

T = TypeVar("T")

ABANDONED_MOST = 64
"""Calls to one server that may hang in this process; beyond that none is made until one of them returns."""


class NoAnswer(SourceUnavailable, TimeoutError):
    """A server did not answer in time. What it was asked for may still happen."""


class Call(Generic[T]):
    """A call that a worker makes: begin it, then wait for it."""

    def __init__(self, function: Callable[[], T], server: Server) -> None:
        self._function = function
        self._server = server
        # A lock is the cheapest thing to wait for: this is paid for each call of HDFS.
        self._running = threading.Lock()
        self._running.acquire()
        self._value: T | None = None
        self._error: BaseException | None = None
        _worker().inbox.put(self)

    def wait(self, seconds: float) -> bool:
        """Return whether it has returned, waiting at most so long for that."""
        if not self._running.acquire(timeout=seconds):
            return False
        self._running.release()
        return True

    def result(self) -> T:
        """Return what it returned, or raise what it raised; only after it has."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback holds this frame.
                del error
        return self._value  # type: ignore[return-value]

    def make(self, worker: _Worker) -> None:
        """Make the call: the worker's part."""
        try:
            self._value = self._function()
        except BaseException as error:
            # Whatever it is, panics of Rust included, it is for whoever waits.
            self._error = error
        finally:
            del self._function
            _idle.append(worker)
            self._running.release()
            self._server.returned(self)


class _Worker:
    def __init__(self) -> None:
        self.inbox: SimpleQueue[Call[Any]] = SimpleQueue()
        threading.Thread(target=self._work, name="wordtide-call", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self.inbox.get()
            call.make(self)
            # What it returned is not kept until the next one.
            del call


class Server:
    """A server, and how many calls to it hang.

    Args:
        name: How a message names it.
        advice: What to do about it when it does not answer.
    """

    def __init__(self, name: str, advice: str) -> None:
        self._name = name
        self._advice = advice
        self._abandoned: set[Call[Any]] = set()
        self._abandoned_at = 0.0
        self._answered_at = 0.0
        self._lock = threading.Lock()

    def ask(self, seconds: float, function: Callable[[], T]) -> T:
        """Return what a function returns that a worker calls.

        Args:
            seconds: The limit.
            function: Asks the server.

        Raises:
            NoAnswer: It did not return in time; or others did not a moment ago, and it was not called.
        """
        call = self.begin(seconds, function)
        try:
            answered = call.wait(seconds)
        except BaseException:
            self.abandon(call)
            raise
        if not answered:
            self.abandon(call)
            raise self.no_answer(seconds)
        self.answered()
        return call.result()

    def begin(self, seconds: float, function: Callable[[], T]) -> Call[T]:
        """Have a worker call a function and return at once; raises NoAnswer where `ask` does not call it."""
        # Without the lock: the hot path, and nothing is lost if it is wrong once.
        if self._abandoned and self._hangs(time.monotonic(), seconds):
            raise self.no_answer(seconds)
        return Call(function, self)

    def answered(self) -> None:
        """Take note that the server answers."""
        if self._abandoned:
            self._answered_at = time.monotonic()

    def abandon(self, call: Call[T]) -> None:
        """Leave a call alone that has not returned."""
        with self._lock:
            if call.wait(0):
                return
            self._abandoned.add(call)
            self._abandoned_at = time.monotonic()

    def returned(self, call: Call[T]) -> None:
        """Take note that a call has returned, however late."""
        with self._lock:
            self._abandoned.discard(call)

    def no_answer(self, seconds: float) -> NoAnswer:
        """Return the error of a call that is late."""
        return NoAnswer(f"{self._name} did not answer within {seconds:g} s; {self._advice}")

    def _hangs(self, now: float, seconds: float) -> bool:
        """Return whether another call would most likely only hang as well.

        One is made now and then, the less often the more of them hang already: each costs a thread until the server
        goes on, or is gone. Where only part of a cluster hangs, what answers is asked as ever.
        """
        hanging = len(self._abandoned)
        if hanging >= ABANDONED_MOST:
            return True
        return self._answered_at < self._abandoned_at and now < self._abandoned_at + hanging * seconds


_idle: deque[_Worker] = deque()
_servers: dict[str, Server] = {}


def server_of(name: str, advice: str) -> Server:
    """Return the one server of this name; see `Server`."""
    return _servers.get(name) or _servers.setdefault(name, Server(name, advice))


def _worker() -> _Worker:
    try:
        return _idle.pop()
    except IndexError:
        return _Worker()


def _forked() -> None:
    """A child has none of its parent's threads, and nothing that it asked hangs."""
    _idle.clear()
    _servers.clear()


os.register_at_fork(after_in_child=_forked)

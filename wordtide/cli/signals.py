"""How a command is told to stop, and that it does: soon, whatever it waits for."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

import psutil

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SOON_SECONDS = 1.7
"""How long a command that was told to stop may take; with what starts and ends a process that is two seconds."""
BATCH_SECONDS = 13.0
"""The same for one that has a batch in hand, which may take ten."""
_ONE_PRESS_SECONDS = 0.1
"""Programs around us pass a Ctrl-C on that we got already: a second one within this is none."""
_SHOW_CURSOR = b"\x1b[?25h\n"


class Interrupts:
    """Turns the first Ctrl-C, SIGTERM or hang-up into KeyboardInterrupt; later ones are no exception.

    What ends on them has bounds of its own, and an exception in the middle of it would leave processes behind: a second
    Ctrl-C is for the `Guard`, which does not.
    An exception raised in a handler can be swallowed by whatever native code calls back into Python at that moment, so
    loops call `check` as well. Handlers also undo an inherited "ignore SIGINT" (a shell's `&`), which children would
    inherit in turn: `dagster dev` would then obey no signal at all.

    Args:
        seconds: How long the end may take, which a `Guard` sees to.
        ignored: Whether an inherited "ignore SIGINT" stays.
    """

    def __init__(self, seconds: float = SOON_SECONDS, *, ignored: bool = False) -> None:
        self._seconds = seconds
        self._ignored = ignored
        self._before: dict[signal.Signals, signal.Handlers | int | object | None] = {}
        self._seconds_before = SOON_SECONDS
        self._ending = False
        self.told: int | None = None
        """The first signal."""

    def __enter__(self) -> Interrupts:
        for number in ENDING:
            # nohup means it: the terminal may go.
            respected = number is signal.SIGHUP or (self._ignored and number is signal.SIGINT)
            if respected and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        self._seconds_before, Guard.seconds = Guard.seconds, self._seconds
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        Guard.seconds = self._seconds_before
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise KeyboardInterrupt if we were told to stop and are still here."""
        if self.told is not None and not self._ending:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Ignore everything from now on: the end has begun."""
        self._ending = True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first, self.told = self.told is None, self.told or number
        if first and not self._ending:
            raise KeyboardInterrupt


class Guard:
    """Ends the process when it does not end by itself after it was told to, or is told by a second Ctrl-C.

    A thread hears of signals by a pipe: a handler of Python's would wait for the main thread, which may be in a call of
    native code that nothing interrupts. All that the process started, and that still runs, ends with it: batches and
    files are whole or absent whatever is killed when.

    Args:
        end: Ends the process with an exit code.
    """

    seconds = SOON_SECONDS
    """How long an end may take now; `Interrupts` say so."""

    def __init__(self, end: Callable[[int], object]) -> None:
        self._end = end
        self._first: tuple[int, float] | None = None
        self._deadline = 0.0
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="wordtide-guard", daemon=True).start()

    def _watch(self) -> None:
        while True:
            left = None if self._first is None else max(0.0, self._deadline - time.monotonic())
            heard = os.read(self._reading, 64) if select.select([self._reading], [], [], left)[0] else b""
            if (left == 0.0 and not heard) or any(self._again(number) for number in heard):
                assert self._first is not None
                self._end(128 + self._first[0])
                return

    def _again(self, number: int) -> bool:
        """Take note of a signal; return whether it is a second Ctrl-C."""
        if number not in ENDING:
            return False
        now = time.monotonic()
        if self._first is None:
            self._first = number, now
            self._deadline = now + self.seconds
            return False
        return number == signal.SIGINT and now - self._first[1] > _ONE_PRESS_SECONDS


def end_at_once(code: int) -> None:
    """End this process and what it started, and leave the terminal as it was found."""
    # Groups: what a child of ours left behind when it died is no descendant any more.
    for process in psutil.Process().children(recursive=True):
        pid = process.pid
        with suppress(ProcessLookupError, PermissionError):
            (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)
    with suppress(OSError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(code)

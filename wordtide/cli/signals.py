"""How a command that runs until it is told to stop is told."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interrupts:
    """Turns the first Ctrl-C, SIGTERM or hang-up into KeyboardInterrupt; later ones are ignored.

    What ends on them has bounds of its own, and a second Ctrl-C in the middle of it would leave processes behind.
    An exception raised in a handler can be swallowed by whatever native code calls back into Python at that moment, so
    loops call `check` as well. Handlers also undo an inherited "ignore SIGINT" (a shell's `&`), which children would
    inherit in turn: `dagster dev` would then obey no signal at all.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, signal.Handlers | int | object | None] = {}
        self._told = False
        self._ending = False

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup means it: the terminal may go.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise KeyboardInterrupt if we were told to stop and are still here."""
        if self._told and not self._ending:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Ignore everything from now on: the end has begun."""
        self._ending = True

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        first, self._told = not self._told, True
        if first and not self._ending:
            raise KeyboardInterrupt

"""How far something is that takes longer: a bar on stderr, on a terminal only, and not for what is done at once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

DELAY_SECONDS = 1.0
_STEP_BYTES = 1 << 18
"""Bytes between two updates, so that a line costs nothing."""

Advance = Callable[[int], None]


def _on_a_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(what: str, total_bytes: int | None = None) -> Iterator[Advance]:
    """Show that something is going on while the context is open; print nothing to stdout meanwhile.

    Args:
        what: What is going on, a few words.
        total_bytes: What the advances will add up to; None where that is not known.

    Yields:
        A function to be called with how much more is done.
    """
    if not _on_a_terminal():
        yield lambda _more: None
        return
    # Here, because it takes a tenth of a second that no script should pay.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(24)]
    sized = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    columns += sized if total_bytes is not None else (TimeElapsedColumn(),)
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    task = bar.add_task(what, total=total_bytes)
    lock = threading.Lock()
    started = ended = False

    def start() -> None:
        nonlocal started
        with lock:
            if not ended:
                started = True
                bar.start()

    timer = threading.Timer(DELAY_SECONDS, start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda more: bar.advance(task, more)
    finally:
        timer.cancel()
        with lock:
            ended = True
            if started:
                bar.stop()


def told(chunks: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    """Yield chunks or lines and tell now and then how many bytes they were."""
    pending = 0
    for chunk in chunks:
        pending += len(chunk)
        if pending >= _STEP_BYTES:
            advance(pending)
            pending = 0
        yield chunk
    advance(pending)

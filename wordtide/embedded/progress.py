"""How far a fetch of jars is, on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 3.0
"""Seconds between two lines when there is no terminal."""


class FetchProgress:
    """Reads Ivy's output line by line and reports how many jars were found and fetched."""

    def __init__(self, show: Callable[[str, int], None]) -> None:
        self._show = show
        self._found = 0
        self._fetched = 0

    def line(self, line: str) -> None:
        """Take one line of Ivy's output."""
        if match := re.match(r"\s*found \S+#(\S+?);", line):
            self._found += 1
            self._show(f"looking up {match[1]}", self._fetched)
        elif match := re.match(r"\s*\[SUCCESSFUL ] \S+!(\S+?)(?:\(\w+\))? ", line):
            self._fetched += 1
            self._show(match[1], self._fetched)


@contextmanager
def fetch_progress(jars: str, total: int) -> Iterator[FetchProgress]:
    """Show the progress of fetching `total` of these jars while the context is open."""
    if sys.stderr.isatty():
        # Here, because it takes a tenth of a second that no other command should pay.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn(f"fetching {jars}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield FetchProgress(lambda what, done: bar.update(task, description=what, completed=done))
    else:
        yield FetchProgress(_plain(jars, total))


def _plain(jars: str, total: int) -> Callable[[str, int], None]:
    shown = -_EVERY

    def show(what: str, done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _EVERY or done == total:
            shown = now
            print(f"fetching {jars}: {done} of {total} ({what})", file=sys.stderr, flush=True)  # noqa: T201

    return show

"""Commands in a terminal of their own, and what stands on its screen."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

_END_SECONDS = 180.0
_REDRAWN = re.compile(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""How rich goes back to the top of a live view."""


class Terminal:
    """A command in a terminal of ``columns`` × ``rows``; as a context manager it is ended as by Ctrl-C."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str], columns: int, rows: int):
        self.columns = columns
        self._said: list[bytes] = []
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {name: value for name, value in environment.items() if name not in {"NO_COLOR", "COLUMNS"}}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        os.close(its)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.wait()

    def wait(self) -> None:
        """Wait until the command has ended."""
        self._process.wait(_END_SECONDS)
        self._reader.join(10.0)

    def running(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def text(self) -> str:
        """Return everything it has written."""
        return b"".join(self._said).decode(errors="replace").replace("\r\n", "\n")

    def frame(self) -> str:
        """Return the newest whole frame of its live view; the one after it may be half drawn."""
        frames = _REDRAWN.split(self.text())
        return frames[-2] if len(frames) > 2 else ""

    def _read(self, source: int) -> None:
        try:
            while data := os.read(source, 65536):
                self._said.append(data)
        except OSError:  # EIO: the last writer has closed the terminal.
            pass
        os.close(source)


def to_svg(text: str, title: str, columns: int) -> str:
    """Return what a terminal shows of a text with its colours."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in AnsiDecoder().decode(text.strip("\n")):
        console.print(line, soft_wrap=True)
    return console.export_svg(title=title)

"""How tests call the command line: in this process, as the console script does, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from wordtide.cli.main import run
from wordtide.config import PROJECT_ROOT

CLOSED_PORT = 1
"""Nothing listens on tcpmux."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def only_line(self) -> str:
        """The one line a problem is reported with."""
        assert self.err.startswith("wordtide: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("wordtide: ").rstrip("\n")


@dataclass(frozen=True, slots=True)
class Shell:
    """A user's folder with a `streams.yaml`, and the command line in it."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Answer:
        self.capture.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = self.capture.readouterr()
        return Answer(code, out, err)

    def streams(self, text: str) -> None:
        """Write the `streams.yaml`."""
        (self.folder / "streams.yaml").write_text(text)

    def process(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start the command line as a process of its own, in a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "wordtide.cli.main", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": "1"},
            cwd=self.folder,
            start_new_session=True,
        )

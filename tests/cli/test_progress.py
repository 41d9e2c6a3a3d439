"""Progress: on a terminal only, not for what is done at once, and never on stdout."""

from __future__ import annotations

import os
import pty
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support import wait_until
from wordtide.cli import progress as module
from wordtide.cli.progress import progress, told


@contextmanager
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Make a real terminal stderr, from within a test: pytest takes it back between its phases."""
    user, ours = pty.openpty()
    os.set_blocking(user, False)
    monkeypatch.setenv("TERM", "xterm")

    def shown() -> str:
        seen = b""
        try:
            while chunk := os.read(user, 1 << 16):
                seen += chunk
        except BlockingIOError:
            pass
        return seen.decode()

    with os.fdopen(ours, "w") as stderr, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stderr)
        yield shown
    os.close(user)


def test_what_takes_long_shows_how_far_it_is_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "DELAY_SECONDS", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    with a_terminal(monkeypatch) as shown:
        parts: list[str] = []
        with progress("landing", 3_000_000) as advance:
            advance(1_500_000)
            wait_until("it is shown", lambda: parts.append(shown()) or "landing" in "".join(parts))
        seen = "".join([*parts, shown()])
    assert "1.5/3.0 MB" in seen
    # The cursor is back, the line is erased, and no colour was used.
    assert seen.rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in seen
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", seen)
    assert capsys.readouterr().out == ""


def test_what_is_done_at_once_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_terminal(monkeypatch) as shown:
        with progress("landing", 10) as advance:
            advance(10)
        assert shown() == ""


def test_without_a_terminal_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "DELAY_SECONDS", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("landing", 10) as advance:
        advance(10)
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_chunks_pass_through_and_their_bytes_are_told() -> None:
    told_bytes: list[int] = []
    chunks = [b"x" * 200_000, b"y" * 100_000, b"z"]
    assert list(told(chunks, told_bytes.append)) == chunks
    assert sum(told_bytes) == 300_001
    assert len(told_bytes) == 2

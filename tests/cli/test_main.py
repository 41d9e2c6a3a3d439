"""The command line as a whole: help, exit codes, one line for a known problem."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.support import Shell
from wordtide import __version__
from wordtide.cli import main as command_line
from wordtide.config import PROJECT_ROOT

COMMANDS = ["demo", "up", "down", "status", "dev", "produce", "land", "receive", "top", "ledger", "lag", "parked"]
COMMANDS += ["doctor", "resolve", "replay", "quarantine"]


def test_help_names_every_command_and_loads_none_of_what_they_need() -> None:
    script = (
        "import sys; from wordtide.cli.main import run; code = run(['--help'])\n"
        "print([m for m in ('pyarrow', 'kafka', 'deltalake', 'rich', 'dagster') if m in sys.modules])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    shown, loaded = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert loaded == "[]"
    assert all(f"  {command} " in shown for command in COMMANDS)


def test_the_version_is_that_of_the_installed_package_and_of_the_code(shell: Shell) -> None:
    answer = shell("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"wordtide {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(shell: Shell, command: str) -> None:
    answer = shell(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: wordtide {command} ")


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("top",), ("top", "news", "-n", "0"), ("land", "only-one"), ("lag", "--no")]
)
def test_wrong_arguments_are_explained_and_exit_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    answer = shell(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Error: " in answer.err


def test_a_wrong_streams_yaml_is_one_line(shell: Shell) -> None:
    shell.streams("streams: {news: {kafka: {topic: news}, batch_intervall: 1s}}\n")
    answer = shell("top", "news", "--json")
    assert (answer.code, answer.out) == (1, "")
    assert "unknown key 'streams.news.batch_intervall'" in answer.only_line


def test_an_unknown_stream_is_one_line_that_names_those_there_are(shell: Shell) -> None:
    shell.streams("streams: {news: {kafka: {topic: news}}}\n")
    assert "there are: news" in shell("ledger", "nope").only_line


def test_a_full_disk_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr(command_line.cli, "main", full)
    answer = shell("status")
    assert (answer.code, answer.only_line) == (1, "the disk is full (/some/file); free some space and run again")


class PanicException(BaseException):
    """A panic of delta-rs, which is no Exception."""


def test_a_panic_of_delta_rs_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_arguments: object, **_options: object) -> None:
        raise PanicException("TokioMultiThreadExecutor has crashed: RecvError")

    monkeypatch.setattr(command_line.cli, "main", panics)
    answer = shell("top", "s")
    line = "wordtide: delta-rs panicked: TokioMultiThreadExecutor has crashed: RecvError; run the command again\n"
    assert (answer.code, answer.out, answer.err) == (1, "", line)


def test_ctrl_c_is_quiet_and_exits_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line.cli, "main", interrupted)
    assert shell("status") == type(shell("status"))(130, "", "")


def test_a_reader_that_went_away_gets_no_traceback(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "wordtide.cli.main", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=PROJECT_ROOT, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_command_that_has_said_everything_ends_without_taking_the_interpreter_down() -> None:
    script = (
        "import atexit, sys; from wordtide.cli.main import main; atexit.register(print, 'going down');"
        "sys.argv = ['wordtide', '--help']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: wordtide")
    assert "going down" not in done.stdout

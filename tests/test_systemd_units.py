"""`examples/systemd`: units whose commands are there and take these arguments."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import click
import pytest
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import create_dagster_webserver_cli

from wordtide.cli.main import cli
from wordtide.config import PROJECT_ROOT

UNITS = sorted((PROJECT_ROOT / "examples" / "systemd").glob("*.service"))
BIN = "/opt/wordtide/.venv/bin/"
PROGRAMS = {
    "wordtide": cli,
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": create_dagster_webserver_cli(),
}


def parsed(command: click.Command, arguments: list[str]) -> None:
    """Have a command and its subcommands read their arguments, and do nothing."""
    with command.make_context(command.name, arguments) as context:
        if isinstance(command, click.Group):
            _, chosen, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert chosen is not None
            parsed(chosen, rest)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_starts_is_a_command_with_arguments_it_takes(unit: Path) -> None:
    # Not strict: a unit may set a key twice.
    settings = ConfigParser(interpolation=None, strict=False)
    settings.optionxform = str  # type: ignore[assignment, method-assign]
    settings.read_string(unit.read_text())
    program, *arguments = shlex.split(settings["Service"]["ExecStart"].replace("%i", "news"))
    assert program.startswith(BIN)
    parsed(PROGRAMS[program.removeprefix(BIN)], arguments)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_nothing_to_say_about_them(tmp_path: Path) -> None:
    there = f"{Path(sys.executable).parent}/"
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(BIN, there))
    answer = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stderr) == (0, "")

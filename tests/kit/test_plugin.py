"""What a user gets who has Wordtide installed and runs pytest in a project of his own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wordtide.config import PROJECT_ROOT

TESTS = """\
def test_soak(wordtide_place, wordtide_soak):
    assert False

def test_fixtures(request):
    for name in ("wordtide_broker", "wordtide_hdfs", "wordtide_place", "crash_at"):
        assert request._fixturemanager.getfixturedefs(name, request.node), name
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose Python finds an installed Wordtide: its entry points, as an installer writes them."""
    installed = tmp_path / "site" / "wordtide-0.0.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: wordtide\nVersion: 0.0.0\n")
    (installed / "entry_points.txt").write_text(entry_points())
    (tmp_path / "test_mine.py").write_text(TESTS)
    return tmp_path


def entry_points() -> str:
    import tomllib

    found = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    return "[pytest11]\n" + "".join(f"{name} = {module}\n" for name, module in found.items())


def run(project: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(project / "site"), str(PROJECT_ROOT)])}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", f"--basetemp={project}/temporary"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120).stdout


def test_its_fixtures_are_there_and_no_soak_runs_or_starts_a_server_unasked(project: Path) -> None:
    said = run(project)
    assert "1 passed, 1 skipped" in said, said
    assert "no soak without --soak" in said
    assert not list(project.glob("temporary/cluster*"))


def test_a_conftest_may_name_it_as_well(project: Path) -> None:
    (project / "conftest.py").write_text('pytest_plugins = ["wordtide.testing.plugin"]\n')
    said = run(project)
    assert "1 passed, 1 skipped" in said, said

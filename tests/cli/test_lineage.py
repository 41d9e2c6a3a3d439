"""`wordtide lineage`: batches are told again, or what would be told is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import CLOSED_PORT, Shell
from tests.cli.test_questions import drain, land
from tests.exporters.openlineage.receiver import Receiver, problems, receiver


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that the environment names."""
    with receiver() as made:
        monkeypatch.setenv("OPENLINEAGE_URL", made.url)
        yield made


@pytest.fixture
def counted(shell: Shell) -> Path:
    """A stream `s` with three batches, 0 to 2."""
    folder = shell.folder / "landing"
    folder.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    for name in ("one", "two"):
        land(folder, ["a b", name], name)
        drain("s")
    return folder


def test_telling_again_tells_the_same(shell: Shell, counted: Path, backend: Receiver) -> None:
    assert shell("lineage", "emit", "s").code == 0
    first = list(backend.events)
    assert backend.complete() == [0, 1, 2]
    assert shell("lineage", "emit", "s").code == 0
    assert backend.events[len(first) :] == first


def test_a_range_is_told_and_the_answer_is_json(shell: Shell, counted: Path, backend: Receiver) -> None:
    answer = shell("lineage", "emit", "s", "--from", "1", "--to", "1", "--json")
    assert json.loads(answer.out) == {"stream": "s", "first": 1, "last": 1, "events": 2}
    assert backend.complete() == [1]
    assert "batches 1 to 2 (4 events)" in shell("lineage", "emit", "s", "--from", "1", "--to", "99").out


def test_what_is_shown_is_what_is_told(shell: Shell, counted: Path, backend: Receiver) -> None:
    shown = [json.loads(line) for line in shell("lineage", "show", "s", "--from", "1").out.splitlines()]
    assert len(shown) == 4
    assert not [problem for event in shown for problem in problems(event)]
    assert not backend.events
    shell("lineage", "emit", "s", "--from", "1")
    assert backend.events == shown


def test_problems_are_one_line(shell: Shell, counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "")
    answer = shell("lineage", "emit", "s")
    assert (answer.code, answer.only_line) == (1, "no lineage backend: set OPENLINEAGE_URL=http://host:port")
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{CLOSED_PORT}")
    assert "does not answer" in shell("lineage", "emit", "s").only_line
    assert shell("lineage", "show", "s", "--from", "3").code == 2


def test_a_backend_that_goes_is_gone_on_with_later(shell: Shell, counted: Path, backend: Receiver) -> None:
    backend.answers = [201, 201, 503]
    answer = shell("lineage", "emit", "s")
    assert answer.code == 1
    assert answer.only_line.startswith("batch 1: ")
    assert answer.only_line.endswith("go on with --from 1")
    backend.answers = []
    assert shell("lineage", "emit", "s", "--from", "1").code == 0
    assert backend.complete() == [1, 2]


def test_a_stream_without_a_table_is_one_line(shell: Shell, backend: Receiver) -> None:
    (shell.folder / "landing").mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing}}}\n")
    assert "no table yet" in shell("lineage", "emit", "s").only_line

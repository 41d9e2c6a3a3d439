"""`wordtide resolve` and `replay` as an operator uses them."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from tests.cli.support import Shell
from tests.cli.test_questions import drain, land


@pytest.fixture
def folder(shell: Shell) -> Path:
    """The landing folder of a stream `s`, with a file that was replaced after it was counted."""
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    land(landing, ["a b b"], "kept.txt")
    land(landing, ["a b"], "f.txt")
    drain("s")
    (landing / "f.txt").unlink()
    land(landing, ["c c c d"], "f.txt")
    drain("s")
    return landing


def counts(shell: Shell) -> dict[str, int]:
    return {row["word"]: row["count"] for row in json.loads(shell("top", "s", "--json").out)}


def parked(shell: Shell) -> list[str]:
    return [row["what"] for row in json.loads(shell("parked", "s", "--json").out)]


def test_what_parked_names_can_be_recounted(shell: Shell, folder: Path) -> None:
    assert parked(shell) == [str(folder / "f.txt")]
    answer = shell("resolve", "s", str(folder / "f.txt"), "--as", "recount", "--why", "sent again\nby mistake")
    assert (answer.code, answer.err) == (0, "")
    assert "batch 3" in answer.out
    assert counts(shell) == {"c": 3, "b": 2, "a": 1, "d": 1}
    assert parked(shell) == []
    row = json.loads(shell("ledger", "s", "--json").out)[-1]
    assert (row["status"], row["decision"], row["who"], row["why"], row["replaces"]) == (
        "correction",
        "recount",
        getpass.getuser(),
        "sent again by mistake",
        1,
    )


def test_a_decision_names_the_other_files_that_it_settles(shell: Shell, folder: Path) -> None:
    (folder / "kept.txt").unlink()
    land(folder, ["e"], "kept.txt")
    drain("s")
    assert parked(shell) == [str(folder / "f.txt"), str(folder / "kept.txt")]
    answer = shell("resolve", "s", str(folder / "f.txt"), "--as", "recount")
    assert f"{folder / 'kept.txt'}: recounted with it" in answer.out
    assert parked(shell) == []
    assert counts(shell) == {"c": 3, "d": 1, "e": 1}


def test_a_file_may_be_named_as_the_shell_completes_it(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert "4 words differ" in shell("replay", "s", "--file", "f.txt").out
    assert shell("resolve", "s", "f.txt", "--as", "skip").code == 0
    assert parked(shell) == []


def test_a_second_decision_says_that_nothing_is_parked_any_more(shell: Shell, folder: Path) -> None:
    what = str(folder / "f.txt")
    assert shell("resolve", "s", what, "--as", "skip").code == 0
    answer = shell("resolve", "s", what, "--as", "skip")
    assert answer.code == 1
    assert "not parked" in answer.only_line
    assert counts(shell) == {"b": 3, "a": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resolve", "s", "x"], "--as"),
        (["resolve", "s", "x", "--as", "guess"], "guess"),
        (["replay", "s"], "--batch"),
        (["replay", "s", "--batch", "1", "--file", "x"], "one of"),
        (["replay", "s", "--partition", "0", "--start", "5", "--end", "5"], "before"),
        (["replay", "s", "--start", "5"], "--partition"),
    ],
)
def test_wrong_arguments_are_said_to_be_wrong(shell: Shell, arguments: list[str], says: str) -> None:
    answer = shell(*arguments)
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resolve", "t", "x", "--as", "skip"], "no stream 't'"),
        (["replay", "s", "--batch", "77"], "no batch"),
        (["replay", "s", "--file", "/nowhere"], "no batch"),
    ],
)
def test_what_does_not_exist_is_one_line(shell: Shell, folder: Path, arguments: list[str], says: str) -> None:
    assert folder.is_dir()
    answer = shell(*arguments)
    assert answer.code == 1
    assert says in answer.only_line


def test_nothing_can_be_decided_or_replayed_before_anything_was_counted(shell: Shell) -> None:
    (shell.folder / "landing").mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing}}}\n")
    for arguments in (["resolve", "s", "x", "--as", "skip"], ["replay", "s", "--batch", "1"]):
        answer = shell(*arguments)
        assert answer.code == 1
        assert "nothing has been counted" in answer.only_line


def test_a_replay_shows_was_and_now_and_changes_nothing_until_told_to(shell: Shell, folder: Path) -> None:
    path = str(folder / "f.txt")
    answer = shell("replay", "s", "--file", path, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == [
        {
            "batch": 1,
            "applied": None,
            "words": [
                {"word": "a", "was": 2, "now": 1},
                {"word": "b", "was": 3, "now": 2},
                {"word": "c", "was": 0, "now": 3},
                {"word": "d", "was": 0, "now": 1},
            ],
        }
    ]
    assert counts(shell) == {"b": 3, "a": 2}
    shown = shell("replay", "s", "--batch", "1")
    assert "4 words differ" in shown.out
    assert "--apply" in shown.out
    assert counts(shell) == {"b": 3, "a": 2}
    applied = shell("replay", "s", "--batch", "1", "--apply", "--why", "checked")
    assert applied.code == 0
    assert "batch 3" in applied.out
    assert counts(shell) == {"c": 3, "b": 2, "a": 1, "d": 1}
    assert "what its source holds" in shell("replay", "s", "--batch", "1", "--apply").out
    assert len(json.loads(shell("ledger", "s", "--json").out)) == 4

"""Marks and the journal that lands them with their files, killed at every step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.receivers.flume_support import landed
from wordtide.errors import EnvironmentProblem
from wordtide.receivers import flume_journal, flume_marks
from wordtide.receivers.flume_journal import FOLDER, Journal
from wordtide.receivers.flume_marks import Mark, Verdict
from wordtide.receivers.landing import LandingEnded
from wordtide.storage import LocalStorage


def verdicts(mark: Mark, lines: list[tuple[int, bytes]]) -> list[str]:
    return [mark.take(start, body).name for start, body in lines]


FILE = [(0, b"one"), (4, b""), (5, b"three"), (11, b"crlf"), (17, b"end")]


def test_a_file_in_order_is_one_stretch_whatever_ends_its_lines() -> None:
    mark = Mark()
    assert set(verdicts(mark, FILE)) == {"NEW"}
    assert mark.stretches == [[0, 20]]


def test_what_comes_again_is_a_repeat_also_after_it_was_written_and_read() -> None:
    mark = Mark()
    verdicts(mark, FILE)
    again = Mark.of(mark.note())
    assert set(verdicts(again, FILE)) == {"REPEAT"}
    assert again.take(21, b"new") is Verdict.NEW


def test_what_comes_late_is_no_repeat() -> None:
    mark = Mark()
    # The empty line counts as part of the lines' ends around it: no word depends on it.
    assert verdicts(mark, [FILE[0], FILE[4], FILE[2], FILE[3]]) == ["NEW"] * 4
    assert set(verdicts(mark, FILE)) == {"REPEAT"}
    assert len(mark.stretches) == 1


def test_many_gaps_are_forgotten_from_the_start_and_never_filled() -> None:
    mark = Mark()
    for at in range(0, 20_000, 100):
        assert mark.take(at, b"x") is Verdict.NEW
    assert len(mark.stretches) == 64
    assert mark.take(19_900, b"x") is Verdict.REPEAT
    assert mark.take(19_850, b"x") is Verdict.NEW


def test_a_path_used_for_a_second_file_loses_nothing_of_it() -> None:
    mark = Mark()
    verdicts(mark, FILE)
    assert verdicts(mark, [(0, b"another"), (8, b"x"), (0, b"another")]) == ["REUSED", "NEW", "NEW"]
    assert Mark.of(mark.note()).take(0, b"one") is Verdict.NEW


class Killed(BaseException):
    pass


class Dying(LocalStorage):
    """A disk whose user is killed before or after its n-th change."""

    def __init__(self, at: int, after: bool) -> None:
        super().__init__()
        object.__setattr__(self, "left", [at])
        object.__setattr__(self, "after", after)

    def _change(self, change: Any) -> Any:
        left: list[int] = self.left  # type: ignore[attr-defined]
        left[0] -= 1
        if left[0] == 0 and not self.after:  # type: ignore[attr-defined]
            raise Killed
        done = change()
        if left[0] == 0:
            raise Killed
        return done

    def write_durably(self, *arguments: Any, **options: Any) -> Any:
        return self._change(lambda: LocalStorage.write_durably(self, *arguments, **options))

    def rename(self, *arguments: Any) -> Any:
        return self._change(lambda: LocalStorage.rename(self, *arguments))

    def delete(self, *arguments: Any) -> Any:
        return self._change(lambda: LocalStorage.delete(self, *arguments))


def deliver(storage: LocalStorage, root: Path, lines: list[bytes], batch: int = 2) -> None:
    """Send a file's lines as an agent does, from its start: what was taken is left out."""
    journal = Journal(storage, str(root))
    marks = journal.open()
    at, events = 0, []
    for line in lines:
        events.append((at, line))
        at += len(line) + 1
    for number in range(0, len(events), batch):
        mark = marks.setdefault("file", Mark())
        new = [body for start, body in events[number : number + batch] if mark.take(start, body) is Verdict.NEW]
        if new:
            name = f"f-{len(list(root.glob('[!.]*'))):05d}-{new[0].decode()}.txt"
            journal.write(f"{root}/{name}", bytearray(b"".join(line + b"\n" for line in new)), {"file": mark.note()})
            # Counted, and put away.
            (root.parent / "counted").mkdir(exist_ok=True)
            (root / name).rename(root.parent / "counted" / name)


def test_killed_at_any_step_every_line_lands_once_also_if_landed_files_are_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flume_journal, "_WHOLE_EVERY", 3)
    lines = [b"line%d" % number for number in range(14)]
    for after in (False, True):
        for step in range(1, 40):
            root = tmp_path / f"{after}-{step}" / "landing"
            survived = False
            for at in (step, step // 2 + 1, 0):
                try:
                    deliver(Dying(at, after), root, lines)
                    survived = True
                except Killed:
                    pass
            assert survived
            found = landed(root) + landed(root.parent / "counted")
            assert Counter(found) == Counter(lines), (after, step)


def test_a_try_whose_success_was_not_heard_of_is_not_repeated(tmp_path: Path) -> None:
    for at in range(2, 6):
        for after in (False, True):
            root = tmp_path / f"{at}{after}"
            journal = Journal(Dying(at, after), str(root))
            journal.open()
            for _ in range(2):
                try:
                    journal.write(f"{root}/a.txt", bytearray(b"a\n"), {"file": Mark([[0, 1]]).note()})
                except Killed:
                    continue
            assert landed(root) == [b"a"]
            assert Journal(LocalStorage(), str(root)).open()["file"].stretches == [[0, 1]]


def test_of_two_receivers_in_one_folder_the_older_ends_and_neither_lands_twice(tmp_path: Path) -> None:
    older, younger = Journal(LocalStorage(), str(tmp_path)), Journal(LocalStorage(), str(tmp_path))
    older.open()
    older.write(f"{tmp_path}/a.txt", bytearray(b"a\n"), {"file": Mark([[0, 1]]).note()})
    assert younger.open()["file"].stretches == [[0, 1]]
    with pytest.raises(LandingEnded, match="another receiver for Flume"):
        older.write(f"{tmp_path}/b.txt", bytearray(b"b\n"), {"file": Mark([[0, 3]]).note()})
    younger.write(f"{tmp_path}/c.txt", bytearray(b"b\n"), {"file": Mark([[0, 3]]).note()})
    assert landed(tmp_path) == [b"a", b"b"]


def test_entries_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flume_journal, "_WHOLE_EVERY", 5)
    monkeypatch.setattr(flume_marks, "MAX_FILES", 10)
    journal = Journal(LocalStorage(), str(tmp_path))
    journal.open()
    for number in range(52):
        journal.write(f"{tmp_path}/{number}.txt", bytearray(b"x\n"), {str(number): Mark([[0, number]]).note()})
    assert len(list((tmp_path / FOLDER).iterdir())) <= 7
    assert list(Journal(LocalStorage(), str(tmp_path)).open()) == [str(number) for number in range(42, 52)]


def test_a_damaged_entry_is_one_line(tmp_path: Path) -> None:
    Journal(LocalStorage(), str(tmp_path)).open()
    (tmp_path / FOLDER / "000000000001.json").write_text('{"lands": ""')
    with pytest.raises(EnvironmentProblem, match="is damaged"):
        Journal(LocalStorage(), str(tmp_path)).open()

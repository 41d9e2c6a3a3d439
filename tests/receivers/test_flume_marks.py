"""Marks and the journal that lands them with their files, killed at every step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.receivers.flume_support import landed
from wordtide.core.problems import EnvironmentProblem
from wordtide.receivers import flume_journal, flume_marks
from wordtide.receivers.doubts import Doubts
from wordtide.receivers.flume_journal import FOLDER, Journal, Put, doubts_of
from wordtide.receivers.flume_lines import Lines, Segment, digest_of
from wordtide.receivers.flume_marks import Marks, Verdict, key_of, note_of, segments_of
from wordtide.receivers.flume_rotation import origins_of
from wordtide.receivers.landing import LandingEnded
from wordtide.storage import LocalStorage

FILE = b"#Fields: date time", b"one", b"", b"three", b"crlf\r", b"end"
OTHER = b"#Fields: date time", b"1st", b"another", b"file", b"altogether", b"indeed"


def placed(bodies: Sequence[bytes], start: int = 0, longer: int = 0) -> list[tuple[int, bytes]]:
    """Return the bodies of a file's lines with their places; the lines in the file are longer by some bytes."""
    places = accumulate((len(body) + 1 + longer for body in bodies), initial=start)
    return list(zip(places, bodies, strict=False))


def remembered(lines: Sequence[tuple[int, bytes]]) -> Lines:
    return Lines([place for place, _ in lines], [digest_of(body) for _, body in lines])


def taken(marks: Marks, lines: Sequence[tuple[int, bytes]], file: str = "/in/app.log", agent: str = "one") -> str:
    """Deliver lines of a file that come together; return a letter each: New, Repeat, Doubtful."""
    judgement, _ = marks.take(agent, file, remembered(lines))
    return "".join(verdict.name[0] for verdict in judgement.verdicts)


def copied(marks: Marks) -> Marks:
    """Return what comes of writing and reading them."""
    read = Marks()
    for key, note in noted(marks).items():
        read.apply(key, segments_of(note))
    assert noted(read) == noted(marks)
    return read


def noted(marks: Marks) -> dict[str, Any]:
    written = json.dumps({key: note_of(segments) for key, segments in marks.segments().items()})
    read: dict[str, Any] = json.loads(written)
    return read


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"line %d" % number for number in range(start, start + count)]


@pytest.mark.parametrize("longer", [-2, 0, 30])
def test_a_repeat_is_the_same_body_at_the_same_place_however_long_a_body_is_for_its_line(longer: int) -> None:
    marks = Marks()
    lines = [(place * 4, body) for place, body in placed(FILE, longer=longer)]
    assert taken(marks, lines[:4]) == "NNNN"
    assert taken(marks, lines[2:]) == "RRNN"
    for known in (marks, copied(marks)):
        assert taken(known, lines) == "RRRRRR"
        assert taken(known, lines[:2]) == "RR"
        assert taken(known, [(1000, b"end")]) == "N"


def test_what_comes_late_is_no_repeat_and_not_doubtful() -> None:
    marks, lines = Marks(), placed(numbered(9))
    assert taken(marks, lines[6:]) == "NNN"
    assert taken(marks, lines[:3]) == "NNN"
    assert taken(marks, lines[3:6]) == "NNN"
    assert taken(marks, lines) == "R" * 9


def test_of_a_second_file_also_the_header_line_lands_that_equals_the_first_ones() -> None:
    marks = Marks()
    assert taken(marks, placed(FILE)) == "NNNNNN"
    second = placed(OTHER)
    assert "R" not in taken(marks, second[:3])
    assert taken(marks, second[3:]) == "NNN"
    for known in (marks, copied(marks)):
        # What an agent repeats when the receiver died at the rotation.
        assert taken(known, placed(FILE)[3:]) == "RRR"
        assert taken(known, second) == "RRRRRR"
        assert taken(known, [(1000, b"new")]) == "N"


def test_a_second_files_header_that_comes_alone_is_no_reason_to_take_the_rest_for_repeats() -> None:
    marks, first, second = Marks(), placed([FILE[0], *numbered(30)]), placed(OTHER)
    taken(marks, first)
    # By itself it is the same body at the same place.
    assert taken(marks, second[:1]) == "R"
    assert set(taken(marks, second[1:3])) <= {"N", "D"}
    assert taken(marks, second[3:]) == "NNN"
    assert taken(marks, second) == "RRRRRR"


def test_a_second_file_is_noticed_when_the_first_ones_lines_are_forgotten_but_for_its_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flume_marks, "MAX_LINES", 3000)
    marks, first, second = Marks(), placed([FILE[0], *numbered(10_000)]), placed(OTHER)
    for at in range(0, len(first), 100):
        assert set(taken(marks, first[at : at + 100])) == {"N"}
    assert marks.lines <= 3000
    for known in (marks, copied(marks)):
        assert taken(known, second[:2])[0] == "D"
        assert taken(known, second[2:]) == "NNNN"


def test_two_hosts_under_one_agent_name_lose_nothing_and_are_seen() -> None:
    marks = Marks()
    hosts = [placed([FILE[0], *(b"%s %05d" % (host, number) for number in range(40))]) for host in (b"a", b"b")]
    seen = ""
    for at in range(0, 41, 10):
        for host in hosts:
            seen += taken(marks, host[at : at + 10])
    assert "R" not in seen
    assert seen.count("D") > 10
    # A place proves nothing any more, also after a restart: a line of one may be like one of the other.
    for known in (marks, copied(marks)):
        assert set(taken(known, hosts[1][20:30])) == {"D"}


def test_what_is_sent_again_from_further_back_than_is_remembered_lands_as_doubtful(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flume_marks, "MAX_LINES", 3000)
    marks, lines = Marks(), placed(numbered(5000))
    taken(marks, lines)
    for known in (marks, copied(marks)):
        found = taken(known, lines)
        # The first lines, forgotten ones, and those that came last.
        assert found[:2] == "RR"
        assert 1000 < found.count("D") < 4000
        assert found[-1000:] == "R" * 1000


def test_the_file_with_the_most_lines_forgets_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flume_marks, "MAX_LINES", 3000)
    marks, small = Marks(), placed(numbered(500))
    taken(marks, small, "/in/small.log", "idle")
    for at in range(0, 50_000, 500):
        taken(marks, placed(numbered(500, at), at * 20))
    assert taken(marks, small, "/in/small.log", "idle") == "R" * 500


@pytest.mark.parametrize(
    ("file", "origins"),
    [
        ("/in/app.log", []),
        ("/in/app.log.1", ["/in/app.log", "/in/app.log.0"]),
        ("/in/app.log.10", ["/in/app.log", "/in/app.log.9"]),
        ("/in/app.log-20260131", ["/in/app.log", "/in/app.log-20260130"]),
        ("/in/app.log.2026-01-31", ["/in/app.log"]),
        ("/in/app.log.old", ["/in/app.log"]),
        ("/in/worker-2.log", []),
        ("1", []),
    ],
)
def test_what_a_rotated_file_was_called_before(file: str, origins: list[str]) -> None:
    assert origins_of(file)[:1] == origins[:1]
    assert set(origins) <= {*origins_of(file), "/in/app.log-20260130"}


def test_a_file_read_again_under_the_name_that_a_rotation_gave_it_lands_once() -> None:
    marks, old, new = Marks(), placed([FILE[0], *numbered(20)]), placed([FILE[0], *numbered(20, 500)])
    taken(marks, old[:18])
    # With what nobody had read before the rotation.
    assert taken(marks, old, "/in/app.log.1") == "R" * 18 + "NNN"
    assert taken(marks, new[:1]) == "D"
    assert "R" not in taken(marks, new[1:])
    # And again: each file moves on by a name.
    assert taken(marks, old, "/in/app.log.2") == "R" * 21
    assert taken(marks, new, "/in/app.log.1") == "R" * 21


def test_a_large_file_read_again_after_a_rotation_lands_once_but_for_what_does_not_prove_it() -> None:
    marks, old = Marks(), placed([FILE[0], *numbered(500)])
    taken(marks, old)
    assert taken(marks, old[:30], "/in/app.log.1") == "D" * 30
    assert taken(marks, old[30:60], "/in/app.log.1") == "D" * 30
    assert taken(marks, old[60:450], "/in/app.log.1") == "R" * 390
    # The next receiver cannot know.
    for known, rest in ((copied(marks), "D" * 51), (marks, "R" * 51)):
        assert taken(known, [*old[450:], (9999, b"new")], "/in/app.log.1") == f"{rest}N"
        assert taken(known, old, "/in/app.log.1") == "R" * 501


def test_a_file_that_only_begins_like_one_before_a_rotation_loses_nothing() -> None:
    marks, old, other = Marks(), placed([FILE[0], *numbered(20)]), placed([FILE[0], *numbered(8), b"another", b"end"])
    taken(marks, old)
    assert taken(marks, other[:9], "/in/app.log.1") == "D" * 9
    assert "R" not in taken(marks, other[9:], "/in/app.log.1")
    assert taken(marks, other, "/in/app.log.1") == "R" * 11
    # Neither another agent's, nor one whose name no rotation makes, nor a few lines that any file may begin with.
    assert taken(marks, old, "/in/app.log.1", "two") == "N" * 21
    assert taken(marks, old, "/in/other.log") == "N" * 21
    taken(marks, old[:3], "/in/b.log")
    assert taken(marks, old[:3], "/in/b.log.1") == "DDD"


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["/in/app.log", "/in/app.log.1", "/in/app.log.2"]),
        st.dictionaries(st.integers(0, 12), st.sampled_from([b"a", b"b", b"c"]), min_size=1),
    ),
    max_size=20,
)


@given(RUNS)
def test_whatever_comes_nothing_is_left_out_whose_body_was_not_landed_from_its_place(
    runs: list[tuple[str, dict[int, bytes]]],
) -> None:
    marks, was_landed = Marks(), set()
    for number, (file, lines) in enumerate(runs):
        for place, letter in zip(sorted(lines), taken(marks, sorted(lines.items()), file), strict=True):
            line = (place, lines[place])
            names = [file, *origins_of(file), *(name for one in origins_of(file) for name in origins_of(one))]
            assert letter != "R" or any((name, *line) in was_landed for name in names)
            was_landed.add((file, *line))
        marks = copied(marks) if number % 3 == 2 else marks


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


KEY, B_LOG = key_of("one", "/in/app.log"), key_of("one", "/in/b.log")


def put(*bodies: bytes, key: str = KEY, doubtful: int = 0) -> dict[str, Put]:
    """Return what a put of a file's lines notes."""
    return {"1": Put({key: [Segment(remembered(placed(bodies)))]}, Doubts().more(doubtful, "one", "/in/app.log"))}


def deliver(storage: LocalStorage, root: Path, lines: list[bytes], batch: int = 2) -> None:
    """Send a file's lines as an agent does, from its start: what was taken is left out."""
    journal = Journal(storage, str(root))
    marks = journal.open()
    events = placed(lines)
    for number in range(0, len(events), batch):
        run = events[number : number + batch]
        judgement, segment = marks.take("one", "/in/app.log", remembered(run))
        verdicts = zip(run, judgement.verdicts, strict=True)
        new = [body for (_at, body), verdict in verdicts if verdict is not Verdict.REPEAT]
        if new:
            name = f"f-{len(list(root.glob('[!.]*'))):05d}-{new[0].decode()}.txt"
            notes = {"1": Put({KEY: [segment]}, Doubts())}
            journal.write(f"{root}/{name}", bytearray(b"".join(line + b"\n" for line in new)), notes)
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
                    journal.write(f"{root}/a.txt", bytearray(b"a\n"), put(b"a"))
                except Killed:
                    continue
            assert landed(root) == [b"a"]
            assert taken(Journal(LocalStorage(), str(root)).open(), [(0, b"a")]) == "R"


def test_of_two_receivers_in_one_folder_the_older_ends_and_neither_lands_twice(tmp_path: Path) -> None:
    older, younger = Journal(LocalStorage(), str(tmp_path)), Journal(LocalStorage(), str(tmp_path))
    older.open()
    older.write(f"{tmp_path}/a.txt", bytearray(b"a\n"), put(b"a"))
    assert taken(younger.open(), placed([b"a", b"b"])) == "RN"
    with pytest.raises(LandingEnded, match="another receiver for Flume"):
        older.write(f"{tmp_path}/b.txt", bytearray(b"b\n"), put(b"b"))
    younger.write(f"{tmp_path}/c.txt", bytearray(b"b\n"), put(b"b"))
    assert landed(tmp_path) == [b"a", b"b"]


def test_entries_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flume_journal, "_WHOLE_EVERY", 5)
    monkeypatch.setattr(flume_marks, "MAX_FILES", 10)
    journal = Journal(LocalStorage(), str(tmp_path))
    journal.open()
    for number in range(52):
        journal.write(f"{tmp_path}/{number}.txt", bytearray(b"x\n"), put(b"x", key=key_of("one", str(number))))
    assert len(list((tmp_path / FOLDER).iterdir())) <= 12
    marks = Journal(LocalStorage(), str(tmp_path)).open()
    assert list(marks.segments()) == [key_of("one", str(number)) for number in range(42, 52)]


def test_marks_that_are_larger_than_what_changes_are_written_more_seldom_but_not_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flume_journal, "_WHOLE_EVERY", 5)
    monkeypatch.setattr(flume_journal, "_WHOLE_AT_LATEST", 20)
    journal = Journal(LocalStorage(), str(tmp_path))
    journal.open()
    journal.write(f"{tmp_path}/all.txt", bytearray(b"x\n"), put(*numbered(5000)))
    for number in range(60):
        journal.write(f"{tmp_path}/{number}.txt", bytearray(b"x\n"), put(b"x", key=key_of("one", str(number))))
    sizes = [path.stat().st_size for path in (tmp_path / FOLDER).iterdir()]
    assert 5 < len(sizes) <= 23
    assert sum(size > 50_000 for size in sizes) <= 2


def test_doubtful_lines_are_counted_for_good_and_can_be_read_beside_a_receiver(tmp_path: Path) -> None:
    assert doubts_of(LocalStorage(), str(tmp_path)) == Doubts()
    for life in (1, 2):
        journal = Journal(LocalStorage(), str(tmp_path))
        journal.open()
        journal.write(f"{tmp_path}/{life}.txt", bytearray(b"a\nb\n"), put(b"a", b"b", doubtful=life))
        journal.write(f"{tmp_path}/{life}-.txt", bytearray(b"c\n"), put(b"c"))
    found = doubts_of(LocalStorage(), str(tmp_path))
    assert (found.lines, found.file, found.agent) == (3, "/in/app.log", "one")
    assert found.at is not None


# What a receiver of 0.1.0 left that had landed nine lines of one file and found that a path had been used twice.
OLDER = [
    {"lands": "", "whole": True, "marks": {}},
    {"lands": "flume-1.txt", "whole": False, "marks": {KEY: {"taken": [[0, 34]], "first": "7ab2", "reused": False}}},
    {"lands": "flume-2.txt", "whole": False, "marks": {KEY: {"taken": [[0, 55]], "first": "7ab2", "reused": False}}},
    {"lands": "flume-3.txt", "whole": False, "marks": {B_LOG: {"taken": [], "first": "2d71", "reused": True}}},
]


def left_by_0_1_0(root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    for number, entry in enumerate(OLDER, start=1):
        (root / FOLDER / f"{number:012d}.json").write_text(json.dumps(entry, ensure_ascii=False))
    for name, lines in (("flume-1", numbered(5)), ("flume-3", [b"y"])):
        (root / f"{name}.txt").write_bytes(b"".join(line + b"\n" for line in lines))
    # Killed between the entry and the rename.
    (root / FOLDER / "flume-2.txt").write_bytes(b"".join(line + b"\n" for line in numbered(3, 5)))


def test_the_journal_of_0_1_0_is_read_and_what_its_landed_files_hold_is_a_repeat(tmp_path: Path) -> None:
    left_by_0_1_0(tmp_path)
    lines = placed(numbered(12))
    # Twice, as the first receiver of this version may be killed too.
    for _ in range(2):
        marks = Journal(LocalStorage(), str(tmp_path)).open()
        assert landed(tmp_path) == [*numbered(8), b"y"]
        assert taken(marks, lines[3:]) == "RRRRRNNNN"
        assert taken(marks, lines[9:]) == "RRR"
    # Nothing is known of its bodies: not dropped for its place alone.
    marks = Journal(LocalStorage(), str(tmp_path)).open()
    assert taken(marks, placed([b"another", b"file of", b"that path"])) == "DDD"
    assert taken(marks, [(0, b"y"), (2, b"z")], "/in/b.log") == "DD"
    assert taken(marks, [(4, b"new")], "/in/b.log") == "N"


def test_without_its_landed_files_nothing_of_0_1_0_is_taken_for_a_repeat(tmp_path: Path) -> None:
    left_by_0_1_0(tmp_path)
    Journal(LocalStorage(), str(tmp_path)).open()
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    assert taken(Journal(LocalStorage(), str(tmp_path)).open(), placed(numbered(9))) == "DDDDDDDDN"


def test_0_1_0_takes_nothing_for_a_repeat_of_what_a_journal_of_today_says(tmp_path: Path) -> None:
    journal = Journal(LocalStorage(), str(tmp_path))
    journal.open()
    journal.write(f"{tmp_path}/a.txt", bytearray(b"a\n"), put(b"a"))
    [note] = json.loads((tmp_path / FOLDER / "000000000002.json").read_text())["marks"].values()
    assert (note["taken"], note["first"], note["reused"]) == ([], "", True)


def test_a_damaged_entry_is_one_line(tmp_path: Path) -> None:
    Journal(LocalStorage(), str(tmp_path)).open()
    (tmp_path / FOLDER / "000000000001.json").write_text('{"lands": ""')
    with pytest.raises(EnvironmentProblem, match="is damaged"):
        Journal(LocalStorage(), str(tmp_path)).open()

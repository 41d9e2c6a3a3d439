"""What `wordtide.sources.files.plan` takes, leaves and parks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtide.core.model import FileSplit, Taken
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.plan import LandingPlan, cut, plan_landing
from wordtide.storage import FileInfo

NOW = 1_800_000_000_000
OLD = NOW - 60_000
BLOCK = 1 << 20
EVERY_FILE = Stillness(0.0, NOW, 0.0, 0.0)
"""`min_age: 0s`."""


class Writers:
    """Answers whether a file is open, and remembers who asked."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self.asked: list[str] = []

    def have_open(self, path: str) -> bool:
        self.asked.append(path)
        return path in self.paths


def plan(*listing: FileInfo, taken=None, parked=(), writers=None, suspects=None, **limits) -> LandingPlan:
    settings = {"stillness": EVERY_FILE, "max_files": 100, "max_bytes": 1 << 30, **limits}
    under_construction = (writers or Writers()).have_open
    known = {path: Taken(*identity) for path, identity in (taken or {}).items()}
    return plan_landing(
        listing, known, parked, under_construction=under_construction, suspects=suspects or {}, **settings
    )


def file(path: str, length: int = 10, mtime: int = OLD, block: int = BLOCK) -> FileInfo:
    return FileInfo(path, length, mtime, block)


def paths(result: LandingPlan) -> list[str]:
    return [split.path for split in result.splits]


def test_an_unknown_file_is_taken_whole_and_a_taken_one_is_not():
    result = plan(file("/l/new", 7), file("/l/old"), taken={"/l/old": (10, OLD)})
    assert result.splits == (FileSplit("/l/new", 7, OLD, 0, 7),)
    assert (result.parked, result.waiting, result.backlog_files, result.behind) == ((), 0, 1, False)


def test_an_mtime_is_no_cursor_older_files_are_still_new():
    assert paths(plan(file("/l/b", mtime=1), taken={"/l/a": (10, OLD)})) == ["/l/b"]


@pytest.mark.parametrize("now", [(11, OLD), (10, OLD + 1), (9, OLD - 1)])
def test_a_taken_path_with_another_identity_is_parked_with_both_identities(now):
    result = plan(file("/l/a", *now), taken={"/l/a": (10, OLD)})
    assert result.splits == ()
    (parked,) = result.parked
    assert (parked.what, parked.split) == ("/l/a", FileSplit("/l/a", *now, 0, now[0]))
    assert "10 bytes of 2027-01-15T07:59:00.000+00:00" in parked.reason
    assert f"now {now[0]} bytes of" in parked.reason


def test_a_parked_path_is_left_alone():
    result = plan(
        file("/l/a.xz"), file("/l/b", 11), file("/l/c"), taken={"/l/b": (10, OLD)}, parked={"/l/a.xz", "/l/b", "/l/c"}
    )
    assert result == LandingPlan((), (), 0, 0, 0, False)


def test_a_name_that_is_not_utf8_is_parked_under_its_escapes():
    path = b"/l/caf\xe9.txt".decode("utf-8", "surrogateescape")
    (parked,) = plan(file(path)).parked
    assert parked.what == "/l/caf\\udce9.txt"
    assert "not UTF-8" in parked.reason
    assert plan(file(path), parked={parked.what}).parked == ()


@pytest.mark.parametrize("name", ["a", "a.xz", "replaced"])
def test_a_young_file_waits_whatever_will_become_of_it(name):
    young = file(f"/l/{name}", mtime=NOW - 1)
    result = plan(young, taken={"/l/replaced": (1, 1)}, stillness=Stillness(0.0, NOW, 5.0, 5.0))
    assert result == LandingPlan((), (), 1, 0, 0, False, (young,))


def test_only_files_that_an_open_one_can_pass_for_are_asked_about():
    writers = Writers("/l/empty", "/l/blocks", "/l/more", "/l/suspect")
    result = plan(
        file("/l/empty", 0), file("/l/local-empty", 0, block=0), file("/l/block", BLOCK), file("/l/blocks", 3 * BLOCK),
        file("/l/more", BLOCK + 1), file("/l/local", BLOCK, block=0), file("/l/suspect", 10),
        writers=writers, suspects={"/l/suspect": 1},
    )  # fmt: skip
    assert sorted(writers.asked) == ["/l/block", "/l/blocks", "/l/empty", "/l/local-empty", "/l/suspect"]
    assert paths(result) == ["/l/block", "/l/local", "/l/local-empty", "/l/more"]
    assert (result.waiting, result.backlog_files, result.backlog_bytes) == (3, 4, 3 * BLOCK + 1)
    assert not result.behind


def test_the_oldest_come_first_and_paths_settle_ties():
    result = plan(file("/l/c", mtime=1), file("/l/b", mtime=2), file("/l/a", mtime=2))
    assert paths(result) == ["/l/c", "/l/a", "/l/b"]


def test_caps_leave_the_rest_as_backlog():
    listing = [file(f"/l/{n}", 10, OLD + n) for n in range(9)]
    by_files = plan(*listing, max_files=4)
    assert (len(by_files.splits), by_files.backlog_files, by_files.backlog_bytes, by_files.behind) == (4, 9, 90, True)
    by_bytes = plan(*listing, max_bytes=49)
    assert (len(by_bytes.splits), by_bytes.behind) == (4, True)
    exact = plan(*listing, max_bytes=90, max_files=9)
    assert (len(exact.splits), exact.behind) == (9, False)


def test_a_file_above_the_cap_is_taken_alone():
    result = plan(file("/l/huge", 1000, OLD - 1), file("/l/b"), max_bytes=100)
    assert (paths(result), result.behind) == (["/l/huge"], True)


def test_open_files_do_not_use_up_the_cap():
    result = plan(
        file("/l/a", 0, 1), file("/l/b", 0, 2), file("/l/c", 5, 3), writers=Writers("/l/a", "/l/b"), max_files=1
    )
    assert (paths(result), result.waiting, result.behind) == (["/l/c"], 2, False)


def test_a_file_that_was_never_as_planned_must_keep_still_for_a_while():
    listing = [file("/l/a", mtime=NOW - 400), file("/l/b", mtime=NOW - 1000), file("/l/c", mtime=NOW)]
    suspects = {"/l/a": 10, "/l/b": 10, "/l/c": 9}
    result = plan(*listing, suspects=suspects)
    assert (paths(result), result.waiting) == (["/l/b", "/l/c"], 1)


@given(st.integers(0, 100), st.integers(1, 40))
def test_cuts_of_a_plain_file_cover_it_without_overlap(length, size):
    parts = cut(FileSplit("/l/a", length, 1, 0, length), size)
    assert [part.start for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == length
    assert all(part.end - part.start <= size and part.length == length for part in parts)

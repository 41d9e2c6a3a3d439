"""When a landed file is complete: by our own clock, whatever the file server's says."""

import pytest

from wordtide.sources.files.complete import Stillness, still_seconds
from wordtide.storage import FileInfo

NOW = 1_800_000_000_000
HOUR = 3_600_000


def poll(at: float, sighted=None, *, min_age: float = 5.0, still: float = 5.0, clock: int = NOW) -> Stillness:
    return Stillness(at, clock + round(at * 1000), min_age, still, sighted or {})


def file(age_ms: int, length: int = 10, path: str = "/l/a") -> FileInfo:
    return FileInfo(path, length, NOW - age_ms, 0)


def young(stillness: Stillness, one: FileInfo) -> bool:
    return one.mtime_ms > stillness.young_after_ms


@pytest.mark.parametrize("age_ms", [0, 4_999, 5_000, 3_000_000, -HOUR - 60_000, -(10**12)])
def test_a_file_of_about_now_is_complete_when_two_polls_min_age_apart_saw_it_unchanged(age_ms):
    one = file(age_ms)
    first = poll(0.0)
    assert young(first, one)
    assert not first.is_complete(one)
    sighted = first.sight([one])
    assert first.due(sighted) == 5.0
    assert not poll(4.9, sighted).is_complete(one)
    assert poll(5.0, sighted).is_complete(one)


@pytest.mark.parametrize("changed", [FileInfo("/l/a", 11, NOW, 0), FileInfo("/l/a", 10, NOW + 1, 0)])
def test_a_file_that_changed_between_two_polls_begins_anew(changed):
    sighted = poll(0.0).sight([file(0)])
    second = poll(6.0, sighted)
    assert not second.is_complete(changed)
    again = second.sight([changed])
    assert second.due(again) == 11.0
    assert poll(11.0, again).is_complete(changed)


def test_the_clock_of_a_server_that_is_ahead_makes_a_file_wait_twice_as_long():
    one = file(-60_000)
    sighted = poll(0.0).sight([one])
    assert poll(0.0).due(sighted) == 10.0
    assert not poll(6.0, sighted).is_complete(one)
    assert poll(10.0, sighted).is_complete(one)


def test_a_file_older_than_an_hour_is_not_young_and_without_min_age_none_is():
    assert not young(poll(0.0), file(HOUR))
    assert young(poll(0.0), file(HOUR - 1))
    assert not young(poll(0.0, min_age=0.0), file(0))


def test_a_min_age_longer_than_a_run_is_held_against_the_clock_as_well():
    assert still_seconds(7200.0, 600.0) == 300.0
    one = file(HOUR + 1)
    sighted = poll(0.0, min_age=7200.0, still=300.0).sight([one])
    later = poll(300.0, sighted, min_age=7200.0, still=300.0)
    assert young(later, one)
    assert not later.is_complete(one)
    assert poll(3600.0, sighted, min_age=7200.0, still=300.0).is_complete(one)


def test_only_files_that_still_wait_are_remembered_and_only_regular_polls_take_in_new_ones():
    a, b, c = (file(0, path=f"/l/{name}") for name in "abc")
    sighted = poll(0.0).sight([a, b])
    kept = poll(2.0, sighted).sight([b, c], new=False)
    assert set(kept) == {"/l/b"}
    assert poll(2.0, sighted).sight([b, c])["/l/c"] == (c, 2.0)
    assert poll(2.0).due({}) is None


@pytest.mark.parametrize(("age_ms", "looks"), [(4_999, False), (5_000, True), (-4_999, False), (-5_000, True)])
def test_what_looks_complete_by_the_clocks_is_worth_a_run(age_ms, looks):
    assert poll(0.0).looks_complete(file(age_ms)) is looks

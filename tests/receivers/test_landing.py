"""The lander: by size or age, durable when it says so, and never a byte lost or twice while it lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.receivers.support import files_in, names_in
from tests.support import SECONDS, wait_until
from wordtide.core.problems import EnvironmentProblem, SourceUnavailable
from wordtide.receivers import landing
from wordtide.receivers.backoff import Backoff
from wordtide.receivers.landing import Lander, Limits
from wordtide.receivers.metrics import Metrics
from wordtide.sources.files.names import is_candidate
from wordtide.storage import FileInfo, LocalStorage

LONG = 3600.0


class Frail(LocalStorage):
    """A local disk that fails, or hangs, when told to."""

    __slots__ = ("after", "away", "open", "tries")

    def __init__(self) -> None:
        for name, value in {"away": False, "after": False, "tries": 0, "open": threading.Event()}.items():
            object.__setattr__(self, name, value)
        self.open.set()

    def be(self, **state: bool) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
        object.__setattr__(self, "tries", self.tries + 1)
        assert self.open.wait(SECONDS)
        if self.away:
            raise SourceUnavailable("the disk is away; fetch it")
        length = super().write_durably(path, chunks, private=private)
        if self.after:
            raise SourceUnavailable("nobody answers")
        return length


class Setting:
    """A lander on a frail disk."""

    def __init__(self, root: Path, max_bytes: int, max_age_s: float) -> None:
        self.root = str(root)
        self.disk = Frail()
        self.metrics = Metrics()
        self.said: list[str] = []
        self.lander = Lander(self.disk, self.root, "test", Limits(max_bytes, max_age_s), self.metrics, self.said.append)

    @property
    def files(self) -> list[bytes]:
        return files_in(LocalStorage(), self.root)

    @property
    def names(self) -> list[str]:
        return names_in(LocalStorage(), self.root)


@contextmanager
def landing_in(root: Path, max_bytes: int = 100, max_age_s: float = LONG) -> Iterator[Setting]:
    setting = Setting(root, max_bytes, max_age_s)
    setting.lander.start()
    try:
        yield setting
    finally:
        setting.disk.open.set()
        setting.disk.be(away=False, after=False)
        setting.lander.close(SECONDS)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(landing, "_LONGEST_PAUSE", 0.05)


def test_a_file_is_closed_before_it_grows_beyond_its_size(tmp_path: Path) -> None:
    with landing_in(tmp_path / "made" / "here") as it:
        for _ in range(5):
            it.lander.put(b"x" * 40, 1)
        tickets = [it.lander.put(b"y" * 250, 1), it.lander.put(b"z" * 30, 1)]
        assert tickets[0].wait(SECONDS)
        assert not tickets[1].wait(0)
    assert [len(content) for content in it.files] == [80, 80, 40, 250, 30]
    assert it.names == sorted(it.names)
    assert all(is_candidate(name, "**/*.txt") for name in it.names)


def test_age_lands_what_has_no_size(tmp_path: Path) -> None:
    with landing_in(tmp_path, max_age_s=0.05) as it:
        assert it.lander.put(b"one\n", 1).wait(SECONDS)
        assert it.files == [b"one\n"]


def test_a_ticket_says_durable_only_after_the_write_and_puts_meanwhile_share_the_next_file(tmp_path: Path) -> None:
    with landing_in(tmp_path, max_age_s=0) as it:
        it.disk.open.clear()
        first = it.lander.put(b"1\n", 1)
        wait_until("the first is being written", lambda: it.disk.tries == 1)
        with ThreadPoolExecutor(8) as pool:
            others = list(pool.map(lambda n: it.lander.put(f"{n}\n".encode(), 1), range(2, 10)))
        assert not first.wait(0.05)
        it.disk.open.set()
        assert all(ticket.wait(SECONDS) for ticket in [first, *others])
        assert (len(it.files), it.disk.tries) == (2, 2)
        assert sorted(b"".join(it.files).split()) == [b"%d" % n for n in range(1, 10)]


def test_a_failing_disk_stops_the_room_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    with landing_in(tmp_path) as it:
        it.disk.be(away=True)
        sent = []
        while it.lander.has_room(0) and len(sent) < 100:
            sent.append(b"%04d\n" % len(sent))
            it.lander.put(sent[-1], 1)
        assert len(sent) == 40
        wait_until("several tries", lambda: it.disk.tries > 3)
        assert not it.lander.has_room(0.05)
        assert (it.files, len(it.said)) == ([], 1)
        assert it.said[0].startswith("the disk is away; trying until it works; ")
        assert it.metrics.snapshot().waiting_bytes == 200
        it.disk.be(away=False)
        assert it.lander.has_room(SECONDS)
    assert b"".join(it.files) == b"".join(sent)
    assert len(it.said) == 2
    assert "landing again" in it.said[1]
    seen = it.metrics.snapshot()
    assert (seen.waiting_bytes, seen.landed_bytes, seen.events, seen.files) == (0, 200, 40, 2)


def test_a_write_that_worked_without_our_hearing_of_it_is_not_repeated(tmp_path: Path) -> None:
    with landing_in(tmp_path, max_age_s=0) as it:
        it.disk.be(after=True)
        assert it.lander.put(b"once\n", 1).wait(SECONDS)
        assert it.disk.tries == 2
        it.disk.be(after=False)
        assert it.files == [b"once\n"]


def test_what_cannot_be_landed_at_the_end_is_said_with_its_size(tmp_path: Path) -> None:
    it = Setting(tmp_path, 100, LONG)
    it.lander.start()
    it.disk.be(away=True)
    it.lander.put(b"12345678\n", 1)
    with pytest.raises(EnvironmentProblem, match=r"9 received bytes could not be landed .* \(the disk is away\)"):
        it.lander.close(0.2)
    with pytest.raises(EnvironmentProblem, match="nothing lands any more"):
        it.lander.put(b"late\n", 1)


def test_a_storage_that_comes_back_during_the_end_gets_everything(tmp_path: Path) -> None:
    with landing_in(tmp_path) as it:
        it.disk.be(away=True)
        it.lander.put(b"a\n", 1)
        threading.Timer(0.2, lambda: it.disk.be(away=False)).start()
        it.lander.close(SECONDS)
        assert it.files == [b"a\n"]


def test_a_write_that_hangs_does_not_keep_the_end_from_coming(tmp_path: Path) -> None:
    it = Setting(tmp_path, 100, 0)
    it.lander.start()
    it.disk.open.clear()
    it.lander.put(b"a\n", 1)
    wait_until("it is being written", lambda: it.disk.tries == 1)
    with pytest.raises(EnvironmentProblem, match="2 received bytes could not be landed"):
        it.lander.close(0)
    it.disk.open.set()


def test_a_write_that_hangs_is_said_once_and_its_end_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "_HANGS_AFTER", 0.0)
    with landing_in(tmp_path, max_age_s=0) as it:
        it.disk.open.clear()
        ticket = it.lander.put(b"a\n", 1)
        wait_until("it is being written", lambda: it.disk.tries == 1)
        time.sleep(0.01)
        it.lander.watch()
        it.lander.watch()
        it.disk.open.set()
        assert ticket.wait(SECONDS)
        it.lander.watch()
        assert [line.partition(": ")[2][:20] for line in it.said] == ["a write neither ends", "the write that hung "]


def test_a_mistake_in_the_program_surfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Setting(tmp_path, 100, 0)

    def mistaken(*_arguments: object, **_options: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(Frail, "write_durably", mistaken)
    it.lander.start()
    it.lander.put(b"a\n", 1)
    wait_until("it has ended", lambda: not it.lander.has_room(0))
    with pytest.raises(ZeroDivisionError):
        it.lander.watch()
    with pytest.raises(ZeroDivisionError):
        it.lander.close(1)


def test_somebody_elses_file_of_another_length_is_never_taken_for_ours(tmp_path: Path) -> None:
    class Occupied(Frail):
        def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
            if self.away:
                raise FileExistsError(path)
            return super().write_durably(path, chunks, private=private)

        def stat(self, path: str) -> FileInfo:
            return FileInfo(path, 1, 0, 0)

    it = Setting(tmp_path, 100, 0)
    disk = Occupied()
    disk.be(away=True)
    lander = Lander(disk, str(tmp_path), "test", Limits(100, 0), it.metrics, it.said.append)
    lander.start()
    ticket = lander.put(b"a\n", 1)
    assert not ticket.wait(0.1)
    disk.be(away=False)
    assert ticket.wait(SECONDS)
    lander.close(SECONDS)
    assert it.files == [b"a\n"]


def test_landers_side_by_side_never_share_a_name_and_odd_prefixes_are_no_hidden_files(tmp_path: Path) -> None:
    several = [Setting(tmp_path, 10, 0) for _ in range(3)]
    for it in several:
        it.lander.start()
    for number in range(20):
        several[number % 3].lander.put(b"%08d\n" % number, 1)
    for it in several:
        it.lander.close(SECONDS)
    assert sorted(several[0].files) == [b"%08d\n" % number for number in range(20)]
    odd = Lander(LocalStorage(), str(tmp_path / "odd"), "._x/.inprogress", Limits(10, 0), Metrics(), print)
    odd.start()
    odd.put(b"a", 1)
    odd.close(SECONDS)
    assert all(is_candidate(name, "**/*") for name in names_in(LocalStorage(), str(tmp_path / "odd")))


def test_pauses_grow_to_their_bound_and_begin_anew() -> None:
    pauses = Backoff(1.0, 5.0)
    for most in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert most / 2 <= pauses.next() <= most
    pauses.reset()
    assert pauses.next() <= 1.0

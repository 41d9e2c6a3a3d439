"""`landing.after`: what was counted is put away after its commit, and nothing else is, whatever happens meanwhile."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hdfs_native import Client

import wordtide.sources.files.departures
from tests.support import Place, assert_numbered, decide, open_to_append, unique, words_of
from wordtide.config import Stream
from wordtide.core.model import Committed, Decision, Taken, Verdict
from wordtide.core.problems import ConfigError, DecisionRefused, WordtideError
from wordtide.drain.loop import Step
from wordtide.repair.recount import find_published, publish, recount
from wordtide.repair.resolve import existing
from wordtide.sources.files.archive import STAGING, PutAway
from wordtide.sources.files.source import LandingFolder
from wordtide.storage import NoFolder, Storage, storage_for
from wordtide.table.ledger import Ledger
from wordtide.testing.files import set_mtime

LINES = b"one two\n"


class Corner:
    """A landing folder and an archive beside it, on one of the two storages."""

    def __init__(self, place: Place, on: str) -> None:
        self.place = place
        base = str(place.folder) if on == "local" else f"hdfs:///{unique('putaway')}"
        self.landing, self.archive = f"{base}/landing", f"{base}/done"
        self.storage, self.root = storage_for(self.landing, place.hdfs)
        self.archived_root = storage_for(self.archive, place.hdfs)[1]

    def stream(self, after: str, **config: Any) -> Stream:
        """Return the stream, its counted files put away in some way."""
        written = f"archive {self.archive}" if after == "archive" else after
        return self.place.folder_stream(landing=self.landing, after=written, **config)

    def land(self, name: str, content: bytes = LINES) -> str:
        self.storage.write_durably(f"{self.root}/{name}", [content])
        return f"{self.root}/{name}"

    def replace(self, name: str, content: bytes) -> None:
        self.storage.delete(f"{self.root}/{name}")
        self.land(name, content)

    def source(self, stream: Stream, storage: Any) -> LandingFolder:
        """Return the source on a storage with a hook in it."""
        archive = self.archived_root if stream.archive else None
        return LandingFolder(stream, storage, self.root, archive)

    def landed(self) -> set[str]:
        return self._held(self.root)

    def archived(self) -> set[str]:
        return self._held(self.archived_root)

    def staged(self) -> set[str]:
        """Return what is in the staging folder, without the names of its attempts."""
        return {name.partition("/")[2] for name in self._held(f"{self.root}/{STAGING}")}

    def _held(self, root: str) -> set[str]:
        try:
            return {file.path.removeprefix(f"{root}/") for file in self.storage.list_files(root)}
        except NoFolder:
            return set()


@pytest.fixture(params=["local", "hdfs"])
def corner(request: pytest.FixtureRequest, place: Place) -> Corner:
    return Corner(place, request.param)


class Hooked:
    """A storage that does something else before a call, or instead of it if that raises."""

    def __init__(self, storage: Storage, **hooks: Callable[..., None]) -> None:
        self._storage = storage
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if name not in self._hooks:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            self._hooks[name](*arguments)
            return method(*arguments, **options)

        return call


class Killed(RuntimeError):
    """Stands for the end of the process at this point."""


def killed(*_arguments: Any) -> None:
    raise Killed


def test_keep_is_the_default_and_touches_nothing(corner: Corner) -> None:
    stream = corner.place.folder_stream(landing=corner.landing)
    corner.land("a.txt")
    corner.place.drain(stream)
    assert corner.landed() == {"a.txt"}
    assert not corner.storage.exists(f"{corner.root}/{STAGING}")


@pytest.mark.parametrize("after", ["delete", "archive"])
def test_what_its_id_proves_to_be_counted_is_put_away_without_being_read_again(corner: Corner, after: str) -> None:
    stream = corner.stream(after)
    corner.land("a.txt")
    read: list[str] = []
    hooked = Hooked(corner.storage, read_range=lambda path, *_: read.append(path))
    corner.place.drain(stream, source=corner.source(stream, hooked))
    assert (read, corner.landed(), corner.staged()) == ([], set(), set())


def test_counted_files_are_deleted_and_stay_counted(corner: Corner) -> None:
    stream = corner.stream("delete")
    names = ["a.txt", "b/two words 100%.txt", "b/c/line\nend größer.txt", "empty.txt"]
    for name in names:
        corner.land(name, b"" if name == "empty.txt" else LINES)
    for _ in range(2):
        corner.place.drain(stream)
        assert corner.landed() == set()
        assert not corner.storage.exists(f"{corner.root}/{STAGING}")
    assert corner.place.counted(stream) == {"one": 3, "two": 3}
    assert [row["status"] for row in corner.place.ledger(stream)] == ["founded", "published", "put away"]
    corner.land("b/d.txt", b"later\n")
    corner.place.drain(stream)
    assert corner.landed() == set()
    assert corner.place.counted(stream)["later"] == 1


def test_counted_files_are_archived_under_their_relative_path_with_their_identity(corner: Corner) -> None:
    stream = corner.stream("archive")
    names = {"a.txt", "b/two words.txt", "b/c/d.txt"}
    before = {name: corner.storage.stat(corner.land(name)) for name in names}
    corner.place.drain(stream)
    assert (corner.landed(), corner.archived()) == (set(), names)
    for name, was in before.items():
        found = corner.storage.stat(f"{corner.archived_root}/{name}")
        assert (found.length, found.mtime_ms) == (was.length, was.mtime_ms)


def test_what_was_counted_before_is_put_away_by_a_later_look(corner: Corner) -> None:
    corner.land("a.txt")
    corner.place.drain(corner.place.folder_stream(landing=corner.landing))
    stream = corner.stream("archive")
    corner.place.drain(stream)
    assert [row["status"] for row in corner.place.ledger(stream)] == ["founded", "published", "put away"]
    assert (corner.landed(), corner.archived()) == (set(), {"a.txt"})


def test_an_archive_may_be_a_hidden_folder_in_the_landing_folder(corner: Corner) -> None:
    corner.archive = f"{corner.landing}/.done"
    corner.archived_root = f"{corner.root}/.done"
    stream = corner.stream("archive")
    corner.land("a.txt")
    for _ in range(2):
        corner.place.drain(stream)
    assert (corner.landed(), corner.archived()) == (set(), {"a.txt"})
    assert corner.place.counted(stream) == {"one": 1, "two": 1}


def test_a_name_that_the_archive_has_already_gets_a_suffix(corner: Corner) -> None:
    stream = corner.stream("archive")
    corner.storage.write_durably(f"{corner.archived_root}/a.txt", [b"foreign\n"])
    corner.storage.mkdirs(f"{corner.archived_root}/a.txt.1")
    corner.land("a.txt")
    corner.place.drain(stream)
    assert (corner.landed(), corner.archived()) == (set(), {"a.txt", "a.txt.2"})
    assert b"".join(corner.storage.read_range(f"{corner.archived_root}/a.txt", 0, 99)) == b"foreign\n"


def test_many_are_put_away_a_few_at_a_time_until_none_is_left(corner: Corner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordtide.sources.files.departures, "PUT_AWAY_AT_ONCE", 2)
    stream = corner.stream("archive", max_files=5)
    for number in range(11):
        corner.land(f"{number % 3}/{number}.txt")
    corner.place.drain(stream)
    assert corner.landed() == set()
    assert len(corner.archived()) == 11
    assert corner.place.counted(stream) == {"one": 11, "two": 11}


# --- what must stay


def test_a_replaced_file_stays_and_so_does_one_that_was_skipped_until_it_is_recounted(corner: Corner) -> None:
    place = corner.place
    kept = place.folder_stream(landing=corner.landing)
    path = corner.land("a.txt")
    place.drain(kept)
    stream = corner.stream("delete")
    corner.replace("a.txt", b"one two three\n")
    corner.land("broken.gz", b"\x1f\x8b\x08no gzip\n")
    parked = {path, f"{corner.root}/broken.gz"}
    assert set(place.drain(stream).parked) == parked
    assert corner.landed() == {"a.txt", "broken.gz"}
    for what in parked:
        decide(place, stream, what, "skip")
    for _ in range(2):
        assert place.drain(stream).parked == []
        assert corner.landed() == {"a.txt", "broken.gz"}
    corner.replace("a.txt", b"four\n")
    place.drain(stream)
    decide(place, stream, path, "recount")
    place.drain(stream)
    assert corner.landed() == {"broken.gz"}
    assert +place.counted(stream) == {"four": 1}


def test_what_cannot_be_read_stays(corner: Corner) -> None:
    stream = corner.stream("delete")
    corner.land("a.gz", b"\x1f\x8b\x08no gzip\n")
    corner.land("a.xz", b"\xfd7zXZ\0")
    corner.land("_hidden.txt")
    corner.land("b.txt")
    corner.place.drain(stream)
    assert corner.landed() == {"a.gz", "a.xz", "_hidden.txt"}


@pytest.mark.parametrize("after", ["delete", "archive"])
def test_a_file_that_took_the_counted_ones_name_a_moment_ago_goes_back_and_is_parked(
    corner: Corner, after: str
) -> None:
    stream = corner.stream(after)
    path = corner.land("b/a.txt")
    once = threading.Lock()

    def replace(source: str, _target: str) -> None:
        if source == path and once.acquire(blocking=False):
            corner.replace("b/a.txt", b"somebody else's\n")

    source = corner.source(stream, Hooked(corner.storage, rename=replace))
    corner.place.drain(stream, source=source)
    assert (corner.landed(), corner.archived(), corner.staged()) == ({"b/a.txt"}, set(), set())
    assert corner.place.drain(stream).parked == [path]
    assert corner.landed() == {"b/a.txt"}
    assert b"".join(corner.storage.read_range(path, 0, 99)) == b"somebody else's\n"
    assert corner.place.counted(stream) == {"one": 1, "two": 1}


def test_a_folder_that_took_the_counted_files_name_goes_back_with_all_it_holds(corner: Corner) -> None:
    stream = corner.stream("delete")
    path = corner.land("a.txt")

    def become_folder(source: str, _target: str) -> None:
        if source == path and corner.storage.delete(path):
            corner.land("a.txt/inside.txt", b"inside\n")

    source = corner.source(stream, Hooked(corner.storage, rename=become_folder))
    source._storage = corner.storage  # only what puts away meets the folder
    corner.place.drain(stream, source=source)
    corner.place.drain(stream)
    assert (corner.landed(), corner.staged()) == (set(), set())
    assert corner.place.counted(stream) == {"one": 1, "two": 1, "inside": 1}


def test_of_a_file_replaced_twice_meanwhile_neither_is_lost_and_it_is_said(corner: Corner) -> None:
    stream = corner.stream("delete")
    path = corner.land("a.txt")

    def replace(source: str, _target: str) -> None:
        if source == path:
            corner.replace("a.txt", b"second\n")

    def replace_again(staged: str) -> None:
        if STAGING in staged and not corner.storage.exists(path):
            corner.land("a.txt", b"the third\n")

    source = corner.source(stream, Hooked(corner.storage, rename=replace, stat=replace_again))
    for one in (source, None):
        with pytest.raises(WordtideError, match=r"a\.txt: was replaced again .* is now .*a\.txt: move it"):
            corner.place.drain(stream, source=one)
        assert (corner.landed(), corner.staged()) == ({"a.txt"}, {"a.txt"})
    assert corner.place.counted(stream) == {"one": 1, "two": 1}


def test_a_file_that_somebody_is_appending_to_stays(place: Place) -> None:
    corner = Corner(place, "hdfs")
    kept = place.folder_stream(landing=corner.landing)
    path = corner.land("a.txt")
    place.drain(kept)
    writer = open_to_append(Client(place.cluster.hdfs), path)
    stream = corner.stream("delete")
    place.drain(stream)
    assert (corner.landed(), corner.staged()) == ({"a.txt"}, set())
    writer.write(b"three\n")
    writer.close()
    assert place.drain(stream).parked == [path]
    assert corner.landed() == {"a.txt"}


# --- a name that is used again


def deliver(corner: Corner, content: bytes) -> None:
    """Land the same name with the same time, as senders with a fixed one do."""
    corner.land("today.txt", content)
    set_mtime(corner.storage, f"{corner.root}/today.txt", 1_700_000_000_000)


@pytest.mark.parametrize("after", ["delete", "archive"])
def test_a_name_that_was_put_away_is_free_for_another_file_also_of_the_same_length_and_time(
    corner: Corner, after: str
) -> None:
    stream = corner.stream(after)
    for content in (b"one two\n", b"six ten\n", b"six ten\n", b"and one more\n"):
        deliver(corner, content)
        assert corner.place.drain(stream).parked == []
        assert corner.landed() == set()
    assert corner.place.counted(stream) == {"one": 2, "two": 1, "six": 2, "ten": 2, "and": 1, "more": 1}
    caught_up = existing(corner.place.table(stream)).ledger
    assert (caught_up.files, caught_up.taken) == ({}, 4)


def test_a_corrupt_file_under_a_name_that_was_put_away_takes_nothing_away_from_those_before(corner: Corner) -> None:
    stream, place = corner.stream("delete"), corner.place
    corner.land("a.gz", gzip.compress(b"one\n"))
    place.drain(stream)
    path = corner.land("a.gz", gzip.compress(b"two\n")[:-3])
    assert place.drain(stream).parked == [path]
    corner.replace("a.gz", gzip.compress(b"three\n"))
    decide(place, stream, path, "recount")
    assert place.counted(stream) == {"one": 1, "three": 1}
    place.drain(stream)
    assert corner.landed() == set()


def test_a_ledger_that_is_read_whole_is_the_one_that_was_caught_up_whatever_was_put_away(corner: Corner) -> None:
    stream, known = corner.stream("delete"), None
    for number in range(4):
        deliver(corner, b"%d\n" % number)
        corner.land(f"{number}.txt")
        corner.place.drain(stream)
        known = corner.place.table(stream).snapshot(known.ledger if known else None)
    assert known is not None
    assert known.ledger == existing(corner.place.table(stream)).ledger


def test_other_bytes_of_the_same_length_and_time_are_not_put_away(corner: Corner) -> None:
    stream = corner.stream("delete")
    deliver(corner, b"one two\n")
    path = f"{corner.root}/today.txt"
    once = threading.Lock()

    def exchange(source: str, *_target: str) -> None:
        if source == path and STAGING not in source and once.acquire(blocking=False):
            corner.storage.delete(path)
            deliver(corner, b"six ten\n")

    source = corner.source(stream, corner.storage)
    source._putaway = source._departures._putaway = PutAway(
        Hooked(corner.storage, rename=exchange),  # type: ignore[arg-type]
        corner.root,
        None,
        keep=False,
    )
    corner.place.drain(stream, source=source)
    assert (corner.landed(), corner.staged()) == ({"today.txt"}, set())
    assert b"".join(corner.storage.read_range(path, 0, 99)) == b"six ten\n"
    assert corner.place.counted(stream) == {"one": 1, "two": 1}


# --- killed between the steps


@pytest.mark.parametrize(
    ("after", "step"),
    [
        ("delete", "stat"),
        ("delete", "under_construction"),
        ("delete", "delete"),
        ("archive", "under_construction"),
        ("archive", "mkdirs"),
    ],
)
def test_what_a_killed_drain_left_in_the_staging_folder_is_finished_by_the_next(
    corner: Corner, after: str, step: str
) -> None:
    stream = corner.stream(after)
    corner.land("b/a.txt")
    corner.land("c.txt")

    def kill(path: str) -> None:
        if STAGING in path if step != "mkdirs" else path.startswith(corner.archived_root):
            raise Killed

    source = corner.source(stream, Hooked(corner.storage, **{step: kill}))
    with pytest.raises(Killed):
        corner.place.drain(stream, source=source)
    assert corner.staged() == {"b/a.txt", "c.txt"}
    assert corner.place.drain(stream).words == 0
    assert (corner.landed(), corner.staged()) == (set(), set())
    assert corner.archived() == (set() if after == "delete" else {"b/a.txt", "c.txt"})
    assert not corner.storage.exists(f"{corner.root}/{STAGING}")
    assert corner.place.counted(stream) == {"one": 2, "two": 2}
    assert_numbered(corner.place.ledger(stream))


def test_what_was_killed_before_the_rename_is_put_away_by_the_next_drain(corner: Corner) -> None:
    stream = corner.stream("delete")
    corner.land("a.txt")
    with pytest.raises(Killed):
        corner.place.drain(stream, source=corner.source(stream, Hooked(corner.storage, rename=killed)))
    assert corner.landed() == {"a.txt"}
    corner.place.drain(stream)
    assert (corner.landed(), corner.staged()) == (set(), set())


def test_another_file_that_a_killed_drain_left_staged_goes_back_and_is_parked_by_the_next(corner: Corner) -> None:
    stream = corner.stream("delete")
    path = corner.land("a.txt")

    def replace(source: str, _target: str) -> None:
        if source == path:
            corner.replace("a.txt", b"somebody else's\n")

    def kill(staged: str) -> None:
        if STAGING in staged:
            raise Killed

    with pytest.raises(Killed):
        corner.place.drain(stream, source=corner.source(stream, Hooked(corner.storage, rename=replace, stat=kill)))
    assert (corner.landed(), corner.staged()) == (set(), {"a.txt"})
    assert corner.place.drain(stream).parked == [path]
    assert (corner.landed(), corner.staged()) == ({"a.txt"}, set())


def test_what_was_left_staged_goes_back_if_files_are_kept_by_now(corner: Corner) -> None:
    stream = corner.stream("archive")
    corner.land("a.txt")

    def kill(staged: str) -> None:
        if STAGING in staged:
            raise Killed

    with pytest.raises(Killed):
        corner.place.drain(stream, source=corner.source(stream, Hooked(corner.storage, stat=kill)))
    corner.place.drain(corner.place.folder_stream(landing=corner.landing))
    assert (corner.landed(), corner.staged()) == ({"a.txt"}, set())


def test_two_drains_that_put_the_same_files_away_lose_none_and_double_none(corner: Corner) -> None:
    files = [corner.storage.stat(corner.land(f"{n % 4}/{n}.txt", b"%d\n" % n)) for n in range(40)]
    putaway = PutAway(corner.storage, corner.root, corner.archived_root, keep=False)
    entries = {file.path: Taken.of(file.length, file.mtime_ms, file.file_id) for file in files}
    recorded: dict[str, int] = {}
    problems: list[Exception] = []

    def ledger() -> Ledger:
        return Ledger("t", files=dict(entries), staged=dict(recorded))

    def work() -> None:
        try:
            for _ in range(20):
                if not corner.landed() and not corner.staged():
                    return
                present = [file for file in files if file.path.removeprefix(f"{corner.root}/") in corner.landed()]
                for staged in (putaway.stage(present, ledger()), putaway.restage(ledger())):
                    recorded[staged.token] = 1
                    putaway.remove(staged.token)
        except Exception as problem:
            problems.append(problem)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert problems == []
    assert corner.archived() == {file.path.removeprefix(f"{corner.root}/") for file in files}
    assert (corner.landed(), corner.staged()) == (set(), set())


def test_a_staging_folder_that_another_drain_removes_before_it_is_listed_is_empty(corner: Corner) -> None:
    staging = f"{corner.root}/{STAGING}"

    def remove(folder: str, *_: Any) -> None:
        if folder == staging:
            corner.storage.prune(staging)

    corner.storage.mkdirs(corner.root)
    putaway = PutAway(Hooked(corner.storage, survey=remove), corner.root, None, keep=False)  # type: ignore[arg-type]
    for look in (putaway.waiting, lambda: putaway.restage(Ledger("t")).proven, lambda: putaway.remove("1")):
        corner.storage.mkdirs(f"{staging}/1")
        assert not look()
        assert not corner.storage.exists(staging)


@pytest.mark.parametrize("step", [Step.COMMIT, Step.REPORT])
def test_a_name_is_free_whether_a_drain_died_before_or_after_it_recorded_what_it_put_away(
    corner: Corner, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    stream = corner.stream("delete")
    deliver(corner, b"one two\n")
    corner.place.drain(corner.place.folder_stream(landing=corner.landing))

    def die(at: Step) -> None:
        if at is step:
            raise Killed

    stream = corner.stream("delete")
    with monkeypatch.context() as dying:
        dying.setattr("wordtide.drain.loop.reached", die)
        with pytest.raises(Killed):
            corner.place.drain(stream)
    assert (corner.landed(), corner.staged()) == (set(), {"today.txt"})
    deliver(corner, b"six ten\n")
    assert corner.place.drain(stream).parked == []
    assert (corner.landed(), corner.staged()) == (set(), set())
    assert corner.place.counted(stream) == {"one": 1, "two": 1, "six": 1, "ten": 1}
    assert_numbered(corner.place.ledger(stream))


def test_what_another_drain_has_taken_out_and_not_recorded_yet_does_not_make_its_name_replaced(corner: Corner) -> None:
    stream = corner.stream("delete")
    deliver(corner, b"one two\n")
    corner.place.drain(corner.place.folder_stream(landing=corner.landing))
    stream, ledger = corner.stream("delete"), existing(corner.place.table(stream)).ledger
    PutAway(corner.storage, corner.root, None, keep=False).stage(corner.storage.list_files(corner.root), ledger)
    deliver(corner, b"six seven\n")
    plan = corner.source(stream, corner.storage).look().plan(ledger, lambda _app: None)
    assert (plan.parked, plan.splits, plan.waiting) == ((), (), 1)


def test_what_nobody_can_tell_to_be_counted_or_not_stays_where_it_is_and_is_said(corner: Corner) -> None:
    stream = corner.stream("delete")
    corner.land(f"{STAGING}/of-another-time/a.txt", b"seven\n")
    for _ in range(2):
        with pytest.raises(WordtideError, match=r"a\.txt: cannot be told whether it was counted; move it to .*/a\.txt"):
            corner.place.drain(stream)
        assert (corner.landed(), corner.staged()) == (set(), {"a.txt"})


# --- when it cannot be done


def test_what_may_not_be_put_away_is_counted_all_the_same_and_the_drain_says_so_last(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    corner = Corner(place, "hdfs")
    stream = corner.stream("delete", max_files=2)
    for number in range(5):
        corner.land(f"{number}.txt")
    committed: list[Committed] = []
    # The folder is somebody else's: they may be read, not renamed.
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    with pytest.raises(WordtideError, match="Permission denied: user=someone, access=WRITE") as refused:
        place.drain(stream, on_commit=committed.append)
    assert "\n" not in str(refused.value)
    assert len(committed) == 3
    assert place.counted(stream) == {"one": 5, "two": 5}
    monkeypatch.delenv("HADOOP_USER_NAME")
    assert len(corner.landed()) == 5
    place.drain(stream)
    assert corner.landed() == set()


@pytest.mark.skipif(
    not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="there is no second file system",
)
def test_an_archive_on_another_disk_is_one_clear_line_and_nothing_is_lost(place: Place) -> None:
    corner = Corner(place, "local")
    corner.archive = f"/dev/shm/{unique('done')}"
    corner.archived_root = corner.archive
    corner.land("a.txt")
    try:
        with pytest.raises(WordtideError, match="is on another file system") as refused:
            place.drain(corner.stream("archive"))
        assert "\n" not in str(refused.value)
    finally:
        corner.storage.delete(corner.archived_root)
    # It waits there for an archive that it can be renamed to.
    assert (corner.landed(), corner.staged()) == (set(), {"a.txt"})
    corner.archive = corner.archived_root = str(place.folder / "done")
    place.drain(corner.stream("archive"))
    assert (corner.archived(), corner.staged()) == ({"a.txt"}, set())


def test_an_archive_that_is_on_another_hdfs_is_refused_in_one_line(place: Place) -> None:
    stream = place.folder_stream(landing="hdfs:///" + unique("l"), after="archive hdfs://elsewhere:8020/done")
    with pytest.raises(ConfigError, match="is on another file system than hdfs:///"):
        place.source(stream)


# --- an operator looks again


def test_a_batch_is_counted_again_from_the_archive(corner: Corner) -> None:
    place, stream = corner.place, corner.stream("archive")
    corner.land("b/a.txt", b"one two\n")
    corner.land("c.txt", b"two three\n" * 200_000)
    place.drain(stream)
    table, source = place.table(stream), place.source(stream)
    [published] = find_published(existing(table).handle, lambda row: row.batch == 1)
    assert len(recount(stream, source, existing(table), published).rows) == 0
    # Another file under its name is counted by itself, and the batch is still read from the archive.
    corner.land("b/a.txt", b"four\n")
    assert place.drain(stream).parked == []
    assert +place.counted(stream) == words_of(["one two", "four", *["two three"] * 200_000])
    assert (corner.landed(), corner.archived()) == (set(), {"b/a.txt", "b/a.txt.1", "c.txt"})
    corner.land("b/a.txt", b"not counted yet\n")
    difference = recount(stream, source, existing(table), published)
    assert len(difference.rows) == 0
    assert publish(table, source, difference, Decision(Verdict.REPLAY, "ann")).batch.replaces == 1
    # The correction names the archived file: its path is free all the same.
    place.drain(stream)
    assert place.counted(stream)["counted"] == 1


def test_of_files_of_one_name_length_and_time_each_batch_is_counted_again_from_its_own(corner: Corner) -> None:
    place, stream = corner.place, corner.stream("archive")
    for content in (b"one two\n", b"six ten\n"):
        deliver(corner, content)
        place.drain(stream)
    assert corner.archived() == {"today.txt", "today.txt.1"}
    table = place.table(stream)
    both = find_published(existing(table).handle, lambda _row: True)
    for published in both:
        assert len(recount(stream, place.source(stream), existing(table), published).rows) == 0
    # What has the name of the first one now is not taken for it.
    corner.storage.delete(f"{corner.archived_root}/today.txt")
    corner.storage.rename(f"{corner.archived_root}/today.txt.1", f"{corner.archived_root}/today.txt")
    with pytest.raises(DecisionRefused, match="is gone"):
        recount(stream, place.source(stream), existing(table), both[0])


def test_a_name_that_is_in_the_archive_and_in_place_is_counted_again_from_both(corner: Corner) -> None:
    place = corner.place
    deliver(corner, b"one two\n")
    place.drain(corner.stream("archive"))
    deliver(corner, b"six ten\n")
    place.drain(place.folder_stream(landing=corner.landing))
    stream = corner.stream("archive")
    table, source = place.table(stream), place.source(stream)
    batches = find_published(existing(table).handle, lambda _row: True)
    assert len(batches) == 2
    for published in batches:
        assert len(recount(stream, source, existing(table), published).rows) == 0


def test_a_batch_whose_files_were_deleted_cannot_be_counted_again(corner: Corner) -> None:
    place, stream = corner.place, corner.stream("delete")
    path = corner.land("a.txt")
    place.drain(stream)
    table = place.table(stream)
    [published] = find_published(existing(table).handle, lambda row: row.batch == 1)
    with pytest.raises(DecisionRefused, match=f"{path} was put away"):
        recount(stream, place.source(stream), existing(table), published)

"""A file's identity: length, time and, where there is doubt, content. Each settled once, and nothing counted twice."""

from __future__ import annotations

import os
import shutil
import socket
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import Place, assert_numbered, decide, unique
from wordtide.config import Stream
from wordtide.core.model import Taken
from wordtide.drain.pacing import Pace
from wordtide.repair.resolve import existing
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.doubts import UNSTABLE_AFTER, Doubts
from wordtide.sources.files.identity import Doubt, in_order, settled
from wordtide.sources.files.plan import plan_landing
from wordtide.sources.files.source import LandingFolder
from wordtide.status.lag import ledger_of, look, seen_stalled
from wordtide.storage import AccessDenied, FileInfo, HdfsStorage, LocalStorage, Survey
from wordtide.table.ledger import Ledger
from wordtide.testing.files import rewrite, set_mtime

TEXT = b"one two\n"
COUNTED = {"one": 1, "two": 1}


@pytest.fixture(params=["local", "hdfs"])
def folder(request: pytest.FixtureRequest, place: Place) -> Stream:
    return place.folder_stream(landing="" if request.param == "local" else f"hdfs:///{unique('landing')}")


@pytest.fixture
def local(place: Place) -> Stream:
    return place.folder_stream()


def root_of(stream: Stream) -> Path:
    return Path(stream.landing or "")


def statuses(place: Place, stream: Stream) -> list[str]:
    rows = place.ledger(stream)
    assert_numbered(rows)
    return [row["status"] for row in rows]


def reasons(place: Place, stream: Stream) -> list[str]:
    return [split["reason"] for row in place.ledger(stream) for split in row["splits"] if split["reason"]]


class ReadCounter:
    """A storage that remembers which files were read."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.read: list[str] = []

    def read_range(self, path: str, start: int, end: int) -> Any:
        self.read.append(path)
        return self._storage.read_range(path, start, end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class NamespaceOf:
    """A storage that takes the answer to one question, whose files they are, from another one."""

    def __init__(self, storage: Any, other: Any) -> None:
        self._storage = storage
        self.namespace = other.namespace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def id_on_hdfs(place: Place, path: str) -> int:
    storage = HdfsStorage(place.hdfs)
    return storage.identified([storage.stat(path)], 60)[0].file_id


def drain_reading(place: Place, stream: Stream) -> list[str]:
    """Drain, and return the paths of the files read one by one."""
    storage, root = place.landing(stream)
    counter = ReadCounter(storage)
    place.drain(stream, source=LandingFolder(stream, counter, root))  # type: ignore[arg-type]
    return counter.read


# --- what the ledger keeps


def test_a_counted_file_has_its_digest_and_its_id_in_the_ledger(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", TEXT)
    place.drain(folder)
    (split,) = place.ledger(folder)[1]["splits"]
    assert split["digest"] == f"crc32:{zlib.crc32(TEXT):08x}"
    if path.startswith(str(place.folder)):
        status = os.stat(path)
        assert split["file_id"] == f"{status.st_dev}:{status.st_ino}@{status.st_ctime_ns}"
    else:
        assert split["file_id"] == str(id_on_hdfs(place, path))


def test_without_webhdfs_files_of_an_hdfs_are_counted_and_their_ids_unknown(place: Place) -> None:
    stream = place.folder_stream(landing=f"hdfs:///{unique('landing')}")
    path = place.land(stream, "a.txt", TEXT)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        storage = HdfsStorage(replace(place.hdfs, webhdfs=f"127.0.0.1:{silent.getsockname()[1]}"))
        blind = NamespaceOf(storage, place.landing(stream)[0])
        place.drain(stream, source=LandingFolder(stream, blind, place.landing(stream)[1]))  # type: ignore[arg-type]
    assert place.ledger(stream)[1]["splits"][0]["file_id"] is None
    assert place.counted(stream) == COUNTED
    # Nothing to compare with: the id that it has now raises no doubt.
    assert id_on_hdfs(place, path)
    assert drain_reading(place, stream) == []


# --- another time, another inode, the same bytes


def test_a_file_whose_time_alone_has_changed_is_settled_once(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", TEXT)
    place.drain(folder)
    storage, _ = place.landing(folder)
    set_mtime(storage, path, 1_700_000_000_000)
    assert place.drain(folder).parked == []
    assert drain_reading(place, folder) == []
    assert statuses(place, folder) == ["founded", "published", "settled"]
    assert reasons(place, folder) == ["same bytes as counted; only its time has changed"]
    assert place.counted(folder) == COUNTED


def test_a_copy_of_the_same_bytes_and_time_and_a_changed_mode_are_read_once_and_settled(
    place: Place, local: Stream
) -> None:
    path = Path(place.land(local, "a.txt", TEXT))
    place.drain(local)
    copy = root_of(local) / ".copy"
    shutil.copy2(path, copy)
    os.replace(copy, path)
    assert drain_reading(place, local) == [str(path)]
    path.chmod(0o600)
    assert drain_reading(place, local) == [str(path)]
    assert drain_reading(place, local) == []
    assert statuses(place, local) == ["founded", "published", "settled", "settled"]
    assert place.counted(local) == COUNTED


def replace_unseen(place: Place, stream: Stream, path: str, content: bytes) -> None:
    """Put another file of the same mtime in a file's place."""
    storage, root = place.landing(stream)
    mtime = storage.stat(path).mtime_ms
    hidden = f"{root}/.other"
    storage.write_durably(hidden, [content])
    set_mtime(storage, hidden, mtime)
    storage.delete(path)
    storage.rename(hidden, path)


@pytest.mark.parametrize("below", ["", "deep/er/"])
def test_other_bytes_of_the_same_name_length_and_time_are_parked(place: Place, folder: Stream, below: str) -> None:
    path = place.land(folder, f"{below}a.txt", TEXT)
    set_mtime(place.landing(folder)[0], path, 1_700_000_000_000)
    place.drain(folder)
    replace_unseen(place, folder, path, b"six ten\n")
    assert place.drain(folder).parked == [path]
    assert reasons(place, folder) == [
        "replaced: its 8 bytes are others than those counted, of the same length and time"
    ]
    assert place.counted(folder) == COUNTED
    decide(place, folder, path, "recount")
    assert +place.counted(folder) == {"six": 1, "ten": 1}
    assert drain_reading(place, folder) == []


def test_on_an_hdfs_the_same_bytes_and_time_under_another_id_are_read_once_and_settled(place: Place) -> None:
    stream = place.folder_stream(landing=f"hdfs:///{unique('landing')}")
    path = place.land(stream, "a.txt", TEXT)
    place.land(stream, "b.txt", b"three\n")
    place.drain(stream)
    replace_unseen(place, stream, path, TEXT)
    assert drain_reading(place, stream) == [path]
    assert drain_reading(place, stream) == []
    assert statuses(place, stream) == ["founded", "published", "settled"]
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    assert snapshot.ledger.files[path].file_id == id_on_hdfs(place, path)


def test_other_bytes_of_the_same_length_and_another_time_are_parked(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", TEXT)
    place.drain(folder)
    storage, _ = place.landing(folder)
    rewrite(storage, path, b"six ten\n")
    assert place.drain(folder).parked == [path]
    assert place.counted(folder) == COUNTED


@pytest.mark.parametrize(("then", "status"), [(TEXT, "settled"), (b"six ten\n", "parked")])
def test_what_cannot_be_compared_is_stalled_and_settled_or_parked_once_it_can_be(
    place: Place, local: Stream, then: bytes, status: str
) -> None:
    path = place.land(local, "a.txt", TEXT)
    place.drain(local)
    Path(path).write_bytes(then)
    set_mtime(LocalStorage(), path, 1_700_000_000_000)
    storage, root = place.landing(local)

    class Denied(ReadCounter):
        def read_range(self, path: str, start: int, end: int) -> Any:
            raise AccessDenied(path, "permission denied: user=ann")

    for _ in range(2):
        summary = place.drain(local, source=LandingFolder(local, Denied(storage), root))  # type: ignore[arg-type]
        assert (summary.parked, len(summary.stalled)) == ([], 1)
    (reason,) = reasons(place, local)
    assert reason.startswith("permission denied: user=ann; changed since it was counted (retried automatically)")
    ledger = ledger_of(place.handle(local))
    assert [one.what for one in seen_stalled(local, place.handle(local), ledger)] == [path]

    summary = place.drain(local)

    assert (summary.parked, summary.stalled) == ([path] if status == "parked" else [], [])
    assert statuses(place, local) == ["founded", "published", "stalled", status]
    assert ledger_of(place.handle(local)).stalled == {}
    assert place.counted(local) == COUNTED


def test_a_file_counted_without_a_digest_is_parked_as_ever_and_its_reason_says_why() -> None:
    now = FileInfo("/l/a", 8, 2_000, 0, 5)
    doubts = Doubts(LocalStorage())
    ledger = Ledger("t", files={"/l/a": Taken(8, 1_000)})
    judged = doubts.judge([now], [now], ledger, Stillness(0.0, 10_000, 0.0, 0.0))
    plan = plan_landing(
        judged.files,
        ledger.files,
        (),
        stillness=Stillness(0.0, 10_000, 0.0, 0.0),
        max_files=9,
        max_bytes=99,
        under_construction=lambda _path: False,
    )
    assert not doubts.open
    assert "without a digest (skipped, or counted by an older Wordtide)" in plan.parked[0].reason


def test_a_large_file_in_doubt_is_read_a_stretch_at_a_time(place: Place, local: Stream) -> None:
    path = place.land(local, "large.txt", b"word\n" * 200_000)
    place.drain(local)
    table, storage = place.table(local), place.landing(local)[0]
    os.utime(path)
    snapshot = table.snapshot()
    assert snapshot is not None
    listed = storage.list_files(local.landing or "")
    doubts = Doubts(storage)
    stretches = 0
    while True:
        judged = doubts.judge(listed, listed, snapshot.ledger, Stillness(0.0, 1 << 62, 0.0, 0.0))
        if judged.settled:
            break
        assert judged.files == []
        assert doubts.read(300_000)
        stretches += 1
    assert stretches == 4
    assert not doubts.open


def test_where_files_are_numbered_anew_again_and_again_they_are_not_read_for_ever(place: Place, local: Stream) -> None:
    place.land(local, "a.txt", TEXT)
    place.drain(local)
    storage, root = place.landing(local)

    class Renumbering(ReadCounter):
        number = 1

        def survey(self, root: str, enter: Callable[[str], bool]) -> Survey:
            self.number += 1
            return Survey([file._replace(file_id=self.number) for file in storage.survey(root, enter).files])

        def stat(self, path: str) -> FileInfo:
            return storage.stat(path)._replace(file_id=self.number)

    renumbering = Renumbering(storage)
    source = LandingFolder(local, renumbering, root)  # type: ignore[arg-type]
    for _ in range(3):
        place.drain(local, source=source)
    assert len(renumbering.read) == UNSTABLE_AFTER
    assert place.counted(local) == COUNTED


def test_a_look_reads_nothing_and_says_that_there_is_something_to_do(place: Place, local: Stream) -> None:
    path = place.land(local, "a.txt", TEXT)
    place.drain(local)
    table = place.table(local)
    assert not look(local, table, lambda: place.kafka, lambda: place.hdfs).something
    os.utime(path)
    assert look(local, table, lambda: place.kafka, lambda: place.hdfs).something
    place.drain(local)
    assert not look(local, table, lambda: place.kafka, lambda: place.hdfs).something


# --- one file under two names


def test_links_are_counted_once_and_the_ledger_says_so(place: Place, local: Stream) -> None:
    root = root_of(local)
    path = place.land(local, "app.log.1", TEXT)
    (root / "latest.log").symlink_to("app.log.1")
    os.link(path, root / "hard.log")
    place.drain(local)
    assert drain_reading(place, local) == []
    assert place.counted(local) == COUNTED
    assert all("same file as" in reason and "a link" in reason for reason in reasons(place, local))
    assert len(reasons(place, local)) == 2


def test_a_link_that_is_set_anew_is_a_further_name_of_the_next_file(place: Place, local: Stream) -> None:
    root = root_of(local)
    for number, text in ((1, b"one\n"), (2, b"two more\n")):
        place.land(local, f"app.log.{number}", text)
        (root / ".new").symlink_to(f"app.log.{number}")
        # Sorts before its target: which of the two was there first must not matter.
        os.replace(root / ".new", root / "app.log")
        assert place.drain(local).parked == []
    assert place.counted(local) == {"one": 1, "two": 1, "more": 1}


def test_a_counted_file_that_is_moved_is_not_counted_again_and_frees_its_name(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    place.land(folder, "app.log", TEXT)
    place.drain(folder)
    storage.mkdirs(f"{root}/old")
    storage.rename(f"{root}/app.log", f"{root}/old/app.log.1")
    place.land(folder, "app.log", b"three\n")
    for _ in range(2):
        assert place.drain(folder).parked == []
    assert place.counted(folder) == COUNTED | {"three": 1}
    assert reasons(place, folder) == [f"same file as {root}/app.log, which was counted: it was moved"]
    snapshot = place.table(folder).snapshot()
    assert snapshot is not None
    assert snapshot.ledger.files.keys() == {f"{root}/app.log", f"{root}/old/app.log.1"}


def test_two_files_of_the_same_content_and_time_are_two_files(place: Place, folder: Stream) -> None:
    storage, _ = place.landing(folder)
    for name in ("a.txt", "b.txt"):
        set_mtime(storage, place.land(folder, name, TEXT), 1_700_000_000_000)
    place.drain(folder)
    set_mtime(storage, place.land(folder, "c.txt", TEXT), 1_700_000_000_000)
    place.drain(folder)
    assert place.counted(folder) == {"one": 3, "two": 3}


def test_other_content_under_a_reused_inode_is_counted(place: Place, local: Stream) -> None:
    path = Path(place.land(local, "a.txt", TEXT))
    place.drain(local)
    mtime = path.stat().st_mtime_ns
    # As when the inode of a deleted file is used again: same inode, length and time, another name.
    with path.open("r+b") as file:
        file.write(b"six ten\n")
    os.utime(path, ns=(mtime, mtime))
    path.rename(path.with_name("b.txt"))
    assert place.drain(local).parked == []
    assert place.counted(local) == COUNTED | {"six": 1, "ten": 1}


@pytest.mark.parametrize("after", ["delete", "archive"])
def test_a_file_with_further_names_is_counted_once_before_any_of_them_is_put_away(place: Place, after: str) -> None:
    stream = place.folder_stream(after="delete" if after == "delete" else f"archive {place.folder}/archive")
    first = place.land(stream, "a.txt", TEXT)
    os.link(first, root_of(stream) / "b.txt")

    place.drain(stream)

    assert place.counted(stream) == COUNTED
    assert list(root_of(stream).glob("*.txt")) == []


def test_young_files_in_doubt_are_settled_and_what_took_a_moved_ones_name_is_counted(place: Place) -> None:
    where = str(place.folder / "landing")
    Path(where).mkdir()
    source = {"path": where, "min_age": "300ms"}
    config = {"landing": source, "batch_interval": "100ms", "linger": "4s"}
    stream = place.streams({"s": config})["s"]
    for name in ("touched", "mode", "moved", "replaced"):
        place.land(stream, name, TEXT)
    place.drain(stream)
    root = Path(where)
    os.utime(root / "touched")
    os.chmod(root / "mode", 0o600)
    os.rename(root / "moved", root / "moved.1")
    place.land(stream, "moved", b"new\n")
    # Of the same length, under the same name.
    place.land(stream, ".replaced", b"six ten\n")
    os.rename(root / ".replaced", root / "replaced")

    # As a sensor's run does: until it has been quiet for a while.
    place.drainer(stream, source=place.source(stream)).run(Pace.of(stream.config, by_hand=False))

    assert place.counted(stream) == {"one": 4, "two": 4, "new": 1}
    ledger = existing(place.table(stream)).ledger
    assert ledger.parked.keys() == {f"{where}/replaced"}
    settlements = {
        split["path"] for row in place.ledger(stream) if row["status"] == "settled" for split in row["splits"]
    }
    assert settlements == {f"{where}/{name}" for name in ("touched", "mode", "moved.1")}


def test_files_that_took_each_others_names_are_recorded_in_one_batch_once_all_are_known() -> None:
    doubts = {path: moved(path, name) for path, name in {"a.1": "a", "a.2": "a.1", "b": "c", "c": "b"}.items()}
    settlements = {path: (doubt, settled(doubt, 7)) for path, doubt in doubts.items()}
    assert all(settlement for _, settlement in settlements.values())

    def recorded(pending: set[str], *known: str) -> set[str]:
        found = in_order({path: settlements[path] for path in known}, pending)  # type: ignore[misc]
        return {doubt.file.path for doubt, _ in found}

    assert recorded(set(), "a.1", "a.2", "b", "c") == {"a.1", "a.2", "b", "c"}
    # What was a.1 may be a.2, which has not been read: a.1 cannot be another file yet.
    assert recorded({"a.1"}, "a.1", "b", "c") == {"b", "c"}
    assert recorded({"b"}, "a.1", "a.2", "b") == {"a.1", "a.2"}
    assert recorded({"a.2"}, "a.1", "a.2") == set()


def moved(path: str, name: str) -> Doubt:
    return Doubt(FileInfo(path, 3, 1, 0, 5), Taken.of(3, 1, 5, 7), name)


def test_a_young_file_that_was_appended_to_is_parked_within_one_run_by_hand(place: Place) -> None:
    where = str(place.folder / "landing")
    Path(where).mkdir()
    stream = place.streams({"s": {"landing": {"path": where, "min_age": "300ms"}, "batch_interval": "100ms"}})["s"]
    path = place.land(stream, "a.txt", TEXT)
    place.drain(stream)
    with open(path, "ab") as file:
        file.write(b"more\n")

    # A loss is believed at a second look: the file must still be complete then.
    assert place.drain(stream).parked == [path]

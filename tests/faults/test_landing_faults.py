"""What can happen to landed files, on a local disk and on a real HDFS: each decided, recorded, and nothing held up."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hdfs_native import Client, WriteOptions

from tests.dagster.support import by_hand, check_of, definitions, instance
from tests.support import Place, assert_numbered, open_to_append, unique, wait_until
from wordtide.config import PROJECT_ROOT, EngineName, Stream
from wordtide.core.model import Batch, Counted, Decision, Taken, Verdict
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Step, Summary
from wordtide.repair.resolve import resolve
from wordtide.sources.files.read import UnreadableFile
from wordtide.sources.files.source import LandingFolder
from wordtide.status.lag import ledger_of
from wordtide.storage import FileInfo, PathProblem, Storage, Survey, Unreadable
from wordtide.table.ledger import Ledger
from wordtide.testing.files import set_mtime

BLOCK = 1 << 20
GOOD = b"good\n"


@pytest.fixture(params=["local", "hdfs"])
def folder(request: pytest.FixtureRequest, place: Place) -> Stream:
    return place.folder_stream(landing="" if request.param == "local" else f"hdfs:///{unique('landing')}")


@pytest.fixture
def hdfs_folder(place: Place) -> Stream:
    return place.folder_stream(landing=f"hdfs:///{unique('landing')}")


@pytest.fixture
def client(place: Place) -> Client:
    return Client(place.cluster.hdfs)


def replace(place: Place, stream: Stream, path: str, content: bytes, mtime_ms: int) -> None:
    """Put another file under a file's name."""
    storage, _ = place.landing(stream)
    storage.delete(path)
    storage.write_durably(path, [content])
    set_mtime(storage, path, mtime_ms)


def reasons(place: Place, stream: Stream) -> dict[str, str]:
    """Return why each path was parked; each once."""
    found = [split for row in place.ledger(stream) if row["status"] == "parked" for split in row["splits"]]
    assert len({split["path"] for split in found}) == len(found)
    return {split["path"]: split["reason"] for split in found}


class ActingEngine:
    """Counts as the local engine does, after something has happened: the batch is planned, nothing is read yet."""

    name = "local"

    def __init__(self, *actions: Callable[[], Any]) -> None:
        self._actions = list(actions)

    def count(self, batch: Batch, *arguments: Any) -> Counted:
        """See `Engine`."""
        if self._actions:
            self._actions.pop(0)()
        return LocalEngine().count(batch, *arguments)


def after_plan(*actions: Callable[[], Any]) -> dict[EngineName, Any]:
    return {EngineName.LOCAL: ActingEngine(*actions)}


# --- still being written


@pytest.mark.parametrize("length", [0, 7, BLOCK], ids=["empty", "part of a block", "a block"])
def test_a_file_that_is_synced_but_open_is_left_alone_until_it_is_closed(
    place: Place, hdfs_folder: Stream, client: Client, length: int
) -> None:
    _, root = place.landing(hdfs_folder)
    writer = client.create(f"{root}/open.txt", WriteOptions(block_size=BLOCK))
    writer.write(b"w" * length)
    writer.hsync()
    place.land(hdfs_folder, "a.txt", GOOD)
    for _ in range(2):
        assert place.drain(hdfs_folder).parked == []
        assert place.counted(hdfs_folder) == {"good": 1}
    writer.write(b" end")
    writer.close()
    place.drain(hdfs_folder)
    assert place.counted(hdfs_folder) == {"good": 1, "w" * length: 1, "end": 1}


@pytest.mark.parametrize("length", [10, BLOCK], ids=["part of a block", "a block"])
def test_what_is_appended_to_before_it_was_counted_is_counted_whole_and_once(
    place: Place, hdfs_folder: Stream, client: Client, length: int
) -> None:
    _, root = place.landing(hdfs_folder)
    with client.create(f"{root}/a.txt", WriteOptions(block_size=BLOCK)) as file:
        file.write(b"one " * (length // 4) + b"\n" * (length % 4))
    writer = open_to_append(client, f"{root}/a.txt")
    writer.write(b"two\n")
    writer.hsync()
    place.land(hdfs_folder, "b.txt", GOOD)
    place.drain(hdfs_folder)
    assert place.counted(hdfs_folder) == {"good": 1}
    writer.close()
    assert place.drain(hdfs_folder).parked == []
    counted = place.counted(hdfs_folder)
    assert (counted["one"], counted["two"], counted["good"]) == (length // 4, 1, 1)


def test_what_is_appended_to_after_it_was_counted_is_parked_once_and_not_counted_again(
    place: Place, hdfs_folder: Stream, client: Client
) -> None:
    path = place.land(hdfs_folder, "a.txt", b"one\n")
    place.drain(hdfs_folder)
    writer = open_to_append(client, path)
    writer.write(b"two\n")
    # A sync shows its new length, a close its new time.
    writer.hsync()
    place.land(hdfs_folder, "b.txt", GOOD)
    assert place.drain(hdfs_folder).parked == [path]
    writer.close()
    assert place.drain(hdfs_folder).parked == [path]
    assert place.counted(hdfs_folder) == {"one": 1, "good": 1}
    assert "appended to: taken as 4 bytes" in reasons(place, hdfs_folder)[path]


DYING_WRITER = """
import os, sys
from hdfs_native import Client, WriteOptions
file = Client(sys.argv[1]).create(sys.argv[2], WriteOptions(block_size=1 << 20))
file.write(b"left behind\\n")
file.hsync()
os._exit(0)
"""


def test_a_writer_that_died_with_its_lease_holds_up_nobody_and_its_file_is_counted_once_that_is_recovered(
    place: Place, hdfs_folder: Stream, client: Client
) -> None:
    _, root = place.landing(hdfs_folder)
    path = f"{root}/orphan.txt"
    subprocess.run([sys.executable, "-c", DYING_WRITER, place.cluster.hdfs, path], check=True, timeout=60)
    place.land(hdfs_folder, "a.txt", GOOD)
    for _ in range(2):
        assert place.drain(hdfs_folder).parked == []
    assert place.counted(hdfs_folder) == {"good": 1}
    wait_until("the lease is recovered", lambda: client.recover_lease(path))
    place.drain(hdfs_folder)
    assert place.counted(hdfs_folder) == {"good": 1, "left": 1, "behind": 1}


def test_a_slow_writer_of_many_blocks_is_waited_for_at_every_length_it_shows(
    place: Place, hdfs_folder: Stream, client: Client
) -> None:
    _, root = place.landing(hdfs_folder)
    writer = client.create(f"{root}/slow.txt", WriteOptions(block_size=BLOCK))
    lengths = [BLOCK // 2, BLOCK // 2, BLOCK, BLOCK // 4, BLOCK]
    for number, length in enumerate(lengths):
        writer.write(b"w\n" * (length // 2))
        writer.hsync()
        place.land(hdfs_folder, f"{number}.txt", GOOD)
        place.drain(hdfs_folder)
        assert place.counted(hdfs_folder) == {"good": number + 1}
    writer.close()
    assert place.drain(hdfs_folder).parked == []
    assert place.counted(hdfs_folder) == {"good": len(lengths), "w": sum(lengths) // 2}


def test_a_file_under_the_name_that_put_gives_it_is_taken_once_it_is_renamed(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    storage.write_durably(f"{root}/a.txt._COPYING_", [b"half\n"])
    place.drain(folder)
    assert place.counted(folder) == {}
    storage.rename(f"{root}/a.txt._COPYING_", f"{root}/a.txt")
    place.drain(folder)
    assert place.counted(folder) == {"half": 1}


# --- changed, moved, gone


@pytest.mark.parametrize("apart_ms", [1, 1000, -1])
def test_other_content_of_the_same_length_a_moment_apart_is_parked_and_not_counted(
    place: Place, folder: Stream, apart_ms: int
) -> None:
    path = place.land(folder, "a.txt", b"one\n")
    set_mtime(place.landing(folder)[0], path, 1_700_000_000_000)
    place.drain(folder)
    replace(place, folder, path, b"two\n", 1_700_000_000_000 + apart_ms)
    place.land(folder, "b.txt", GOOD)
    for _ in range(2):
        assert place.drain(folder).parked == [path]
    assert place.counted(folder) == {"one": 1, "good": 1}
    assert reasons(place, folder)[path].startswith(
        "replaced or appended to: taken as 4 bytes of 2023-11-14T22:13:20.000"
    )
    assert_numbered(place.ledger(folder))


def test_a_file_deleted_between_plan_and_read_is_as_if_it_had_never_come(place: Place, folder: Stream) -> None:
    storage, _ = place.landing(folder)
    paths = [place.land(folder, f"{n}.txt", b"w\n") for n in range(3)]
    engines = after_plan(lambda: storage.delete(paths[0]), lambda: storage.delete(paths[1]))
    assert place.drain(folder, engines=engines).parked == []
    assert place.counted(folder) == {"w": 1}
    # It never was: under its name something new may come.
    place.land(folder, "0.txt", b"new\n")
    assert place.drain(folder).parked == []
    assert place.counted(folder) == {"w": 1, "new": 1}


def test_a_file_that_becomes_a_folder_between_plan_and_read_is_gone_and_the_folder_is_looked_into(
    place: Place, folder: Stream
) -> None:
    storage, _ = place.landing(folder)
    path = place.land(folder, "a.txt", b"file\n")
    big = place.land(folder, "big.txt", b"file\n" * (BLOCK // 2))
    place.land(folder, "b.txt", GOOD)

    def become_folders() -> None:
        for one in (path, big):
            storage.delete(one)
            storage.write_durably(f"{one}/inside.txt", [b"inside\n"])

    assert place.drain(folder, engines=after_plan(become_folders)).parked == []
    place.drain(folder)
    assert place.counted(folder) == {"inside": 2, "good": 1}


def test_a_folder_that_becomes_a_file_between_plan_and_read_is_that_file(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    place.land(folder, "a.txt/inside.txt", b"inside\n")
    place.land(folder, "b.txt", GOOD)

    def become_file() -> None:
        storage.delete(f"{root}/a.txt")
        storage.write_durably(f"{root}/a.txt", [b"file\n"])

    assert place.drain(folder, engines=after_plan(become_file)).parked == []
    place.drain(folder)
    assert place.counted(folder) == {"file": 1, "good": 1}


def test_a_folder_with_a_files_name_is_a_folder_also_where_a_counted_file_was(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    storage.mkdirs(f"{root}/empty.txt")
    place.land(folder, "dir.txt/a.txt", b"a\n")
    place.land(folder, "b.txt", b"b\n")
    place.drain(folder)
    storage.delete(f"{root}/b.txt")
    place.land(folder, "b.txt/c.gz/d.txt", b"d\n")
    assert place.drain(folder).parked == []
    assert place.counted(folder) == {"a": 1, "b": 1, "d": 1}


def test_a_file_is_new_whatever_its_age_also_with_the_mtime_of_one_that_was_counted(
    place: Place, folder: Stream
) -> None:
    storage, root = place.landing(folder)
    storage.mkdirs(f"{root}-outside")
    counted = place.land(folder, "b.txt", b"b\n")
    set_mtime(place.landing(folder)[0], counted, 1_700_000_000_000)
    place.drain(folder)
    for number, mtime in enumerate([1_000, 1_699_999_999_999, 1_700_000_000_000]):
        outside = f"{root}-outside/{number}.txt"
        storage.write_durably(outside, [b"moved\n"])
        set_mtime(storage, outside, mtime)
        storage.rename(outside, f"{root}/{number}.txt")
    assert place.drain(folder).parked == []
    assert place.drain(folder).batches == 0
    assert place.counted(folder) == {"b": 1, "moved": 3}


def test_a_file_that_never_keeps_still_does_not_hold_up_the_others(place: Place, folder: Stream, at: Any) -> None:
    path = place.land(folder, "restless.txt", b"restless\n")
    place.land(folder, "a.txt", GOOD)
    for _ in range(60):
        # Written again after each read, nearly as often as a drain goes on planning.
        at(Step.READ, lambda: replace(place, folder, path, b"restless\n", int(time.time() * 1000)))
    assert place.drain(folder).parked == []
    assert place.counted(folder) == {"good": 1}


# --- not readable


def zipped() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.txt", "zipped\n")
    return held.getvalue()


def tarred() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return held.getvalue()


BROKEN = {
    "cut.gz": (gzip.compress(b"word\n" * 5000)[:-20], "cut short"),
    "flipped.gz": (gzip.compress(os.urandom(5000))[:2000] + b"\0\0\0\0" + gzip.compress(os.urandom(5000)), "not sound"),
    "zip.gz": (zipped(), "a zip archive"),
    "noise.bz2": (random.Random(1).randbytes(5000), "neither bz2, as its name says, nor text"),
    "a": (b"\xfd7zXZ\0", "an xz file; unpack it"),
    "b.txt": (tarred(), "a tar archive in gzip; unpack it"),
    "c.txt": ("\ufeffWörter\r\n".encode("utf-16-le"), "UTF-16 text; convert it to UTF-8"),
    "part-0": (b"PAR1\x15\0\x15", "a Parquet file; convert it to text, or resolve it --as text"),
    "d.br": (random.Random(2).randbytes(5000), "a '.br' file, as its name says, and not text; unpack it"),
}


READ = {
    "good.gz": gzip.compress(GOOD),
    "good.zst": gzip.compress(GOOD),
    "good": bz2.compress(GOOD),
    "good.txt": zstandard.compress(GOOD),
    "text.gz": GOOD,
    "text.br": GOOD,
    "text.tar.gz": gzip.compress(GOOD),
    "empty.txt": b"",
    "empty.gz": b"",
    "empty.zip": b"",
}


def test_what_cannot_be_read_is_parked_each_with_its_reason_and_the_rest_is_counted(
    place: Place, folder: Stream
) -> None:
    _, root = place.landing(folder)
    for name, (content, _) in BROKEN.items():
        place.land(folder, name, content)
    for name, content in READ.items():
        place.land(folder, name, content)
    for _ in range(2):
        assert place.drain(folder).parked == sorted(f"{root}/{name}" for name in BROKEN)
    said = reasons(place, folder)
    for name, (_, reason) in BROKEN.items():
        assert reason in said[f"{root}/{name}"]
    assert place.counted(folder) == {"good": 7}
    taken = [s["path"] for row in place.ledger(folder) if row["status"] == "published" for s in row["splits"]]
    assert sorted(taken) == sorted(f"{root}/{name}" for name in READ)


def stalled(place: Place, stream: Stream) -> dict[str, str]:
    """Return why each file or folder was recorded as stalled; each once."""
    found = [split for row in place.ledger(stream) if row["status"] == "stalled" for split in row["splits"]]
    assert len({split["path"] for split in found}) == len(found)
    return {split["path"]: split["reason"] for split in found}


def test_a_file_that_this_user_may_not_read_is_stalled_by_name_and_counted_once_it_may(
    place: Place, hdfs_folder: Stream, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["small.txt", "empty.txt", "large.txt"]
    secret = [
        place.land(hdfs_folder, name, content)
        for name, content in zip(names, [b"secret\n", b"", b"secret\n" * (BLOCK // 4)], strict=True)
    ]
    for path in secret:
        client.set_permission(path, 0o600)
    place.land(hdfs_folder, "a.txt", GOOD)
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    defs = definitions(place, hdfs_folder)
    with instance() as home:
        result = by_hand(defs, hdfs_folder, home)
        check = check_of(result)
    assert result.success
    assert place.counted(hdfs_folder) == {"good": 1}
    assert not check.passed
    for path in secret:
        reason = stalled(place, hdfs_folder)[path]
        assert "Permission denied: user=someone, access=READ" in reason
        assert f'inode="{path}"' in reason
        assert path in str(check.description)
    for path in secret:
        monkeypatch.delenv("HADOOP_USER_NAME", raising=False)
        client.set_permission(path, 0o644)
        monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    summary = place.drain(hdfs_folder)
    assert (summary.parked, summary.stalled) == ([], [])
    assert place.counted(hdfs_folder) == {"good": 1, "secret": 1 + BLOCK // 4}


def test_a_folder_that_this_user_may_not_list_is_stalled_by_name_only_where_the_glob_can_mean_what_is_in_it(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = f"hdfs:///{unique('landing')}"
    every = place.folder_stream(landing=location)
    _, root = place.landing(every)
    place.land(every, "in/a.txt", GOOD)
    place.land(every, "private/b.txt", b"hidden\n")
    client.set_permission(f"{root}/private", 0o700)
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    for _ in range(2):
        [line] = place.drain(every).stalled
        assert line.startswith(f"{root}/private: Permission denied: user=someone")
        assert "nothing in it is counted" in line
    assert list(stalled(place, every)) == [f"{root}/private"]
    assert place.counted(every) == {"good": 1}
    source = {"path": location, "min_age": "0s", "glob": "in/*.txt"}
    some = place.streams({"t": {"landing": source, "batch_interval": "100ms"}})["t"]
    assert place.drain(some).stalled == []
    assert place.counted(some) == {"good": 1}
    monkeypatch.delenv("HADOOP_USER_NAME")
    client.set_permission(f"{root}/private", 0o755)
    monkeypatch.setenv("HADOOP_USER_NAME", "someone")
    assert place.drain(every).stalled == []
    assert place.counted(every) == {"good": 1, "hidden": 1}


class Damaged:
    """A storage of which some files cannot be read to their end."""

    def __init__(self, storage: Storage, *paths: str) -> None:
        self._storage = storage
        self.paths = set(paths)
        self.tries = 0

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        if path in self.paths:
            self.tries += 1
            raise Unreadable(path, "cannot be read (Input/output error)")
        return self._storage.read_range(path, start, end)

    def read_small(self, files: Sequence[tuple[str, int]]) -> Iterator[bytes | PathProblem | None]:
        for path, length in files:
            try:
                yield b"".join(self.read_range(path, 0, length))
            except PathProblem as problem:
                yield problem

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def test_a_file_on_a_bad_sector_is_stalled_by_name_tried_again_more_and_more_rarely_and_counted_when_it_heals(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream()
    storage, root = place.landing(stream)
    small, large = place.land(stream, "b.txt", b"bad\n"), place.land(stream, "l.txt", b"bad\n" * (BLOCK // 2))
    place.land(stream, "a.txt", GOOD)
    damaged = Damaged(storage, small, large)

    def drain() -> Summary:
        return place.drain(stream, source=LandingFolder(stream, damaged, root))  # type: ignore[arg-type]

    for _ in range(2):
        summary = drain()
        assert [line.partition(":")[0] for line in summary.stalled] == [small, large]
        assert (summary.parked, summary.backlog) == ([], 2)
    assert set(stalled(place, stream)) == {small, large}
    assert place.counted(stream) == {"good": 1}
    tries = damaged.tries
    source = LandingFolder(stream, damaged, root)  # type: ignore[arg-type]
    ledger = ledger_of(place.handle(stream))
    for moment in (0.0, 0.5, 1.5, 2.0, 3.5, 4.0, 8.0):
        monkeypatch.setattr("wordtide.sources.files.source.time.monotonic", lambda at=1000 + moment: at)
        plan = source.look().plan(ledger, lambda _app: None)
        if plan.splits:
            with pytest.raises(UnreadableFile) as failed:
                list(source.reader(2**42).read(plan.splits))
            source.reject(failed.value)
    assert damaged.tries - tries == 2 * len([0.0, 1.5, 3.5, 8.0])
    monkeypatch.undo()
    damaged.paths.clear()
    assert drain().stalled == []
    assert place.counted(stream) == {"good": 1, "bad": 1 + BLOCK // 2}


def test_a_file_that_cannot_be_read_is_left_out_for_good_when_an_operator_says_so(place: Place) -> None:
    stream = place.folder_stream()
    storage, root = place.landing(stream)
    path = place.land(stream, "b.txt", b"bad\n")
    source = LandingFolder(stream, Damaged(storage, path), root)  # type: ignore[arg-type]
    assert len(place.drain(stream, source=source).stalled) == 1
    resolve(stream, place.source(stream), place.table(stream), path, Decision(Verdict.SKIP, "me"))
    assert place.drain(stream).stalled == []
    assert place.counted(stream) == {}


def test_what_is_no_file_or_in_progress_is_named_and_stops_nothing(place: Place) -> None:
    stream = place.folder_stream()
    _, root = place.landing(stream)
    os.mkfifo(f"{root}/pipe")
    os.symlink(f"{root}/nowhere", f"{root}/dangling")
    os.symlink(root, f"{root}/linked")
    place.land(stream, "FlumeData.1.tmp", b"half\n")
    place.land(stream, "a.txt", GOOD)
    summary = place.drain(stream)
    assert place.counted(stream) == {"good": 1}
    assert (summary.parked, summary.stalled) == ([], [])
    assert "1 file left out by name, oldest modified" in summary.left_out
    assert "FlumeData.1.tmp" in summary.left_out
    for said in (
        f"{root}/dangling (a dangling link)",
        f"{root}/linked (a link to a folder, which is not followed)",
        f"{root}/pipe (a named pipe)",
    ):
        assert said in summary.left_out


def test_a_file_of_about_now_is_taken_by_its_second_poll_whatever_its_servers_clock_says(place: Place) -> None:
    location = str(place.folder / "landing")
    source = {"path": location, "min_age": "300ms"}
    Path(location).mkdir()
    stream = place.streams({"s": {"landing": source, "batch_interval": "100ms"}})["s"]
    for name, age in (("new.txt", 0), ("old.txt", 7200), ("behind.txt", 1800)):
        path = place.land(stream, name, GOOD)
        set_mtime(place.landing(stream)[0], path, int((time.time() - age) * 1000))
    folder = place.source(stream)
    plan = folder.look().plan(Ledger(""), lambda _app: None)
    assert [split.what.rpartition("/")[2] for split in plan.splits] == ["old.txt"]
    assert (plan.waiting, plan.ripe) == (2, 1)
    place.drain(stream)
    assert place.counted(stream) == {"good": 3}


def test_a_file_that_is_written_while_its_servers_clock_is_ahead_is_left_to_the_next_run(place: Place) -> None:
    location = str(place.folder / "landing")
    Path(location).mkdir()
    stream = place.streams({"s": {"landing": {"path": location, "min_age": "1s"}, "batch_interval": "100ms"}})["s"]
    path = place.land(stream, "half.txt", b"one\n")
    set_mtime(place.landing(stream)[0], path, int((time.time() + 60) * 1000))
    place.drain(stream)
    assert place.counted(stream) == {}


OTHER_USER = """
import os, sys
from wordtide.core.model import FileSplit
from wordtide.sources.files.read import CorruptFile, read_files
from wordtide.storage import LocalStorage
path = sys.argv[1]
os.chmod(os.path.dirname(path), 0o711)
os.chmod(path, 0)
if os.geteuid() == 0:
    os.seteuid(65534)
for length in (1, 2 << 20):
    try:
        list(read_files(LocalStorage(), [FileSplit(path, length, 1, 0, length)], window_us=1, latest_ms=1))
    except CorruptFile as problem:
        print(problem)
"""


def test_a_file_that_this_user_may_not_read_on_a_local_disk_is_said_to_be_so() -> None:
    # In a process of its own, which becomes somebody else if it is root's; pytest's folders are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.txt")
        path.write_bytes(b"x")
        command = [sys.executable, "-c", OTHER_USER, str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=PROJECT_ROOT)
    small, large = ran.stdout.splitlines()
    assert small == large
    assert small.startswith(f"{path}: permission denied: user=")
    assert "let this user read it" in small


NAMES = [
    "two words.txt", "100%.txt", "%41%0A.txt", "line\nend.txt", "größer.txt", "e\u0301.txt", "é.txt", "東京/🌊.txt",
    "a?b#c.txt", "[x]*{a,b}.txt", "quote\"'.txt", "back\\slash.txt", " .txt", "tab\t.txt", "\u200b.txt", "plus+&=.txt",
]  # fmt: skip


def test_any_name_is_taken_as_it_is_and_only_once(place: Place, folder: Stream) -> None:
    _, root = place.landing(folder)
    for number, name in enumerate(NAMES):
        place.land(folder, name, b"" if number % 3 == 0 else b"w\n")
    place.land(folder, "bad line\nend %.gz", b"\x1f\x8b\x08no gzip\n")
    for _ in range(2):
        assert place.drain(folder).parked == [f"{root}/bad line\nend %.gz"]
    assert place.counted(folder) == {"w": sum(number % 3 > 0 for number in range(len(NAMES)))}
    taken = [s["path"] for row in place.ledger(folder) if row["status"] == "published" for s in row["splits"]]
    assert sorted(taken) == sorted(f"{root}/{name}" for name in NAMES)


# --- many


class ManyFiles:
    """A storage that lists very many files, and counts what else it is asked."""

    def __init__(self, storage: Storage, root: str, files: int) -> None:
        self._storage = storage
        self.listed = [
            FileInfo(f"{root}/{n % 100}/part {n}.txt", 0, 1_700_000_000_000 + n, BLOCK) for n in range(files)
        ]
        self.asked = 0

    def survey(self, root: str, enter: Callable[[str], bool]) -> Survey:
        return Survey(list(self.listed))

    def under_construction(self, path: str) -> bool:
        self.asked += 1
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def test_of_a_hundred_thousand_known_files_a_look_asks_nothing_but_the_listing(place: Place) -> None:
    stream = place.folder_stream()
    storage, root = place.landing(stream)
    many = ManyFiles(storage, root, 100_000)
    source = LandingFolder(stream, many, root)  # type: ignore[arg-type]
    ledger = Ledger("t", files={file.path: Taken.of(file.length, file.mtime_ms) for file in many.listed[1:]})
    plan = source.look().plan(ledger, lambda _app: None)
    assert [split.what for split in plan.splits] == [many.listed[0].path]
    assert (plan.backlog, many.asked) == (0, 1)

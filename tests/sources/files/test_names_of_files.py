"""One file under changing names: rotated, swapped, linked, unreadable for a while. Counted once, whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import Place, decide, unique, wait_until
from wordtide.config import Stream
from wordtide.core.model import Verdict
from wordtide.core.problems import DecisionRefused
from wordtide.doctor.findings import Line
from wordtide.doctor.landed import landed_files
from wordtide.repair.resolve import existing
from wordtide.sources.files.source import LandingFolder
from wordtide.status.lag import lag_of
from wordtide.storage import LocalStorage, PathProblem
from wordtide.testing.files import append, set_mtime

NO_TEXT = b"PAR1" + bytes(range(256)) + b"PAR1"


@pytest.fixture(params=["local", "hdfs"])
def folder(request: pytest.FixtureRequest, place: Place) -> Stream:
    return place.folder_stream(landing="" if request.param == "local" else f"hdfs:///{unique('landing')}")


@pytest.fixture
def local(place: Place) -> Stream:
    return place.folder_stream()


class BadDisk:
    """A disk that cannot read some inodes."""

    def __init__(self) -> None:
        self._disk = LocalStorage()
        self.bad: set[int] = set()

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        if os.stat(path).st_ino in self.bad:
            raise PathProblem(path, "Input/output error")
        return self._disk.read_range(path, start, end)

    def read_small(self, files: Sequence[tuple[str, int]]) -> Iterator[Any]:
        for path, length in files:
            try:
                yield b"".join(self.read_range(path, 0, length))
            except PathProblem as problem:
                yield problem

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


def on(disk: BadDisk, stream: Stream) -> LandingFolder:
    return LandingFolder(stream, disk, stream.landing or "")  # type: ignore[arg-type]


def words(place: Place, stream: Stream) -> dict[str, int]:
    return dict(+place.counted(stream))


def reasons(place: Place, stream: Stream) -> list[str]:
    return [split["reason"] for row in place.ledger(stream) for split in row["splits"] if split["reason"]]


def test_files_of_one_length_that_took_each_others_names_are_settled_not_parked(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    for number, name in enumerate(("a", "b", "c.1", "c.2")):
        set_mtime(storage, place.land(folder, name, b"word%d\n" % number), 1_700_000_000_000 + number)
    place.drain(folder)
    for old, new in (("a", ".a"), ("b", "a"), (".a", "b")):
        storage.rename(f"{root}/{old}", f"{root}/{new}")
    # The last of a rotation is dropped, the one before it has the same length.
    storage.delete(f"{root}/c.2")
    storage.rename(f"{root}/c.1", f"{root}/c.2")

    assert place.drain(folder).parked == []

    assert words(place, folder) == {"word0": 1, "word1": 1, "word2": 1, "word3": 1}
    assert all("it was moved" in reason for reason in reasons(place, folder))


@pytest.mark.parametrize("same_run", [True, False])
def test_a_link_of_a_rotation_that_cannot_be_read_for_a_while_is_counted_once(
    place: Place, local: Stream, same_run: bool
) -> None:
    root = local.landing or ""
    disk = BadDisk()
    place.land(local, "log.1", b"first\n")
    place.land(local, "log", b"second one\n")
    place.drain(local)
    disk.bad = {os.stat(f"{root}/log.1").st_ino}
    os.rename(f"{root}/log.1", f"{root}/log.2")
    os.rename(f"{root}/log", f"{root}/log.1")
    place.land(local, "log", b"third\n")
    source = on(disk, local)

    summary = place.drain(local, source=source)

    # Nothing else waits for it.
    assert words(place, local) == {"first": 1, "second": 1, "one": 1, "third": 1}
    assert summary.parked == []
    assert "log.2: Input/output error" in summary.stalled[0]
    assert f"{root}/log.1, which was counted" in summary.stalled[0]
    assert existing(place.table(local)).ledger.taken == 3

    # It is moved once more before it heals.
    os.rename(f"{root}/log.2", f"{root}/log.3")
    place.drain(local, source=source if same_run else on(disk, local))
    disk.bad = set()
    wait_until(
        "the file is settled", lambda: not place.drain(local, source=source if same_run else on(disk, local)).stalled
    )

    assert words(place, local) == {"first": 1, "second": 1, "one": 1, "third": 1}
    ledger = existing(place.table(local)).ledger
    assert (ledger.taken, ledger.stalled, ledger.parked) == (3, {}, {})
    assert ledger.files.keys() == {f"{root}/log", f"{root}/log.1", f"{root}/log.3"}


def test_a_recount_of_an_unreadable_file_that_turns_out_to_be_counted_is_refused(place: Place, local: Stream) -> None:
    root = local.landing or ""
    disk = BadDisk()
    place.land(local, "log.1", b"first\n")
    place.drain(local)
    disk.bad = {os.stat(f"{root}/log.1").st_ino}
    os.rename(f"{root}/log.1", f"{root}/log.2")
    place.drain(local, source=on(disk, local))

    with pytest.raises(DecisionRefused, match=r"log\.2 has the content of .*log\.1, which is counted"):
        decide(place, local, f"{root}/log.2", Verdict.RECOUNT)

    place.drain(local)
    assert words(place, local) == {"first": 1}
    assert existing(place.table(local)).ledger.files.keys() == {f"{root}/log.2"}


def test_a_skipped_file_that_is_touched_or_moved_is_still_skipped(place: Place, folder: Stream) -> None:
    storage, root = place.landing(folder)
    touched, moved = (place.land(folder, name, NO_TEXT + name.encode()) for name in ("touched", "moved"))
    place.drain(folder)
    for path in (touched, moved):
        decide(place, folder, path, "skip")
    set_mtime(storage, touched, 1_700_000_000_000)
    storage.rename(moved, f"{root}/moved.1")
    place.land(folder, "moved", b"new\n")

    for _ in range(2):
        assert place.drain(folder).parked == []

    assert words(place, folder) == {"new": 1}
    assert sorted(reasons(place, folder)[-2:]) == [
        "same bytes as skipped; only its time has changed",
        f"same file as {moved}, which was skipped: it was moved",
    ]
    assert existing(place.table(folder)).ledger.skipped == {touched, f"{root}/moved.1"}


def test_a_file_that_cannot_be_read_is_skipped_all_the_same(place: Place, local: Stream) -> None:
    path = place.land(local, "a", b"one\n")
    disk = BadDisk()
    disk.bad = {os.stat(path).st_ino}
    place.drain(local, source=on(disk, local))
    skipped = on(disk, local).with_content(
        existing(place.table(local)).ledger.unreadable[path].split  # type: ignore[arg-type]
    )
    assert (skipped.path, skipped.digest) == (path, None)


@pytest.mark.parametrize(("verdict", "counted"), [("skip", {}), ("text", {"PAR1": 1, "end": 1})])
def test_a_link_to_a_parked_file_is_named_and_goes_with_its_decision(
    place: Place, local: Stream, verdict: str, counted: dict[str, int]
) -> None:
    path = place.land(local, "m", b"PAR1 \0 end")
    assert place.drain(local).parked == [path]
    # One that sorts before it, one after it.
    for name in ("a", "z"):
        os.link(path, Path(path).with_name(name))

    summary = place.drain(local)

    assert summary.parked == [path]
    assert len(summary.stalled) == 2
    assert all(f"same file as {path}, which waits for a decision: a link" in line for line in summary.stalled)
    decide(place, local, path, verdict)
    summary = place.drain(local)
    assert (summary.parked, summary.stalled) == ([], [])
    found = words(place, local)
    found.pop("\0", None)
    assert found == counted


@pytest.mark.parametrize(("first", "second"), [("m", "z"), ("z", "m")])
def test_a_parked_file_and_its_link_are_counted_by_one_decision_whichever_it_is_about(
    place: Place, local: Stream, first: str, second: str
) -> None:
    path = Path(place.land(local, "m", b"PAR1 \0 end"))
    os.link(path, path.with_name("z"))
    place.drain(local)
    decide(place, local, str(path.with_name(first)), "text")
    with pytest.raises(DecisionRefused, match=f"has the content of .*/{first}, which is counted"):
        decide(place, local, str(path.with_name(second)), "text")
    assert words(place, local) == {"PAR1": 1, "\0": 1, "end": 1}


def test_a_counted_file_moved_to_a_name_that_is_not_utf8_is_parked_for_it_and_counted_once(
    place: Place, local: Stream
) -> None:
    path = place.land(local, "a", b"one\n")
    place.drain(local)
    odd = os.fsencode(local.landing or "") + b"/\xfe"
    os.rename(path, odd)

    [parked] = place.drain(local).parked

    assert parked.endswith("\\udcfe")
    os.rename(odd, Path(path).with_name("b"))
    place.drain(local)
    assert words(place, local) == {"one": 1}


def test_a_recount_of_a_file_that_was_moved_and_then_appended_to_replaces_what_was_counted(
    place: Place, folder: Stream
) -> None:
    storage, root = place.landing(folder)
    place.land(folder, "log", b"one\n")
    place.land(folder, "other", b"other\n")
    place.drain(folder)
    for old, new in (("log", "log.1"), ("log.1", "log.2")):
        storage.rename(f"{root}/{old}", f"{root}/{new}")
        place.drain(folder)
    # The name in between is used again, and put away from there.
    place.land(folder, "log.1", b"third\n")
    place.drain(folder)
    append(storage, f"{root}/log.2", b"two\n")
    assert place.drain(folder).parked == [f"{root}/log.2"]

    decide(place, folder, f"{root}/log.2", "recount")

    assert words(place, folder) == {"one": 1, "two": 1, "other": 1, "third": 1}
    assert place.drain(folder).parked == []


def test_lag_and_doctor_show_a_doubt_that_only_the_file_id_of_an_hdfs_raises(place: Place) -> None:
    stream = place.folder_stream(landing=f"hdfs:///{unique('landing')}")
    storage, root = place.landing(stream)
    path = place.land(stream, "a", b"one two\n")
    place.drain(stream)
    mtime = storage.stat(path).mtime_ms
    storage.delete(path)
    set_mtime(storage, place.land(stream, "a", b"six ten\n"), mtime)
    source = place.source(stream)

    found = lag_of(stream, source, place.handle(stream), existing(place.table(stream)).ledger)
    findings = list(landed_files(Line("landing", root, "s"), stream, storage, place.hdfs))

    said = f"{path}: its inode, file id or change time is not that of the file counted"
    assert (found.in_doubt, found.in_doubt_why) == (1, said)
    assert [(finding.stops, said in finding.what) for finding in findings] == [(False, True)]
    # Showing it changes nothing.
    assert len(place.ledger(stream)) == 2


def test_a_copy_is_counted_and_the_ledger_the_log_and_lag_name_the_other_file(
    place: Place, folder: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    first = place.land(folder, "log", b"one two\n")
    place.drain(folder)
    copy = place.land(folder, "log.1", b"one two\n")
    place.drain(folder)

    assert words(place, folder) == {"one": 2, "two": 2}
    assert f"1 file has length and checksum of another counted file: {copy} as {first}" in caplog.text
    ledger = existing(place.table(folder)).ledger
    assert ledger.repeats == {copy: first}
    found = lag_of(folder, place.source(folder), place.handle(folder), ledger)
    assert found.repeated == 1
    assert f"{copy} as {first}" in (found.repeated_why or "")

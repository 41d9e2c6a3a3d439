"""What befalls a table: full disks, hands that delete it, other versions, hosts that sleep, clocks that jump."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

import wordtide.table.maintain
from tests.dagster.support import NEWS
from tests.faults.disks import KINDS, Disk, disk_of
from tests.invariants.conftest import At
from tests.support import Place, assert_contiguous, assert_numbered, rows_in, some_lines, unique, words_in, words_of
from wordtide.config import Stream
from wordtide.core.problems import EnvironmentProblem, SourceUnavailable, TableRefused, WordtideError
from wordtide.counting.accumulate import Accumulator, Limits
from wordtide.dagster.runs import GRACE_SECONDS
from wordtide.dagster.sensors import ActiveRun, Failures, back_off, hold
from wordtide.drain.loop import Step, Summary
from wordtide.drain.pacing import Pace
from wordtide.table.ages import STALE_PLAN
from wordtide.table.commit import WordCounts
from wordtide.table.files import write_batch_row
from wordtide.table.maintain import compact_if_needed
from wordtide.table.panics import DeltaRsPanicked, panics_as_errors
from wordtide.table.schema import FORMAT, PARTITION_BY, SCHEMA
from wordtide.table.upkeep import tidy
from wordtide.testing.age import grow_older, move_back

DAY = timedelta(days=1)


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with disk_of(request.param, tmp_path / "disk") as made:
        yield made


@pytest.fixture(params=["local", "hdfs"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder for tables on a local disk or on HDFS."""
    return str(tmp_path / "tables") if request.param == "local" else f"hdfs:///{unique('tables')}"


class Clock:
    """What the drain and the table take for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta(0)
        monkeypatch.setattr("wordtide.drain.loop.utc_now", self.now)
        monkeypatch.setattr("wordtide.table.commit.utc_now", self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def fails_in_one_line(kind: type[WordtideError], says: str, action: Callable[[], object]) -> None:
    with pytest.raises(kind, match=says) as failed:
        action()
    assert "\n" not in str(failed.value)
    assert "\x1b" not in str(failed.value)


def give(place: Place, stream: Stream, name: str) -> None:
    """Land a file whose words are in no other."""
    place.land(stream, name, f"{name} all {name}\n".encode())


def assert_exact(place: Place, stream: Stream, *names: str) -> None:
    """Assert that the files given so far are counted, each once."""
    assert place.counted(stream) == {**dict.fromkeys(names, 2), "all": len(names)}
    rows = place.ledger(stream)
    assert_numbered(rows)
    taken = [Path(split["path"]).name for row in rows for split in row["splits"]]
    assert sorted(taken) == sorted(names)


def delete(table: WordCounts) -> None:
    assert table.storage.delete(table.root)


def vacuum_all(table: WordCounts) -> list[str]:
    """Delete every file no version names, as a vacuum does once the retention has passed."""
    handle = table.open()
    assert handle is not None
    return handle.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)


# A full disk


def after_the_ledger_row(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Do something between the last file of the next batch and its log entry."""

    def write_and_act(*arguments: Any) -> Any:
        written = write_batch_row(*arguments)
        monkeypatch.setattr("wordtide.table.commit.write_batch_row", write_batch_row)
        action()
        return written

    monkeypatch.setattr("wordtide.table.commit.write_batch_row", write_and_act)


@pytest.mark.parametrize("when", ["founding", Step.READ, Step.WRITE, Step.COMMIT, "log entry"])
def test_a_full_disk_publishes_nothing_and_the_next_drain_is_exact(
    place: Place, disk: Disk, at: At, monkeypatch: pytest.MonkeyPatch, when: Step | str
) -> None:
    stream = place.folder_stream(str(disk.folder / "tables"))
    table = place.table(stream)
    names = ["first"] if when == "founding" else ["first", "second"]
    give(place, stream, "first")
    if when == "founding":
        disk.fill()
    else:
        place.drain(stream)
        give(place, stream, "second")
        if isinstance(when, Step):
            at(when, disk.fill)
        else:
            after_the_ledger_row(monkeypatch, disk.fill)
    fails_in_one_line(
        EnvironmentProblem, f"{table.root}.*(no space left|the disk is full)", lambda: place.drain(stream)
    )
    disk.free()
    for file in Path(table.root).rglob("*.parquet"):
        assert pq.read_metadata(file).num_rows > 0
    if when == "founding":
        assert table.open() is None
    else:
        assert_exact(place, stream, "first")
    place.drain(stream)
    assert_exact(place, stream, *names)


def test_a_disk_that_is_full_for_a_checkpoint_only_costs_no_count(
    place: Place, disk: Disk, at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream(str(disk.folder / "tables"), max_files=1)
    names = [f"file{number}" for number in range(19)]
    for name in names[:18]:
        give(place, stream, name)
    place.drain(stream)
    assert place.handle(stream).version() == 18
    give(place, stream, names[18])
    # The log entry fits, the checkpoint that delta-rs writes behind version 19 does not.
    after_the_ledger_row(monkeypatch, partial(disk.fill, leave=8192))
    assert place.drain(stream).batches == 1
    disk.free()
    log = Path(place.table(stream).root, "_delta_log")
    assert not list(log.glob("*.checkpoint.parquet")), "the checkpoint fitted: nothing was proved"
    assert_exact(place, stream, *names)
    give(place, stream, "later")
    place.drain(stream)
    assert_exact(place, stream, *names, "later")


def test_a_full_temporary_folder_is_named_and_nothing_is_published(
    place: Place, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.counting.local.Accumulator", partial(Accumulator, Limits(rows=1000, batch_rows=500)))
    stream = place.folder_stream()
    place.drain(stream)
    lines = [" ".join(f"word{number}" for number in range(begin, begin + 100)) for begin in range(0, 400_000, 100)]
    place.land(stream, "many.txt", "\n".join(lines).encode())
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    disk.fill(leave=8192)
    fails_in_one_line(EnvironmentProblem, f"{disk.folder}: no space left", lambda: place.drain(stream))
    disk.free()
    assert not place.counted(stream)
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))
    assert [file.name for file in disk.folder.iterdir()] == []


def test_a_compaction_without_room_is_left_for_later(place: Place, disk: Disk) -> None:
    stream = place.folder_stream(str(disk.folder / "tables"), max_files=1)
    names = [f"file{number}" for number in range(4)]
    for name in names:
        give(place, stream, name)
    place.drain(stream)
    table = place.table(stream)
    disk.fill()
    assert not compact_if_needed(table, live_files=2)
    disk.free()
    assert_exact(place, stream, *names)
    assert compact_if_needed(table, live_files=2)
    assert_exact(place, stream, *names)


# Deleted under us


@pytest.mark.parametrize("when", [Step.READ, Step.WRITE, Step.COMMIT, "commit's last moment"])
def test_a_table_deleted_under_a_drain_ends_it_and_the_next_one_counts_everything_anew(
    place: Place, at: At, monkeypatch: pytest.MonkeyPatch, tables: str, when: Step | str
) -> None:
    stream = place.folder_stream(tables)
    give(place, stream, "first")
    place.drain(stream)
    give(place, stream, "second")
    if isinstance(when, Step):
        at(when, lambda: delete(place.table(stream)))
    else:
        original = DeltaTable.create_write_transaction

        def too_late(*arguments: Any, **options: Any) -> None:
            delete(place.table(stream))
            original(*arguments, **options)

        monkeypatch.setattr(DeltaTable, "create_write_transaction", too_late)
    fails_in_one_line(TableRefused, "was deleted while it was in use", lambda: place.drain(stream))
    monkeypatch.undo()
    place.drain(stream)
    assert_exact(place, stream, "first", "second")
    assert len(place.ledger(stream)) == 2


def test_a_table_whose_newest_log_entry_is_cut_off_is_refused_in_one_line_until_it_is_whole(place: Place) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")
    place.drain(stream)
    entry = Path(place.table(stream).root, "_delta_log", f"{place.handle(stream).version():020d}.json")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    give(place, stream, "second")
    fails_in_one_line(SourceUnavailable, str(place.table(stream).uri), lambda: place.drain(stream))
    entry.write_bytes(whole)
    place.drain(stream)
    assert_exact(place, stream, "first", "second")


def test_a_table_deleted_between_two_batches_ends_the_drain(place: Place) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")
    drain = place.drainer(stream)
    drain._next(Summary())
    delete(place.table(stream))
    give(place, stream, "second")
    fails_in_one_line(TableRefused, "was deleted while it was in use", lambda: drain._next(Summary()))
    assert place.table(stream).open() is None


@pytest.mark.parametrize("when", [Step.READ, Step.WRITE, Step.COMMIT])
def test_a_table_deleted_and_founded_anew_under_a_drain_gets_no_batch_of_the_old_one(
    place: Place, at: At, tables: str, when: Step
) -> None:
    """The new table is at the very version that the old one had: Delta alone would accept the commit."""
    stream = place.folder_stream(tables)
    give(place, stream, "first")
    place.drain(stream)
    version = place.handle(stream).version()
    give(place, stream, "second")

    def anew() -> None:
        delete(place.table(stream))
        place.drain(stream, run_id="rival")
        assert place.handle(stream).version() == version

    at(when, anew)
    place.drain(stream)
    assert_exact(place, stream, "first", "second")
    assert [row["run_id"] for row in place.ledger(stream)[1:]] == ["rival"]


def test_a_topics_table_deleted_between_two_drains_is_founded_anew_from_the_beginning(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(60)
    place.produce(stream, lines[:30])
    place.drain(stream)
    delete(place.table(stream))
    place.produce(stream, lines[30:])
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    assert_contiguous(rows, {split["partition"]: split["end"] for split in rows[-1]["splits"]})


# Another writer, another Wordtide


def other_format(step: int) -> str:
    name, _, number = FORMAT.rpartition(" ")
    return f"{name} {int(number) + step}"


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (other_format(1), r"newer Wordtide \(format \d+, this one knows \d+\); upgrade"),
        (other_format(-1), r"older Wordtide \(format \d+, this one writes \d+\); keep to that one"),
        ("my own table", "was not founded by Wordtide .*'my own table'"),
    ],
)
def test_a_table_of_another_version_is_refused_and_left_alone(place: Place, description: str, says: str) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")
    drain = place.drainer(stream)
    drain._next(Summary())
    place.handle(stream).alter.set_table_description(description)
    version = place.handle(stream).version()
    give(place, stream, "second")
    fails_in_one_line(TableRefused, says, lambda: drain._next(Summary()))
    fails_in_one_line(TableRefused, says, lambda: place.drain(stream))
    assert place.handle(stream).version() == version


def test_a_table_that_a_newer_wordtide_took_over_between_plan_and_commit_gets_no_batch(place: Place, at: At) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")
    place.drain(stream)
    give(place, stream, "second")
    at(Step.COMMIT, lambda: place.handle(stream).alter.set_table_description(other_format(1)))
    fails_in_one_line(TableRefused, "upgrade Wordtide", lambda: place.drain(stream))
    assert [row["batch"] for row in place.ledger(stream)] == [0, 1]


@pytest.mark.parametrize("change", ["a vacuum", "a property"])
def test_a_commit_that_is_no_batch_between_plan_and_commit_costs_no_count(place: Place, at: At, change: str) -> None:
    stream = place.folder_stream(max_files=1)
    for name in ("first", "second"):
        give(place, stream, name)
    place.drain(stream)
    # Leaves files behind that no version names.
    assert compact_if_needed(place.table(stream), live_files=1)
    give(place, stream, "third")
    versions: list[int] = []

    def commit() -> None:
        before = place.handle(stream).version()
        if change == "a vacuum":
            # Of what the compaction replaced. Our own files are younger than any retention.
            place.handle(stream).vacuum(0, dry_run=False, enforce_retention_duration=False)
        else:
            place.handle(stream).alter.set_table_properties({"delta.appendOnly": "false"})
        versions.extend((before, place.handle(stream).version()))

    at(Step.COMMIT, commit)
    place.drain(stream)
    assert versions[1] > versions[0]
    assert_exact(place, stream, "first", "second", "third")


# A table that ages under a batch


def other_commits(table: WordCounts, count: int) -> None:
    """Commit what is no batch, adds no file and changes no metadata."""
    for number in range(count):
        handle = table.open()
        assert handle is not None
        properties = CommitProperties(app_transactions=[Transaction("other", number)])
        # A drain's upkeep may still be about, and delta-rs panics over what goes under its eyes: once more then.
        with suppress(DeltaRsPanicked), panics_as_errors():
            handle.create_write_transaction([], "append", SCHEMA, PARTITION_BY, commit_properties=properties)


def aged(table: WordCounts, seconds: float) -> list[str]:
    """Let time pass: what is old enough then is deleted. Returns the paths."""
    for file in table.storage.list_files(table.root):
        move_back(table.storage, file.path, file.mtime_ms, seconds)
    grow_older(table, seconds)
    other_commits(table, 1)
    deleted: list[str] = []
    tidy(table, lambda path: deleted.extend([path] if table.storage.delete(path) else []))
    return deleted


def test_a_batch_in_hand_for_a_quarter_of_an_hour_commits(place: Place, at: At, tables: str) -> None:
    stream = place.folder_stream(tables, max_files=1)
    table = place.table(stream)
    names = ["first", "second", "third"]
    for name in names:
        give(place, stream, name)
    place.drain(stream)
    give(place, stream, "slow")
    attempts: list[int] = []
    deleted: list[str] = []

    def meanwhile() -> None:
        attempts.append(1)
        assert compact_if_needed(table, live_files=1)
        deleted.extend(aged(table, 900))

    at(Step.WRITE, meanwhile)
    at(Step.WRITE, lambda: attempts.append(2))
    place.drain(stream)
    assert [path for path in deleted if path.endswith("-0.parquet")], "nothing was deleted: nothing was proved"
    assert attempts == [1]
    assert_exact(place, stream, *names, "slow")


def test_a_plan_whose_version_is_gone_from_the_log_is_made_again(place: Place, at: At, tables: str) -> None:
    stream = place.folder_stream(tables)
    table = place.table(stream)
    give(place, stream, "first")
    place.drain(stream)
    give(place, stream, "second")
    attempts: list[int] = []

    def meanwhile() -> None:
        attempts.append(1)
        other_commits(table, 25)
        aged(table, 1500)
        assert table.entry(1) is None

    at(Step.COMMIT, meanwhile)
    at(Step.COMMIT, lambda: attempts.append(2))
    place.drain(stream)
    assert attempts == [1, 2]
    assert_exact(place, stream, "first", "second")


def test_a_plan_whose_version_goes_during_the_commit_is_made_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream()
    table = place.table(stream)
    give(place, stream, "first")
    place.drain(stream)
    give(place, stream, "second")
    is_there: Callable[..., bool] = WordCounts._is_there
    looks: list[bool] = []

    def look_and_lose(*arguments: Any) -> bool:
        looks.append(is_there(*arguments))
        if len(looks) == 1:
            other_commits(table, 25)
            aged(table, 1500)
        return looks[-1]

    monkeypatch.setattr(WordCounts, "_is_there", look_and_lose)
    place.drain(stream)
    assert looks == [True, True]
    assert_exact(place, stream, "first", "second")


# A host that slept, a clock that jumps


def test_a_plan_of_a_host_that_slept_past_the_retention_is_made_again(
    place: Place, at: At, clock: Clock, tables: str
) -> None:
    stream = place.folder_stream(tables)
    give(place, stream, "first")
    place.drain(stream)
    give(place, stream, "second")
    gone: list[str] = []

    def sleep() -> None:
        gone.extend(vacuum_all(place.table(stream)))
        clock.ahead += STALE_PLAN

    at(Step.COMMIT, sleep)
    place.drain(stream)
    assert len(gone) == 1, "the vacuum did not take the batch's file: nothing was proved"
    # Delta would have accepted the commit; whoever reads the table would have missed the file.
    assert_exact(place, stream, "first", "second")


def test_a_compaction_of_a_host_that_slept_past_the_retention_replaces_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream(max_files=1)
    names = [f"file{number}" for number in range(4)]
    for name in names:
        give(place, stream, name)
    place.drain(stream)
    original, gone = wordtide.table.maintain._merge, []

    def merge(*arguments: Any) -> Any:
        merged = original(*arguments)
        gone.extend(vacuum_all(place.table(stream)))
        return merged

    monkeypatch.setattr(wordtide.table.maintain, "_merge", merge)
    assert not compact_if_needed(place.table(stream), live_files=2)
    assert len(gone) == 2, "the vacuum did not take the merged files: nothing was proved"
    assert_exact(place, stream, *names)


def test_a_plan_that_seems_to_be_of_the_future_is_made_again(place: Place, at: At, clock: Clock) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")

    def back() -> None:
        clock.ahead -= timedelta(seconds=30)

    attempts: list[None] = []
    at(Step.COMMIT, back)
    at(Step.COMMIT, lambda: attempts.append(None))
    place.drain(stream)
    assert attempts == [None]
    assert_exact(place, stream, "first")
    for row in place.ledger(stream):
        assert row["planned_at"] <= row["committed_at"]


def test_counts_and_windows_are_exact_over_clocks_that_jump_by_days(place: Place, clock: Clock) -> None:
    steady = place.topic_stream(partitions=2, window="1h", max_records=40)
    jumping = Stream(steady.name, steady.config, str(place.folder / "jumping" / "word_counts"), None)
    lines = some_lines(120)
    hour_ago = int(time.time() * 1000) - 3_600_000
    for number, jump in enumerate((0, -1, 2, -1)):
        clock.ahead += jump * DAY
        place.produce(steady, lines[30 * number : 30 * number + 30], timestamp_ms=hour_ago - number * 3_600_000)
        place.drain(jumping)
    compact_if_needed(place.table(jumping), live_files=0)
    clock.ahead = timedelta(0)
    place.drain(steady)

    def summed(stream: Stream) -> dict[tuple[Any, str], int]:
        totals: dict[tuple[Any, str], int] = {}
        for _batch, window, word, count in rows_in(place.handle(stream)):
            totals[window, word] = totals.get((window, word), 0) + count
        return totals

    assert summed(jumping) == summed(steady)
    assert words_in(place.handle(jumping)) == words_of(lines)
    rows = place.ledger(jumping)
    assert_numbered(rows)
    assert sum(row["clamped"] for row in rows) == 0
    ends = {
        number: max(s["end"] for row in rows for s in row["splits"] if s["partition"] == number) for number in (0, 1)
    }
    assert_contiguous(rows, ends)
    days = {uri.partition("day=")[2][:10] for uri in place.handle(jumping).file_uris()}
    assert len(days) == 3


def test_waits_end_while_the_clock_runs_backwards(place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = place.folder_stream()
    give(place, stream, "first")
    source, jumps = place.source(stream), [0]
    look = source.look

    def ever_earlier() -> Any:
        jumps[0] += 1
        clock.ahead -= timedelta(minutes=1)
        return look()

    monkeypatch.setattr(source, "look", ever_earlier)
    ended = threading.Event()

    def follow() -> None:
        place.drainer(stream, source=source).run(Pace(interval=0.05, linger=0.5, max_run=60.0))
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    assert ended.wait(20)
    assert jumps[0] > 3
    assert_exact(place, stream, "first")


def test_a_run_of_the_future_does_not_hold_the_stream_until_then() -> None:
    limit = NEWS.config.max_run + GRACE_SECONDS
    assert hold(NEWS, [ActiveRun("0123456789", -5.0)], Failures(0, 0.0)) is not None
    assert hold(NEWS, [ActiveRun("0123456789", -limit - 1)], Failures(0, 0.0)) is None


def test_a_failure_of_the_future_does_not_delay_the_next_try_until_then() -> None:
    assert back_off(Failures(3, -DAY.total_seconds())) == 0.0

"""What ages is deleted when nobody can need it any more, wherever a process died and however many do it at once."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

import wordtide.table.maintain
from tests.support import Place, rows_in, unique
from wordtide.core.problems import EnvironmentProblem
from wordtide.repair.recount import find_published, recount
from wordtide.repair.resolve import existing
from wordtide.storage import LocalStorage
from wordtide.table.ages import AGES, FOREVER, FORMER_AGE, RETENTION, SNAPSHOT_AGE, ages_of
from wordtide.table.commit import WordCounts
from wordtide.table.deltalog import DeltaLog
from wordtide.table.files import utc_now
from wordtide.table.maintain import compact_if_needed, vacuum
from wordtide.table.replaced import FOLDER, read_lists, write_lists
from wordtide.table.schema import PARTITION_BY, SCHEMA
from wordtide.table.upkeep import Upkeep, tidy
from wordtide.testing.age import LightTable, grow_older, move_back

OLD = SNAPSHOT_AGE.total_seconds() + 5
VERY_OLD = 2 * OLD


@pytest.fixture
def light(tmp_path: Path) -> LightTable:
    return LightTable(tmp_path, "light")


def data_files(table: WordCounts) -> set[str]:
    return {
        file.path.removeprefix(f"{table.root}/")
        for file in table.storage.list_files(table.root)
        if file.path.endswith(".parquet")
    }


def live_files(table: WordCounts) -> set[str]:
    handle = table.open()
    assert handle is not None
    return {uri[uri.index("kind=") :] for uri in handle.file_uris()}


def lists(table: WordCounts) -> list[str]:
    return [path for path, _ in read_lists(table.storage, table.root)]


def rows(table: WordCounts) -> list[tuple[Any, ...]]:
    handle = table.open()
    assert handle is not None
    return rows_in(handle)


def tidied(table: WordCounts) -> list[str]:
    """Do what is due, and return what was deleted."""
    deleted: list[str] = []

    def delete(path: str) -> None:
        if table.storage.delete(path):
            deleted.append(path.removeprefix(f"{table.root}/"))

    tidy(table, delete)
    return deleted


def compacted(light: LightTable, batches: int = 3) -> set[str]:
    """Commit some batches and compact them; return the files that are dead now."""
    for _ in range(batches):
        light.commit()
    before = live_files(light.table)
    assert compact_if_needed(light.table, live_files=1)
    return before - live_files(light.table)


def interrupted(monkeypatch: pytest.MonkeyPatch, light: LightTable) -> None:
    """Compact, and die right before the commit."""

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(wordtide.table.maintain, "_replace", die)
        with pytest.raises(KeyboardInterrupt):
            compact_if_needed(light.table, live_files=1)


def other_commits(table: WordCounts, count: int) -> None:
    """Commit what is no batch, adds no file and changes no metadata."""
    for number in range(count):
        handle = table.open()
        assert handle is not None
        properties = CommitProperties(app_transactions=[Transaction("other", number)])
        handle.create_write_transaction([], "append", SCHEMA, PARTITION_BY, commit_properties=properties)


# Files that compaction replaced


@pytest.mark.parametrize("where", ["local", "hdfs"])
def test_replaced_files_are_deleted_once_no_snapshot_can_need_them(place: Place, where: str) -> None:
    tables = f"hdfs:///{unique('tables')}" if where == "hdfs" else None
    light = LightTable(place.folder, "light", tables, place.hdfs)
    table = light.table
    dead, counted = compacted(light), rows(table)
    tidied(table)
    assert data_files(table) >= dead
    grow_older(table, OLD - 30)
    tidied(table)
    assert data_files(table) >= dead
    grow_older(table, 30)
    assert dead <= set(tidied(table))
    assert data_files(table) == live_files(table)
    assert lists(table) == []
    assert rows(table) == counted


def forget(table: WordCounts) -> None:
    """Delete the log as delta-rs does, before anything else is done."""
    for path in DeltaLog.of(table.storage.list_files(f"{table.root}/_delta_log")).expired(utc_now(), SNAPSHOT_AGE):
        table.storage.delete(path)


def test_replaced_files_are_deleted_also_when_the_log_has_forgotten_them(light: LightTable) -> None:
    dead = compacted(light)
    for _ in range(45):
        light.commit()
    grow_older(light.table, OLD)
    forget(light.table)
    assert light.table.entry(4) is None
    assert dead <= set(tidied(light.table))
    assert lists(light.table) == []


def test_a_merged_file_that_was_merged_again_is_known_by_the_list_that_removes_it(light: LightTable) -> None:
    dead = compacted(light) | compacted(light)
    for _ in range(45):
        light.commit()
    grow_older(light.table, OLD)
    forget(light.table)
    assert dead <= set(tidied(light.table))
    assert lists(light.table) == []


def test_a_compaction_that_died_before_its_commit_costs_no_file_that_is_live(
    light: LightTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        light.commit()
    interrupted(monkeypatch, light)
    merged = data_files(light.table) - live_files(light.table)
    assert merged
    grow_older(light.table, VERY_OLD)
    tidied(light.table)
    assert len(lists(light.table)) == 1, "its version may still be committed"
    light.commit()
    counted = rows(light.table)
    grow_older(light.table, VERY_OLD)
    # The version is another's now: what was merged can never be committed any more.
    assert merged <= set(tidied(light.table))
    assert lists(light.table) == []
    assert data_files(light.table) == live_files(light.table)
    assert rows(light.table) == counted


def test_a_list_whose_commit_nothing_shows_any_more_costs_no_file(light: LightTable) -> None:
    for _ in range(3):
        light.commit()
    some = sorted(data_files(light.table))
    write_lists(light.table.storage, light.table.root, 1, ["kind=count/merged-x.parquet"], some, "a" * 32)
    for _ in range(45):
        light.commit()
    grow_older(light.table, VERY_OLD)
    other_commits(light.table, 20)
    assert light.table.entry(1) is None
    counted = rows(light.table)
    tidied(light.table)
    assert lists(light.table) == []
    assert data_files(light.table) >= set(some)
    assert rows(light.table) == counted


def test_files_that_a_restore_brought_back_to_life_stay(light: LightTable) -> None:
    for _ in range(3):
        light.commit()
    before, counted = live_files(light.table), rows(light.table)
    assert compact_if_needed(light.table, live_files=1)
    DeltaTable(light.table.uri).restore(3)
    grow_older(light.table, OLD)
    tidied(light.table)
    assert live_files(light.table) == before <= data_files(light.table)
    assert rows(light.table) == counted


def test_files_that_a_restore_brings_back_to_life_during_the_deletes_stay(light: LightTable) -> None:
    compacted(light)
    second = compacted(light)
    version = DeltaTable(light.table.uri).version() - 1
    grow_older(light.table, OLD)
    deleted: list[str] = []

    def delete(path: str) -> None:
        light.table.storage.delete(path)
        if not deleted:
            DeltaTable(light.table.uri).restore(version)
        deleted.append(path)

    tidy(light.table, delete)
    assert len(deleted) > 1
    assert second <= live_files(light.table) <= data_files(light.table)


@pytest.mark.parametrize("content", [b"", b'{"added": ["kind', b'{"added": []}', b"[1]", b"\xff\0"])
def test_a_list_that_cannot_be_read_keeps_no_other_and_goes_in_the_end(
    light: LightTable, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    compacted(light)
    dead = compacted(light)
    broken = lists(light.table)[0]
    light.table.storage.delete(broken)
    light.table.storage.write_durably(broken, [content])
    for _ in range(25):
        light.commit()
    with caplog.at_level(logging.WARNING, "wordtide"):
        tidied(light.table)
        assert broken in lists(light.table)
        grow_older(light.table, VERY_OLD)
        assert dead <= set(tidied(light.table))
        tidied(light.table)
    assert lists(light.table) == []
    assert light.table.entry(0) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{broken} cannot be read and is deleted; a vacuum finds the files that it named"
    ]


@pytest.mark.parametrize("failing", ["replaced", "log"])
def test_what_one_kind_fails_by_keeps_none_of_the_others(
    light: LightTable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    dead = compacted(light)
    for _ in range(25):
        light.commit()
    grow_older(light.table, VERY_OLD)
    really = light.table.storage.delete

    def delete(_storage: object, path: str) -> bool:
        kind = (
            "log" if "_delta_log" in path else "replaced" if path.removeprefix(f"{light.table.root}/") in dead else ""
        )
        if kind == failing:
            raise RuntimeError("something that nobody foresaw")
        return really(path)

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "wordtide"):
        patched.setattr(LocalStorage, "delete", delete)
        upkeep = Upkeep(light.table)
        for _ in range(2):
            upkeep.nudge()
            assert upkeep._thread is not None
            upkeep._thread.join(60)
            upkeep._next = 0.0
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["something that nobody foresaw"]
    assert (dead & data_files(light.table) == set()) is (failing != "replaced")
    assert (light.table.entry(0) is None) is (failing != "log")
    assert light.table.storage.exists(f"{light.table.root}/{FOLDER}/searched")


def test_two_at_once_and_one_that_was_stopped_anywhere_do_no_harm(light: LightTable) -> None:
    dead = compacted(light, 20)
    counted = rows(light.table)
    grow_older(light.table, OLD)

    class Killed(BaseException):
        pass

    for allowed in (0, 1, 7):
        left = [allowed]

        def delete(path: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            light.table.storage.delete(path)

        with pytest.raises(Killed):
            tidy(light.table, delete)
    threads = [threading.Thread(target=tidied, args=(light.table,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not data_files(light.table) & dead
    assert lists(light.table) == []
    assert rows(light.table) == counted


def test_what_an_older_wordtide_replaced_is_deleted_as_well(light: LightTable) -> None:
    dead = compacted(light)
    light.table.storage.delete(f"{light.table.root}/{FOLDER}")
    DeltaTable(light.table.uri).alter.set_table_properties(dict.fromkeys(AGES, FORMER_AGE))
    snapshot = light.table.snapshot()
    assert snapshot is not None
    assert WordCounts(light.stream, light.table.uri, light.table.storage, light.table.root).bring_up_to_date(snapshot)
    grow_older(light.table, OLD)
    light.table.open()
    assert dead <= set(tidied(light.table))


def test_ages_that_somebody_chose_for_a_table_stay(light: LightTable) -> None:
    chosen = {"delta.logRetentionDuration": "interval 30 days"}
    DeltaTable(light.table.uri).alter.set_table_properties(chosen)
    snapshot = light.table.snapshot()
    assert snapshot is not None
    assert not light.table.bring_up_to_date(snapshot)


CHOSEN = "interval 30 days"


def test_a_longer_retention_of_files_that_somebody_chose_holds(light: LightTable) -> None:
    light.commit()
    DeltaTable(light.table.uri).alter.set_table_properties({"delta.deletedFileRetentionDuration": CHOSEN})
    dead = compacted(light)
    for _ in range(45):
        light.commit()
    grow_older(light.table, VERY_OLD)
    tidied(light.table)
    assert light.table.entry(4) is None, "the log's own age was not changed"
    assert data_files(light.table) >= dead
    grow_older(light.table, timedelta(days=30).total_seconds())
    assert dead <= set(tidied(light.table))
    assert lists(light.table) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("logRetentionDuration", CHOSEN), ("logRetentionDuration", "2 moons"), ("enableExpiredLogCleanup", "false")],
)
def test_a_longer_retention_of_the_log_that_somebody_chose_holds(light: LightTable, name: str, value: str) -> None:
    DeltaTable(light.table.uri).alter.set_table_properties({f"delta.{name}": value})
    for _ in range(25):
        light.commit()
    grow_older(light.table, VERY_OLD)
    tidied(light.table)
    assert light.table.entry(0) is not None


@pytest.mark.parametrize(
    ("value", "age"),
    [
        ("interval 1 minute", RETENTION),
        ("interval 7 days", timedelta(days=7)),
        ("1 WEEK", timedelta(days=7)),
        ("interval 3 days 12 hours", timedelta(days=3, hours=12)),
        ("interval 99999999999999 days", FOREVER),
        ("interval 2 months", FOREVER),
        ("", FOREVER),
    ],
)
def test_files_that_no_commit_named_stay_for_as_long_as_the_tables_property_says(value: str, age: timedelta) -> None:
    assert ages_of({"delta.deletedFileRetentionDuration": value}).unnamed == age


def test_a_table_with_a_longer_retention_is_searched_for_files_that_no_commit_named(light: LightTable) -> None:
    light.commit()
    DeltaTable(light.table.uri).alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 7 days"})
    some = sorted(data_files(light.table))[0]
    orphans = []
    for name, days in (("a", 6), ("b", 8)):
        path = f"{some.rpartition('/')[0]}/{name * 32}.parquet"
        light.table.storage.write_durably(f"{light.table.root}/{path}", [b"PAR1"])
        info = light.table.storage.stat(f"{light.table.root}/{path}")
        move_back(light.table.storage, info.path, info.mtime_ms, timedelta(days=days).total_seconds())
        orphans.append(path)
    young, old = orphans
    assert tidied(light.table) == [old]
    assert vacuum(light.table.uri) == 0
    assert young in data_files(light.table)


# The log


@pytest.mark.parametrize("strange", ["fresh", "future"])
def test_an_old_entry_with_a_late_time_does_not_keep_the_log(light: LightTable, strange: str) -> None:
    for _ in range(100):
        light.commit()
    grow_older(light.table, 2 * VERY_OLD)
    entry = light.table.entry(2)
    assert entry is not None
    move_back(light.table.storage, entry.path, entry.mtime_ms, {"fresh": -2 * VERY_OLD, "future": -1e8}[strange])
    for _ in range(25):
        light.commit()
    assert light.table.entry(0) is not None, "delta-rs deletes more than a prefix now"
    tidied(light.table)
    assert light.table.entry(78) is None
    assert light.table.entry(100) is not None
    assert light.commit() == 126


def test_the_log_of_a_quiet_table_shrinks_to_what_opens_it(light: LightTable) -> None:
    for _ in range(45):
        light.commit()
    counted = rows(light.table)
    tidied(light.table)
    assert light.table.entry(0) is not None
    grow_older(light.table, VERY_OLD)
    tidied(light.table)
    log = light.table.storage.list_files(f"{light.table.root}/_delta_log")
    assert sum(file.path.endswith(".json") for file in log) == 46 - 39
    assert rows(light.table) == counted
    assert light.commit() == 46


# Files that no commit named


def test_files_that_no_commit_named_are_deleted_after_two_days_and_searched_for_now_and_then(
    light: LightTable,
) -> None:
    table = light.table
    light.commit()
    some = sorted(data_files(table))[0]
    content = b"".join(table.storage.read_range(f"{table.root}/{some}", 0, 1 << 20))

    def orphan(name: str, age: timedelta) -> str:
        path = f"{some.rpartition('/')[0]}/{name * 32}.parquet"
        table.storage.write_durably(f"{table.root}/{path}", [content])
        info = table.storage.stat(f"{table.root}/{path}")
        move_back(table.storage, info.path, info.mtime_ms, age.total_seconds())
        return path

    old, young = orphan("a", RETENTION + timedelta(hours=1)), orphan("b", RETENTION - timedelta(hours=1))
    assert tidied(table) == [old]
    later = orphan("c", RETENTION + timedelta(hours=1))
    assert tidied(table) == []
    mark = table.storage.stat(f"{table.root}/{FOLDER}/searched")
    move_back(table.storage, mark.path, mark.mtime_ms, RETENTION.total_seconds() / 4)
    assert later in tidied(table)
    assert young in data_files(table)


# In a drain


def test_a_drain_tidies_its_table_by_itself(place: Place) -> None:
    stream = place.folder_stream(max_files=1)
    table = place.table(stream)
    for number in range(4):
        place.land(stream, f"file{number}", b"a b\n")
    place.drain(stream)
    before = live_files(table)
    assert compact_if_needed(table, live_files=1)
    dead = before - live_files(table)
    grow_older(table, OLD)
    # Nothing has come: a quiet stream is tidied too.
    place.drain(stream)
    assert dead
    assert data_files(table) == live_files(table)
    assert place.counted(stream) == {"a": 4, "b": 4}


def test_a_snapshot_whose_log_is_gone_says_so(light: LightTable) -> None:
    light.commit()
    old = existing(light.table)
    for _ in range(45):
        light.commit()
    grow_older(light.table, VERY_OLD)
    tidied(light.table)
    with pytest.raises(Exception, match="older than 10 minutes and gone"):
        old.position("kafka/cluster/id/0")


def test_a_replay_whose_snapshot_ages_while_the_source_is_read_still_compares(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream(max_files=1)
    table, source = place.table(stream), place.source(stream)
    for number in range(3):
        place.land(stream, f"file{number}", b"a b\n")
    place.drain(stream)
    snapshot = existing(table)
    (published,) = find_published(snapshot.handle, lambda row: row.batch == 1)
    verify = source.verify

    def slowly(*arguments: Any) -> None:
        if compact_if_needed(table, live_files=1):
            grow_older(table, OLD)
            assert tidied(table)
        verify(*arguments)

    monkeypatch.setattr(source, "verify", slowly)
    assert len(recount(stream, source, snapshot, published).rows) == 0
    source.close()


def test_what_cannot_be_deleted_is_said_once_and_ends_no_drain(
    light: LightTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compacted(light)
    grow_older(light.table, OLD)

    def refuse(*_arguments: object) -> bool:
        raise EnvironmentProblem("permission denied; let this user write there")

    monkeypatch.setattr(LocalStorage, "delete", refuse)
    upkeep = Upkeep(light.table)
    with caplog.at_level(logging.WARNING, "wordtide"):
        for _ in range(2):
            upkeep.nudge()
            upkeep.finish()
            upkeep._next = 0.0
    assert [record.getMessage() for record in caplog.records] == [
        f"table {light.table.uri}: old files were left for later: permission denied; let this user write there"
    ]


def test_upkeep_of_a_table_that_is_not_there_does_nothing(place: Place) -> None:
    table = place.table(place.topic_stream())
    assert tidied(table) == []
    assert not Path(table.root).exists()


AT_EXIT = """
import time, types
import wordtide.table.upkeep as upkeep
upkeep.FINISH_SECONDS = 0
def tidy(table, delete):
    time.sleep(1)
    print("returned", flush=True)
upkeep.tidy = tidy
one = upkeep.Upkeep(types.SimpleNamespace(stream=types.SimpleNamespace(name="s")))
one.nudge()
one.finish()
"""


def test_a_process_that_ends_waits_for_the_call_in_hand() -> None:
    ended = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "returned\n"

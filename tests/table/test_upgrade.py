"""A table that an older Wordtide wrote is drained further, replayed and compacted; it gains columns, once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema, write_deltalake

from tests.support import Place, assert_numbered, create_topic, decide, produce
from wordtide.config import Stream, parse_streams
from wordtide.core.model import Batch
from wordtide.core.problems import PlanAgain
from wordtide.repair.recount import find_published, recount
from wordtide.repair.resolve import existing
from wordtide.table.ages import AGES
from wordtide.table.files import utc_now
from wordtide.table.fingerprint import fingerprint
from wordtide.table.maintain import compact_if_needed
from wordtide.table.scan import Scan, newest_rows
from wordtide.table.schema import SCHEMA
from wordtide.table.upgrade import missing_columns

WRITTEN = Path(__file__).parent.parent / "data" / "tables-0.1.0"
ROOT = Path("/tmp/wordtide-tables-of-0.1.0")
WORDS = Counter({"b": 2, "z": 2, "a": 1, "c": 1, "d": 1})
ADDED = {"key", "items", "digest", "file_id", "detail"}


def nested(handle: DeltaTable, column: str) -> set[str]:
    schema = pa.schema(handle.schema().to_arrow())
    return {field.name for field in schema.field(column).type.value_type}


@pytest.fixture
def folder(place: Place) -> Iterator[Stream]:
    """The stream of the old `folder` table, its landing folder where it was; one test at a time has it."""
    with open(f"{ROOT}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        landing = ROOT / "landing"
        shutil.rmtree(ROOT, ignore_errors=True)
        shutil.copytree(WRITTEN / "landing", landing)
        for file in landing.iterdir():
            os.utime(file, (1_780_000_000, 1_780_000_000))
        shutil.copytree(WRITTEN / "folder", place.folder / "tables" / "folder")
        source = {"path": str(landing), "min_age": "0s"}
        yield place.streams({"folder": {"landing": source, "quarantine": {"larger_than": 100}}})["folder"]
        shutil.rmtree(ROOT, ignore_errors=True)


@pytest.fixture
def topic(place: Place) -> Stream:
    """A stream on a topic of the old one's name, on another cluster, with the old one's table."""
    shutil.copytree(WRITTEN / "topic", place.folder / "tables" / "topic")
    config = {"kafka": {"topic": "old-words"}, "quarantine": {"undecodable": True}}
    return place.streams({"topic": config})["topic"]


def test_an_old_folder_is_drained_further_and_only_what_is_new_is_counted(place: Place, folder: Stream) -> None:
    place.land(folder, "six.txt", b"a new\n")

    place.drain(folder)

    assert place.counted(folder) == WORDS + Counter({"a": 1, "new": 1})
    assert_numbered(place.ledger(folder))
    assert existing(place.table(folder)).ledger.parked.keys() == {f"{ROOT}/landing/five.txt.bz2"}
    assert decide(place, folder, f"{ROOT}/landing/five.txt.bz2", "skip").batch.number == 7


def test_an_old_topic_waits_for_a_decision_about_its_cluster_and_then_goes_on(place: Place, topic: Stream) -> None:
    create_topic(place.cluster, "old-words", 2)
    produce(place.cluster, "old-words", ["a b", "new"])
    before = place.counted(topic)

    assert place.drain(topic).parked == ["old-words"]
    decide(place, topic, "old-words", "from-earliest")
    place.drain(topic)

    assert place.counted(topic) == before + Counter({"a": 1, "b": 1, "new": 1})
    assert_numbered(place.ledger(topic))


def test_an_old_batch_replays_to_what_it_published(place: Place, folder: Stream) -> None:
    source, table = place.source(folder), place.table(folder)
    found = find_published(existing(table).handle, lambda row: row.batch in (1, 2))

    differences = [recount(folder, source, existing(table), published) for published in found]

    assert [difference.published.number for difference in differences] == [1, 2]
    assert not any(difference.changes for difference in differences)
    source.close()


def test_old_and_new_rows_are_compacted_into_one_file(place: Place, folder: Stream) -> None:
    place.land(folder, "six.txt", b"a new\n")
    place.drain(folder)
    before = Scan(place.handle(folder)).rows()

    assert compact_if_needed(place.table(folder), live_files=0)

    table, handle = place.table(folder), place.handle(folder)
    assert Scan(handle).rows() == before
    assert newest_rows(table.storage, table.root, handle, -1) == before
    assert place.counted(folder) == WORDS + Counter({"a": 1, "new": 1})


def test_columns_and_ages_come_once_by_commits_of_their_own(place: Place, folder: Stream) -> None:
    assert not ADDED & nested(place.handle(folder), "splits")
    version = place.handle(folder).version()

    place.drain(folder)
    place.drain(folder)

    handle = place.handle(folder)
    assert handle.version() == version + 2
    assert handle.metadata().configuration.items() >= AGES.items()
    assert nested(handle, "splits") >= ADDED
    assert nested(handle, "quarantined") >= ADDED
    assert place.counted(folder) == WORDS


def test_a_writer_that_does_not_drain_adds_the_columns_too(place: Place, folder: Stream) -> None:
    decide(place, folder, f"{ROOT}/landing/five.txt.bz2", "skip")

    assert nested(place.handle(folder), "splits") >= ADDED
    assert_numbered(place.ledger(folder))


def test_a_batch_is_not_committed_before_its_columns_are_there(place: Place, folder: Stream) -> None:
    snapshot = existing(place.table(folder))
    batch = Batch("folder", 6, "attempt", utc_now(), snapshot.version, (), (snapshot.batch_transaction(),))

    with pytest.raises(PlanAgain, match="older Wordtide"):
        place.table(folder).commit(snapshot, batch, None, "run")

    assert existing(place.table(folder)).ledger.last == 5


def test_of_two_writers_that_bring_a_table_up_to_date_one_commits(place: Place, folder: Stream) -> None:
    tables = [place.table(folder) for _ in range(2)]
    snapshots = [existing(table) for table in tables]
    version = snapshots[0].version

    assert all(table.bring_up_to_date(snapshot) for table, snapshot in zip(tables, snapshots, strict=True))

    assert place.handle(folder).version() == version + 2
    assert not any(table.bring_up_to_date(existing(table)) for table in tables)


def test_a_table_founded_now_lacks_nothing(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.Table.from_pylist([], schema=SCHEMA), partition_by=["kind", "day"])

    assert missing_columns(DeltaTable(tmp_path / "t")) == []


def test_a_table_of_a_newer_wordtide_with_more_fields_lacks_nothing(tmp_path: Path) -> None:
    split = SCHEMA.field("splits").type.value_type
    wider = pa.list_(pa.struct([*split, pa.field("future", pa.string())]))
    schema = SCHEMA.set(SCHEMA.get_field_index("splits"), pa.field("splits", wider))
    write_deltalake(tmp_path / "t", pa.Table.from_pylist([], schema=schema), partition_by=["kind", "day"])

    assert missing_columns(DeltaTable(tmp_path / "t")) == []
    assert Schema.from_arrow(schema) != Schema.from_arrow(SCHEMA)


@pytest.mark.parametrize(
    ("source", "identity", "expected"),
    [
        (
            {"kafka": {"topic": "news"}},
            {"cluster_id": "c", "topic_id": "i", "topic": "news"},
            "ba03d03ad875c6c93064aeb4d68b61f08e5f562a99ea0f5ad9a4cbf284f221ea",
        ),
        (
            {"landing": {"path": "hdfs:///landing/articles"}, "tokenizer": "words", "window": "10m"},
            {"namespace": "CID-1", "path": "/landing/articles"},
            "f766329ed7cb491d889ddd0ec56a0cf2c1ba8a79f0f63d745c2deefb491221fa",
        ),
    ],
)
def test_fingerprints_are_those_of_the_first_release(
    source: dict[str, object], identity: dict[str, str], expected: str
) -> None:
    """Tables out there hold them: whatever modules and folders are called, the same meaning is the same hash."""
    stream = parse_streams(str({"tables": "/x", "streams": {"s": source}}), Path("/streams.yaml"))["s"]

    assert fingerprint(stream, identity) == expected

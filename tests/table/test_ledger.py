"""The ledger as a cache of batch rows, and proofs of pieces put together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Place, some_lines
from wordtide.config import Stream, parse_streams
from wordtide.core.model import (
    Aside,
    Batch,
    Counted,
    Decision,
    FileSplit,
    Founding,
    KafkaSplit,
    Parked,
    SplitProof,
    Status,
    Verdict,
)
from wordtide.core.problems import TableRefused
from wordtide.core.proofs import merge_proofs
from wordtide.table.catch_up import catch_up
from wordtide.table.fingerprint import fingerprint
from wordtide.table.ledger import Ledger
from wordtide.table.record import LedgerRow, SplitRecord, rows_of, to_table
from wordtide.table.rows import batch_row, founding_row
from wordtide.table.schema import BATCH_SCHEMA, SCHEMA, SPLIT

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TOPIC = {"cluster_id": "c", "topic_id": "i", "topic": "t"}


def stream(**keys: Any) -> Stream:
    entry = {"kafka": {"topic": "t"}, **keys}
    return parse_streams(str({"tables": "/x", "streams": {"s": entry}}), Path("/streams.yaml"))["s"]


def parked_row(number: int, *parked: Parked) -> LedgerRow:
    return batch_row(Batch("s", number, "a", NOW, 0, (), (), parked, status=Status.PARKED), None, "run", NOW)


def test_proofs_of_pieces_add_up_to_one_a_split() -> None:
    whole, other = KafkaSplit("t", 0, 0, 10), KafkaSplit("t", 1, 5, 9)
    pieces = [
        SplitProof(KafkaSplit("t", 1, 5, 9), 4, 4, 0, 40, 1),
        SplitProof(KafkaSplit("t", 0, 6, 10), 3, 3, 1, 30),
        SplitProof(KafkaSplit("t", 0, 0, 6), 5, 6, 0, 50, 2),
    ]
    assert merge_proofs([whole, other], pieces) == (
        SplitProof(whole, 8, 9, 1, 80, 2),
        SplitProof(other, 4, 4, 0, 40, 1),
    )


def test_names_by_which_things_are_parked() -> None:
    file = FileSplit("/l/a.txt", 1, 2, 0, 1)
    row = parked_row(
        3, Parked("t", "other id"), Parked("t/1", "lost", KafkaSplit("t", 1, 0, 4)), Parked(file.path, "bad", file)
    )
    assert [split.name for split in row.splits] == ["t", "t/1", "/l/a.txt"]
    ledger = Ledger("table")
    ledger.apply([row])
    assert {what: since.reason for what, since in ledger.parked.items()} == {
        "t": "other id",
        "t/1": "lost",
        "/l/a.txt": "bad",
    }


def test_many_reasons_are_told_in_one_line() -> None:
    row = parked_row(1, *(Parked(f"/l/{n}", f"reason {n}", FileSplit(f"/l/{n}", 1, 2, 0, 1)) for n in range(5)))
    assert row.reason == "reason 0; reason 1; reason 2 (and 2 more)"


def test_a_row_comes_back_from_the_table_as_it_was() -> None:
    founding = founding_row(stream(), Founding(TOPIC, (), (KafkaSplit("t", 0, 3, 3),)), "a", "run", NOW)
    file = FileSplit("/l/a", 3, 9, 0, 3, as_text=True, file_id=7)
    proof = SplitProof(file, 1, bytes=3, aside=(Aside(replace(file, start=1, end=2), "not UTF-8"),), digest=5)
    counted = Counted((), (proof,), 4, 2, 1, "local", {"plan": 0.5, "read": 0.25})
    batch = Batch("s", 2, "b", NOW, 3, (file,), (), decision=Decision(Verdict.TEXT, "me", "why"), replaces=1)
    for row in (founding, parked_row(1, Parked("t", "gone")), batch_row(batch, counted, "run", NOW)):
        assert rows_of(to_table(row)) == [row]


def test_rows_of_which_splits_have_no_columns_of_later_versions_are_read() -> None:
    old = pa.struct([SPLIT.field(name) for name in ("topic", "partition", "start", "end", "path", "length", "mtime")])
    splits = pa.array([[{"topic": "t", "partition": 1, "start": 2, "end": 3}], None], pa.list_(old))
    rows = pa.table({**to_columns(parked_row(0), parked_row(1)), "splits": splits})
    assert [row.splits for row in rows_of(rows)] == [(SplitRecord(topic="t", partition=1, start=2, end=3),), ()]


def test_a_status_of_a_later_version_is_refused_by_name() -> None:
    rows = pa.table({**to_columns(parked_row(7)), "status": ["merged"]})
    with pytest.raises(TableRefused, match="batch 7 has the status 'merged'"):
        rows_of(rows)


def to_columns(*rows: LedgerRow) -> dict[str, Any]:
    table = pa.concat_tables([to_table(row) for row in rows])
    return {name: table.column(name) for name in table.column_names}


@pytest.mark.parametrize("keys", [{"tokenizer": "words"}, {"window": "5m"}])
def test_what_gives_a_table_its_meaning_is_in_its_fingerprint(keys: dict[str, Any]) -> None:
    assert fingerprint(stream(**keys), TOPIC) != fingerprint(stream(), TOPIC)


def test_what_does_not_is_not() -> None:
    other = stream(batch_interval="7s", engine="spark", max_records=3, linger="1s")
    assert fingerprint(other, TOPIC | {"topic_id": "another"}) == fingerprint(stream(), TOPIC)


def test_a_ledger_that_is_caught_up_is_the_one_that_is_read_whole(place: Place) -> None:
    landing = place.folder_stream(max_files=1)
    known = None
    for number in range(4):
        place.land(landing, f"{number}.txt", b"a\n")
        place.land(landing, f"{number}.zip", b"PK\3\4")
        place.drain(landing)
        table = place.table(landing)
        caught_up, whole = table.snapshot(known), table.snapshot()
        assert caught_up is not None
        assert whole is not None
        assert caught_up.ledger == whole.ledger
        known = caught_up.ledger
    assert len(known.files) == 4  # type: ignore[union-attr]
    assert len(known.parked) == 4  # type: ignore[union-attr]


def test_a_ledger_with_a_missing_batch_is_refused(place: Place) -> None:
    topic = place.topic_stream(max_records=5)
    place.produce(topic, some_lines(20))
    place.drain(topic)
    place.handle(topic).delete("kind = 'batch' and batch = 2")
    with pytest.raises(TableRefused, match="each batch"):
        place.drain(topic)


FOLDER = {"namespace": "n", "path": "/l"}


def file_split(path: str, length: int, **detail: str) -> SplitRecord:
    split = FileSplit(path, length, 1, 0, length, file_id=length, digest=length)
    return parked_row(0, Parked(path, "", split, detail=detail)).splits[0]


def folder_row(number: int, status: Status, *splits: SplitRecord) -> LedgerRow:
    return replace(parked_row(number), status=status, splits=splits)


def founded_folder() -> LedgerRow:
    batch = Batch("s", 0, "a", NOW, -1, (), (), status=Status.FOUNDED, identity=FOLDER)
    return replace(batch_row(batch, None, "run", NOW), fingerprint="f")


class RowsOnly:
    """As much of a table as catching up needs: its batch rows."""

    table_uri = "/x"

    def __init__(self, rows: list[LedgerRow], **damaged: pa.Array) -> None:
        columns = [name for name in SCHEMA.names if name == "kind" or name in BATCH_SCHEMA.names]
        schema = pa.schema([SCHEMA.field(name) for name in columns])
        self._rows = pa.Table.from_pylist([{"kind": "batch", **row.as_dict()} for row in rows], schema)
        for name, column in damaged.items():
            self._rows = self._rows.set_column(columns.index(name), name, column)

    def to_pyarrow_dataset(self) -> ds.Dataset:
        return ds.dataset(self._rows)


def caught_up(rows: list[LedgerRow], *cuts: int) -> Ledger:
    """Return the ledger that reads the rows at once, or with stops after these batches."""
    ledger = Ledger("t")
    for last in (*cuts, rows[-1].batch):
        catch_up(RowsOnly(rows), ledger, last)  # type: ignore[arg-type]
    return ledger


@pytest.mark.parametrize("moves", [{"log": "log.1", "log.1": "log.2"}, {"a": "b", "b": "a"}], ids=["chain", "swap"])
def test_files_that_take_each_others_names_are_known_by_them_after_a_restart(moves: dict[str, str]) -> None:
    lengths = {name: number for number, name in enumerate(moves, 1)}
    moved = [file_split(to, lengths[name], moved_from=name) for name, to in moves.items()]
    rows = [
        founded_folder(),
        folder_row(1, Status.PUBLISHED, *(file_split(*entry) for entry in lengths.items())),
        folder_row(2, Status.SETTLED, *moved),
    ]
    ledger = caught_up(rows)
    assert {path: taken.length for path, taken in ledger.files.items()} == {
        to: lengths[name] for name, to in moves.items()
    }


PATHS = ["/l/a", "/l/b", "/l/c", "/l/d"]
some_paths = st.lists(st.sampled_from(PATHS), min_size=1, unique=True)


@st.composite
def batch_rows(draw: st.DrawFn) -> list[LedgerRow]:
    """Any rows of a folder, only that nothing is published under a path that is taken."""
    ledger, rows = Ledger("t"), [founded_folder()]
    for number in range(1, draw(st.integers(1, 9)) + 1):
        status = draw(st.sampled_from([status for status in Status if status is not Status.FOUNDED]))
        paths = draw(some_paths)
        details: list[dict[str, str]] = [{} for _ in paths]
        match status:
            case Status.PUBLISHED:
                paths = [path for path in paths if path not in ledger.files]
            case Status.SETTLED:
                origins = draw(st.permutations(PATHS))
                keys = st.sampled_from(["moved_from", "same_as", None])
                drawn = [(draw(keys), origin) for origin in origins[: len(paths)]]
                details = [{key: origin} if key else {} for key, origin in drawn]
            case Status.PUT_AWAY:
                paths = [path for path in paths if path in ledger.files]
                details = [{"staged": str(number)} | ({"link": "yes"} if p in ledger.links else {}) for p in paths]
        splits = [file_split(path, 10 * number, **detail) for path, detail in zip(paths, details, strict=False)]
        rows.append(folder_row(number, status, *splits))
        ledger.apply([rows[-1]])
    return rows


def incremental(rows: list[LedgerRow]) -> Ledger:
    ledger = Ledger("t")
    for row in rows:
        ledger.apply([row])
    ledger.last = rows[-1].batch
    return ledger


@settings(max_examples=150, deadline=None)
@given(batch_rows(), st.data())
def test_a_ledger_is_the_same_read_at_once_row_by_row_and_caught_up_from_any_batch(
    rows: list[LedgerRow], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows) - 1))
    expected = incremental(rows)
    fresh = Ledger("t")
    catch_up(RowsOnly(shuffled), fresh, expected.last)  # type: ignore[arg-type]
    assert fresh == expected
    known = incremental(rows[: cut + 1])
    catch_up(RowsOnly(shuffled), known, expected.last)  # type: ignore[arg-type]
    assert known == expected


def test_a_healed_and_counted_file_waits_for_nobody() -> None:
    stalled = folder_row(1, Status.STALLED, file_split("/l/a", 1))
    rows = [founded_folder(), stalled, folder_row(2, Status.PUBLISHED, file_split("/l/a", 1))]
    ledger = caught_up(rows)
    assert (ledger.stalled, ledger.waiting("/l/a"), list(ledger.files)) == ({}, None, ["/l/a"])


def test_a_link_that_is_moved_is_still_one_file_with_what_it_links_to() -> None:
    rows = [
        founded_folder(),
        folder_row(1, Status.PUBLISHED, file_split("/l/a", 1)),
        folder_row(2, Status.SETTLED, file_split("/l/b", 1, same_as="/l/a")),
        folder_row(3, Status.SETTLED, file_split("/l/c", 1, moved_from="/l/b")),
    ]
    assert (caught_up(rows).taken, caught_up(rows).links) == (1, {"/l/c"})


class BreaksOff(RowsOnly):
    """A table whose rows cannot be read to their end: the last one is damaged."""

    def __init__(self, rows: list[LedgerRow]) -> None:
        splits = [[split.as_dict() for split in row.splits] for row in rows]
        splits[-1][0]["detail"] = "no JSON"
        super().__init__(rows, splits=pa.array(splits, BATCH_SCHEMA.field("splits").type))


def test_a_ledger_that_was_caught_up_in_part_is_read_anew() -> None:
    rows = [
        founded_folder(),
        folder_row(1, Status.PUBLISHED, file_split("/l/a", 1)),
        folder_row(2, Status.PUT_AWAY, file_split("/l/a", 1, staged="s")),
        folder_row(3, Status.PUBLISHED, file_split("/l/b", 2)),
    ]
    known = caught_up(rows[:2])
    with pytest.raises(ValueError, match="Expecting value"):
        catch_up(BreaksOff(rows), known, 3)  # type: ignore[arg-type]
    catch_up(RowsOnly(rows), known, 3)  # type: ignore[arg-type]
    assert (known, known.away) == (caught_up(rows), 1)

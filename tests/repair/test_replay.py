"""A replay shows what a published range would give now, and publishes the difference only when told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest

from tests.support import (
    Place,
    assert_numbered,
    create_topic,
    decide,
    delete_records,
    delete_topic,
    replace,
    some_lines,
    topic_of,
    words_of,
)
from wordtide.config import Stream
from wordtide.core.model import Decision, Verdict
from wordtide.core.problems import DecisionRefused
from wordtide.core.sniff import Compression
from wordtide.repair.recount import Difference, find_published, publish, recount
from wordtide.repair.resolve import existing, resolve
from wordtide.table.record import LedgerRow

DECISION = Decision(Verdict.REPLAY, "ann", "")


def replay(place: Place, stream: Stream, wanted: Callable[[LedgerRow], bool]) -> list[Difference]:
    source, table = place.source(stream), place.table(stream)
    try:
        found = find_published(existing(table).handle, wanted)
        return [recount(stream, source, existing(table), published) for published in found]
    finally:
        source.close()


def of_batch(number: int) -> Callable[[LedgerRow], bool]:
    return lambda row: row.batch == number


def tamper(place: Place, stream: Stream) -> None:
    """Publish counts that the source does not hold, as an engine with an error in it would."""
    table = place.table(stream)
    source = place.source(stream)
    [difference] = replay(place, stream, of_batch(1))
    first = place.handle(stream).to_pyarrow_table(columns=["kind", "window_start"]).to_pylist()
    window = next(row["window_start"] for row in first if row["kind"] == "count")
    wrong = pa.Table.from_pylist(
        [{"window_start": window, "word": "ghost", "count": 2}, {"window_start": window, "word": "w1", "count": -1}],
        schema=difference.rows.schema,
    )
    spoiled = Difference(
        difference.published, difference.splits, difference.proofs, wrong, difference.changes, 0, difference.seconds
    )
    publish(table, source, spoiled, DECISION)
    source.close()


def test_what_is_right_shows_no_difference(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, some_lines(200))
    place.drain(stream)
    before = len(place.ledger(stream))
    [difference] = replay(place, stream, of_batch(1))
    assert (len(difference.rows), len(difference.changes)) == (0, 0)
    assert len(place.ledger(stream)) == before


def test_what_is_wrong_is_shown_and_put_right_by_signed_rows(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(200)
    place.produce(stream, lines)
    place.drain(stream)
    tamper(place, stream)
    right = words_of(lines)
    [difference] = replay(place, stream, of_batch(1))
    assert difference.changes.to_pylist() == [
        {"word": "ghost", "was": 2, "now": 0},
        {"word": "w1", "was": right["w1"] - 1, "now": right["w1"]},
    ]
    assert place.counted(stream) != right
    source = place.source(stream)
    committed = publish(place.table(stream), source, difference, DECISION)
    source.close()
    assert +place.counted(stream) == right
    row = place.ledger(stream)[-1]
    assert (row["status"], row["replaces"], row["decision"], row["who"]) == ("correction", 1, "replay", "ann")
    assert committed.batch.number == row["batch"]
    [again] = replay(place, stream, of_batch(1))
    assert len(again.rows) == 0
    assert_numbered(place.ledger(stream))
    place.produce(stream, ["goes on"])
    place.drain(stream)
    assert +place.counted(stream) == right + words_of(["goes on"])


def test_a_range_is_every_batch_that_holds_some_of_it(place: Place) -> None:
    stream = place.topic_stream(max_records=50)
    place.produce(stream, some_lines(200))
    place.drain(stream)

    def wanted(row: LedgerRow) -> bool:
        return any((split.start or 0) < 120 and (split.end or 0) > 60 for split in row.splits)

    assert [difference.published.number for difference in replay(place, stream, wanted)] == [2, 3]


def test_offsets_that_are_gone_cannot_be_replayed_and_nothing_changes(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(100))
    place.drain(stream)
    delete_records(place.cluster, topic_of(stream), {0: 50})
    before = len(place.ledger(stream))
    with pytest.raises(DecisionRefused, match="nothing was changed"):
        replay(place, stream, of_batch(1))
    assert len(place.ledger(stream)) == before


def test_a_batch_of_the_topic_that_was_there_before_is_not_compared_with_the_new_one(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["old"])
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream))
    place.produce(stream, ["new"])
    place.drain(stream)
    source = place.source(stream)
    resolve(stream, source, place.table(stream), topic_of(stream), Decision(Verdict.FROM_EARLIEST, "ann"))
    source.close()
    place.drain(stream)
    with pytest.raises(DecisionRefused, match="topic that is gone"):
        replay(place, stream, of_batch(1))
    last = len(place.ledger(stream)) - 1
    assert [len(difference.rows) for difference in replay(place, stream, of_batch(last))] == [0]


def test_a_topic_made_anew_with_fewer_partitions_is_refused_before_it_is_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, some_lines(10), partition=1)
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream), 1)
    # A partition that is not there sends nothing, and a reader would wait for it.
    monkeypatch.setattr("wordtide.repair.recount.count_splits", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DecisionRefused, match="recreated"):
        replay(place, stream, of_batch(1))


def test_a_correction_of_another_operator_meanwhile_is_not_added_to(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(100))
    place.drain(stream)
    tamper(place, stream)
    [difference] = replay(place, stream, of_batch(1))
    source = place.source(stream)
    publish(place.table(stream), source, difference, DECISION)
    with pytest.raises(DecisionRefused, match="meanwhile"):
        publish(place.table(stream), source, difference, DECISION)
    source.close()
    assert +place.counted(stream) == words_of(some_lines(100))


def test_what_an_older_wordtide_took_for_text_keeps_no_other_file_from_being_recounted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream()
    place.land(stream, "a.txt", b"a\n")
    place.land(stream, "b.parquet", b"PAR1\x15\0 words\n")
    with monkeypatch.context() as older:
        older.setattr("wordtide.sources.files.read.kind_of_file", lambda _head, _path: Compression.PLAIN)
        assert place.drain(stream).parked == []
    counted = place.counted(stream)
    assert [len(difference.rows) for difference in replay(place, stream, of_batch(1))] == [0]
    replace(place, stream, "a.txt", b"b\n")
    [path] = place.drain(stream).parked
    decide(place, stream, path, "recount")
    assert +place.counted(stream) == counted - Counter("a") + Counter("b")
    assert place.drain(stream).parked == []

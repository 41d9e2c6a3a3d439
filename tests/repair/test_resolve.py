"""An operator's decision is one numbered batch that says who, when and why, and the stream goes on."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import (
    Place,
    add_partitions,
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
from wordtide.core.model import Committed, Decision, Status, Verdict
from wordtide.core.problems import DecisionRefused, WordtideError
from wordtide.repair.recount import find_published, recount
from wordtide.repair.resolve import existing, resolve


def last_row(place: Place, stream: Stream) -> dict[str, Any]:
    return place.ledger(stream)[-1]


def test_skip_goes_on_behind_what_retention_took(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, some_lines(10, 1), partition=0)
    place.drain(stream)
    place.produce(stream, some_lines(30, 2), partition=0)
    delete_records(place.cluster, topic_of(stream), {0: 25})
    what = f"{topic_of(stream)}/0"
    assert place.drain(stream).parked == [what]
    # More is lost while the operator thinks; the decision covers what is lost when it is made.
    delete_records(place.cluster, topic_of(stream), {0: 30})
    decide(place, stream, what, "skip")
    row = last_row(place, stream)
    assert (row["status"], row["decision"], row["who"], row["why"]) == ("resolved", "skip", "ann", "checked")
    assert [(s["partition"], s["start"], s["end"]) for s in row["splits"]] == [(0, 10, 30)]
    assert place.drain(stream).parked == []
    assert place.counted(stream) == words_of([*some_lines(10, 1), *some_lines(30, 2)[20:]])
    assert_numbered(place.ledger(stream))


def test_what_is_no_longer_parked_is_said_to_be_so(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(10))
    delete_records(place.cluster, topic_of(stream), {0: 4})
    add_partitions(place.cluster, topic_of(stream), 2)
    place.drain(stream)
    before = len(place.ledger(stream))
    with pytest.raises(DecisionRefused, match="not parked"):
        decide(place, stream, f"{topic_of(stream)}/1", "skip")
    assert len(place.ledger(stream)) == before


@pytest.mark.parametrize(
    ("verdict", "counted"), [("from-earliest", ["old", "new", "later"]), ("skip", ["old", "later"])]
)
def test_a_recreated_topic_is_taken_from_its_beginning_or_from_now_on(
    place: Place, verdict: str, counted: list[str]
) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, ["old"] * 3, partition=0)
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream), 3)
    place.produce(stream, ["new"] * 3, partition=0)
    assert place.drain(stream).parked == [topic_of(stream)]
    decide(place, stream, topic_of(stream), verdict)
    place.produce(stream, ["later"] * 3, partition=2)
    assert place.drain(stream).parked == []
    assert place.counted(stream) == dict.fromkeys(counted, 3)
    # Not only this process: a table that is opened afresh knows whose positions it holds.
    place.produce(stream, ["later"], partition=0)
    assert place.drain(stream).parked == []
    assert place.counted(stream)["later"] == 4
    assert_numbered(place.ledger(stream))


def test_a_verdict_that_does_not_fit_changes_nothing(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, some_lines(10))
    place.drain(stream)
    place.produce(stream, some_lines(10))
    delete_records(place.cluster, topic_of(stream), {0: 15})
    [what] = place.drain(stream).parked
    before = len(place.ledger(stream))
    for verdict in ("recount", "from-earliest"):
        with pytest.raises(DecisionRefused, match="skip"):
            decide(place, stream, what, verdict)
    assert len(place.ledger(stream)) == before


@pytest.fixture(params=["local", "hdfs"])
def folder(request: pytest.FixtureRequest, place: Place) -> Stream:
    if request.param == "local":
        return place.folder_stream()
    return place.folder_stream(
        landing=f"hdfs:///{place.folder.name}-landing", tables="hdfs:///tables/" + place.folder.name
    )


def test_a_replaced_file_is_recounted_by_signed_differences(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", b"one two two\n")
    place.land(folder, "b.txt", b"two three\n")
    place.drain(folder)
    replace(place, folder, "a.txt", b"one one one two four\n")
    assert place.drain(folder).parked == [path]
    committed = decide(place, folder, path, "recount")
    assert place.counted(folder) == {"one": 3, "two": 2, "three": 1, "four": 1}
    row = last_row(place, folder)
    assert (row["status"], row["replaces"], row["decision"]) == ("correction", 1, "recount")
    assert sorted(split["path"] for split in row["splits"]) == sorted([path, path.replace("a.txt", "b.txt")])
    assert committed.batch.status is Status.CORRECTION
    assert place.drain(folder).parked == []
    # A second time: the difference is to what the table says now, not to what the batch said first.
    replace(place, folder, "a.txt", b"five\n")
    assert place.drain(folder).parked == [path]
    decide(place, folder, path, "recount")
    assert +place.counted(folder) == {"two": 1, "three": 1, "five": 1}
    assert_numbered(place.ledger(folder))


def test_a_recount_names_the_file_that_is_gone_and_changes_nothing(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", b"a\n")
    gone = place.land(folder, "b.txt", b"b\n")
    place.drain(folder)
    replace(place, folder, "a.txt", b"a a\n")
    place.drain(folder)
    storage, _ = place.landing(folder)
    storage.delete(gone)
    before = len(place.ledger(folder))
    with pytest.raises(DecisionRefused, match=gone):
        decide(place, folder, path, "recount")
    assert len(place.ledger(folder)) == before
    assert place.drain(folder).parked == [path]


def test_skip_leaves_a_replaced_file_uncounted_until_it_changes_again(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.txt", b"a\n")
    place.drain(folder)
    replace(place, folder, "a.txt", b"b b\n")
    place.drain(folder)
    decide(place, folder, path, "skip")
    assert place.drain(folder).parked == []
    assert place.counted(folder) == {"a": 1}
    replace(place, folder, "a.txt", b"c c c\n")
    assert place.drain(folder).parked == [path]


def test_a_corrupt_file_that_was_mended_is_counted_by_recount_and_only_once(place: Place, folder: Stream) -> None:
    path = place.land(folder, "a.gz", gzip.compress(b"mended words\n" * 50)[:-9])
    assert place.drain(folder).parked == [path]
    replace(place, folder, "a.gz", gzip.compress(b"mended words\n"))
    assert place.drain(folder).parked == [path]
    decide(place, folder, path, "recount")
    assert place.drain(folder).parked == []
    assert place.counted(folder) == {"mended": 1, "words": 1}
    with pytest.raises(DecisionRefused, match="not parked"):
        decide(place, folder, path, "recount")


def test_skip_settles_a_file_that_is_not_read_or_has_no_name_in_utf8(place: Place) -> None:
    stream = place.folder_stream()
    _, root = place.landing(stream)
    Path(root, "a.zip").write_bytes(b"PK\3\4")
    with open(root.encode() + b"/\xff.txt", "wb") as file:
        file.write(b"a\n")
    parked = place.drain(stream).parked
    assert len(parked) == 2
    for what in parked:
        decide(place, stream, what, "skip")
    assert place.drain(stream).parked == []
    assert place.drain(stream).parked == []


def test_a_decision_wins_against_a_drain_that_commits_meanwhile(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, some_lines(10), partition=0)
    delete_records(place.cluster, topic_of(stream), {0: 4})
    place.drain(stream)
    place.produce(stream, some_lines(10), partition=0)
    delete_records(place.cluster, topic_of(stream), {0: 15})
    [what] = place.drain(stream).parked
    table = place.table(stream)
    original = table.commit
    rivals = iter([["x"], ["y"]])

    def commit_behind_a_rival(*arguments: Any) -> Committed:
        if (values := next(rivals, None)) is not None:
            place.produce(stream, values, partition=1)
            place.drain(stream)
        return original(*arguments)

    monkeypatch.setattr(table, "commit", commit_behind_a_rival)
    source = place.source(stream)
    resolve(stream, source, table, what, Decision(Verdict.SKIP, "ann"))
    source.close()
    assert place.drain(stream).parked == []
    assert place.counted(stream) == words_of([*some_lines(10)[4:], *some_lines(10)[5:], "x", "y"])
    assert_numbered(place.ledger(stream))


NO_TEXT = "\ufeffsome words words\n".encode("utf-16-le")


def test_a_file_that_is_no_text_is_counted_as_text_by_decision_once_and_by_replays_too(
    place: Place, folder: Stream
) -> None:
    packed = gzip.compress(b"PAR1\x15\0 packed words\n")
    path, other = place.land(folder, "a.txt", NO_TEXT), place.land(folder, "b", packed)
    assert place.drain(folder).parked == [path, other]
    assert "UTF-16 text; convert it to UTF-8, or resolve it --as text" in last_row(place, folder)["reason"]
    decide(place, folder, path, "text")
    row = last_row(place, folder)
    assert (row["status"], row["decision"], row["who"], row["why"]) == ("correction", "text", "ann", "checked")
    as_text = Counter(NO_TEXT.replace(b"\n", b" ").decode(errors="replace").split(" "))
    assert place.counted(folder) == as_text
    decide(place, folder, other, "text")
    counted = as_text + words_of(["PAR1\x15\0 packed words"])
    for _ in range(2):
        assert place.drain(folder).parked == []
        assert place.counted(folder) == counted
    with pytest.raises(DecisionRefused, match="not parked"):
        decide(place, folder, path, "text")
    source, snapshot = place.source(folder), existing(place.table(folder))
    for published in find_published(snapshot.handle, lambda row: True):
        assert not len(recount(folder, source, snapshot, published).rows)
    replace(place, folder, "a.txt", b"text at last\n")
    place.drain(folder)
    decide(place, folder, path, "recount")
    assert +place.counted(folder) == counted - as_text + words_of(["text at last"])
    # What an operator said is of the file that was there.
    replace(place, folder, "a.txt", NO_TEXT * 2)
    place.drain(folder)
    with pytest.raises(WordtideError, match="UTF-16"):
        decide(place, folder, path, "recount")
    assert_numbered(place.ledger(folder))


def test_a_batch_is_recounted_also_where_another_of_its_files_was_moved(place: Place) -> None:
    folder = place.folder_stream()
    appended, moved = place.land(folder, "a.txt", b"one two\n"), place.land(folder, "b.txt", b"three\n")
    place.drain(folder)
    Path(moved).rename(f"{folder.landing}/c.txt")
    Path(appended).write_bytes(b"one two\nfour\n")
    assert place.drain(folder).parked == [appended]
    decide(place, folder, appended, "recount")
    assert place.drain(folder).parked == []
    assert place.counted(folder) == words_of(["one two", "three", "four"])
    assert existing(place.table(folder)).ledger.files.keys() == {appended, f"{folder.landing}/c.txt"}

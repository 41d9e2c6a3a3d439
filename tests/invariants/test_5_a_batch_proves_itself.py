"""A batch proves itself before it commits: what changed while it was read is not counted as if it had not."""

from __future__ import annotations

import os
from pathlib import Path

from tests.invariants.conftest import At
from tests.support import Place, create_topic, delete_records, delete_topic, some_lines, topic_of, words_of
from wordtide.drain.loop import Step


def test_a_file_replaced_while_it_was_read_is_counted_as_one_of_the_two(place: Place, at: At) -> None:
    stream = place.folder_stream()
    path = Path(place.land(stream, "a.txt", b"old old\n"))

    def replace() -> None:
        fresh = path.with_name(".fresh")
        fresh.write_bytes(b"new\n")
        os.utime(fresh, (1e9, 1e9))
        fresh.rename(path)

    at(Step.READ, replace)
    place.drain(stream)
    assert place.counted(stream) == {"new": 1}
    [row] = place.ledger(stream)[1:]
    assert row["splits"][0]["length"] == 4


def test_a_file_that_is_gone_after_it_was_read_is_not_counted(place: Place, at: At) -> None:
    stream = place.folder_stream()
    path = place.land(stream, "a.txt", b"a\n")
    place.land(stream, "b.txt", b"b\n")
    at(Step.READ, lambda: os.unlink(path))
    place.drain(stream)
    assert place.counted(stream) == {"b": 1}


def test_a_topic_recreated_while_it_was_read_is_not_counted(place: Place, at: At) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["old"])
    place.drain(stream)
    place.produce(stream, ["late", "late"])

    def recreate() -> None:
        delete_topic(place.cluster, topic_of(stream))
        create_topic(place.cluster, topic_of(stream))
        place.produce(stream, ["new"] * 9)

    at(Step.READ, recreate)
    assert place.drain(stream).parked == [topic_of(stream)]
    assert place.counted(stream) == {"old": 1}


def test_records_that_retention_took_while_they_were_read_are_recorded_as_lost(place: Place, at: At) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, some_lines(30), partition=0)
    place.produce(stream, ["other"], partition=1)
    at(Step.READ, lambda: delete_records(place.cluster, topic_of(stream), {0: 12}))
    assert place.drain(stream).parked == [f"{topic_of(stream)}/0"]
    assert place.counted(stream) == {"other": 1}
    [lost] = [split for row in place.ledger(stream) if row["status"] == "parked" for split in row["splits"]]
    assert (lost["partition"], lost["start"], lost["end"]) == (0, 0, 12)


def test_lines_and_bytes_of_the_ledger_are_those_that_were_read(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(50)
    place.produce(stream, [*lines, None, None, ""])
    place.drain(stream)
    [row] = place.ledger(stream)[1:]
    assert (row["records"], row["lines"], row["gaps"]) == (53, 51, 0)
    assert row["bytes"] == sum(len(line.encode()) for line in lines)
    expected = words_of([*lines, ""])
    assert (row["words"], row["distinct"]) == (expected.total(), len(expected))
    assert place.counted(stream) == expected

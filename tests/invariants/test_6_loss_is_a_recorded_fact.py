"""Loss is a recorded fact: once, with its exact range; the partition or file is parked, everything else flows."""

from __future__ import annotations

import gzip

from tests.support import Place, add_partitions, assert_numbered, delete_records, some_lines, topic_of, words_of


def test_what_retention_took_is_recorded_once_with_its_range_and_the_rest_flows(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    first, lost, flowing = some_lines(10, 1), some_lines(30, 2), some_lines(20, 3)
    place.produce(stream, first, partition=0)
    place.drain(stream)
    place.produce(stream, lost, partition=0)
    delete_records(place.cluster, topic_of(stream), {0: 25})
    place.produce(stream, flowing[:10], partition=1)
    for _ in range(2):
        assert place.drain(stream).parked == [f"{topic_of(stream)}/0"]
    place.produce(stream, flowing[10:], partition=1)
    place.produce(stream, ["waits"], partition=0)
    place.drain(stream)
    assert place.counted(stream) == words_of([*first, *flowing])
    rows = place.ledger(stream)
    assert_numbered(rows)
    [row] = [row for row in rows if row["status"] == "parked"]
    [split] = row["splits"]
    assert (split["topic"], split["partition"], split["start"], split["end"]) == (topic_of(stream), 0, 10, 25)
    assert "[10, 25)" in split["reason"]
    assert (row["words"], row["records"]) == (0, 0)


def test_records_lost_before_a_new_partition_was_seen_are_recorded(place: Place) -> None:
    stream = place.topic_stream(partitions=1)
    place.drain(stream)
    add_partitions(place.cluster, topic_of(stream), 2)
    place.produce(stream, some_lines(9), partition=1)
    delete_records(place.cluster, topic_of(stream), {1: 4})
    assert place.drain(stream).parked == [f"{topic_of(stream)}/1"]


def test_a_corrupt_file_is_parked_while_the_others_flow(place: Place) -> None:
    stream = place.folder_stream()
    whole = gzip.compress(b"lost words\n" * 1000)
    corrupt = place.land(stream, "broken.gz", whole[: len(whole) // 2])
    place.land(stream, "a.txt", b"a\n")
    place.land(stream, "b.gz", gzip.compress(b"b\n"))
    for _ in range(2):
        assert place.drain(stream).parked == [corrupt]
    place.land(stream, "c.txt", b"c\n")
    place.drain(stream)
    assert place.counted(stream) == {"a": 1, "b": 1, "c": 1}
    assert_numbered(place.ledger(stream))
    assert sum(row["status"] == "parked" for row in place.ledger(stream)) == 1


def test_an_endless_row_of_bad_files_does_not_keep_good_ones_waiting(place: Place) -> None:
    stream = place.folder_stream(max_files=2)
    for number in range(6):
        place.land(stream, f"{number}-bad.zip", b"PK\3\4")
        place.land(stream, f"{number}-good.txt", b"good\n")
    summary = place.drain(stream)
    assert len(summary.parked) == 6
    assert place.counted(stream) == {"good": 6}

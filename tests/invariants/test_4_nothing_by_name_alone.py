"""Nothing by name alone: positions belong to a topic id, files to path, length, mtime and content, a table to its
meaning.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from tests.support import Place, create_topic, delete_topic, some_lines, topic_of, words_of
from wordtide.config import Stream
from wordtide.core.problems import TableRefused
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.wiring import open_source


def parked_rows(place: Place, stream: Stream) -> list[tuple[str | None, int | None, str]]:
    """Return (topic or path, partition, reason) of everything parked."""
    return [
        (split["path"] or split["topic"], split["partition"], split["reason"])
        for row in place.ledger(stream)
        if row["status"] == "parked"
        for split in row["splits"]
    ]


@pytest.mark.parametrize("more", [0, 30], ids=["shorter", "longer"])
def test_a_recreated_topic_is_parked_once_and_not_counted(place: Place, more: int) -> None:
    stream = place.topic_stream()
    lines = some_lines(20)
    place.produce(stream, lines)
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    create_topic(place.cluster, topic_of(stream))
    # With more records than before, the old position lies inside the new topic: silence in every client.
    place.produce(stream, ["impostor"] * (10 + more))
    for _ in range(2):
        summary = place.drain(stream)
        assert summary.parked == [topic_of(stream)]
    assert place.counted(stream) == words_of(lines)
    [(topic, partition, reason)] = parked_rows(place, stream)
    assert (topic, partition) == (topic_of(stream), None)
    assert "recreated" in reason


def test_a_replaced_file_is_parked_once_and_not_counted_again(place: Place) -> None:
    stream = place.folder_stream()
    path = place.land(stream, "a.txt", b"one two\n")
    place.drain(stream)
    os.unlink(path)
    place.land(stream, "a.txt", b"one two three\n")
    place.land(stream, "b.txt", b"four\n")
    for _ in range(2):
        assert place.drain(stream).parked == [path]
    assert place.counted(stream) == {"one": 1, "two": 1, "four": 1}
    [(what, _, reason)] = parked_rows(place, stream)
    assert what == path
    assert reason.startswith("replaced")


def test_a_file_of_equal_length_with_another_mtime_is_another_file_unless_its_bytes_are_the_same(place: Place) -> None:
    stream = place.folder_stream()
    touched, replaced = (place.land(stream, name, b"one two\n") for name in ("a.txt", "b.txt"))
    place.drain(stream)
    Path(replaced).write_bytes(b"new two\n")
    for path in (touched, replaced):
        os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 5_000_000))
    assert place.drain(stream).parked == [replaced]
    assert place.counted(stream) == {"one": 2, "two": 2}


def test_a_moved_file_is_the_same_and_a_copy_of_it_is_another(place: Place) -> None:
    stream = place.folder_stream()
    path = place.land(stream, "a.txt", b"one\n")
    place.drain(stream)
    os.rename(path, path.replace("a.txt", "b.txt"))
    place.drain(stream)
    assert place.counted(stream) == {"one": 1}
    shutil.copy2(path.replace("a.txt", "b.txt"), path.replace("a.txt", "c.txt"))
    place.drain(stream)
    assert place.counted(stream) == {"one": 2}


@pytest.mark.parametrize("change", [{"tokenizer": "words"}, {"window": 5.0}], ids=["tokenizer", "window"])
def test_another_meaning_of_the_table_is_refused(place: Place, change: dict[str, object]) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["A a"])
    place.drain(stream)
    changed = dataclasses.replace(stream, config=stream.config.model_validate(stream.config.model_dump() | change))
    with pytest.raises(TableRefused, match="founded with another source, tokenizer or window") as refused:
        place.drain(changed)
    assert "\n" not in str(refused.value)
    place.produce(stream, ["a"])
    place.drain(stream)
    assert place.counted(stream) == {"A": 1, "a": 2}


def test_another_topic_under_the_same_stream_is_refused(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    place.drain(stream)
    other = place.topic_stream()
    place.produce(other, ["b"])
    with pytest.raises(TableRefused):
        place.drain(other)
    assert place.counted(stream) == {"a": 1}


def test_another_folder_under_the_same_stream_is_refused(place: Place) -> None:
    stream = place.folder_stream()
    place.land(stream, "a.txt", b"a\n")
    place.drain(stream)
    other = place.folder_stream(landing=str(place.folder / "elsewhere"))
    place.land(other, "a.txt", b"b\n")
    with pytest.raises(TableRefused):
        place.drain(other)
    assert place.counted(stream) == {"a": 1}


def test_the_address_of_a_server_is_not_part_of_any_identity(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    place.drain(stream)
    port = place.cluster.kafka.rpartition(":")[2]
    place.produce(stream, ["a"])
    source = open_source(stream, KafkaConnection(f"localhost:{port},127.0.0.1:{port}"), place.hdfs)
    place.drain(stream, source=source)
    assert place.counted(stream) == {"a": 2}
    assert place.cluster.kafka not in str(place.ledger(stream))


def test_offsets_are_kept_by_cluster_and_topic_id(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, ["a"], partition=1)
    place.drain(stream)
    identity = place.table(stream).snapshot().ledger.identity  # type: ignore[union-attr]
    prefix = f"kafka/{identity['cluster_id']}/{identity['topic_id']}"
    handle = place.handle(stream)
    assert [handle.transaction_version(f"{prefix}/{partition}") for partition in (0, 1)] == [0, 1]

"""Invariant 7: the same splits give the same rows, to the bit, whatever counts them."""

import bz2
import gzip
import json
from datetime import UTC, datetime

import pytest
import zstandard

from tests.support import rows_in, some_lines
from wordtide.config import EngineName
from wordtide.core.model import Batch
from wordtide.core.problems import PlanAgain
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine, _pickled, _summed
from wordtide.demo.text import lines as real_lines
from wordtide.sources.files.source import LandingReader
from wordtide.storage import LocalStorage

LEDGER = ("records", "lines", "gaps", "bytes", "words", "distinct", "invalid", "clamped", "splits")
NOTHING = _pickled([])
ODD = [
    b"",
    b" ",
    b"a  b",
    b"\xff\xfe bad",
    b"nul\x00 nul\x00\x00",
    "Straße İ ΑΣ a\u00a0b\u2028c e\u0301".encode(),
    b"x\r\ny\nz",
    None,
]


def both(place, spark, stream, tmp_path):
    """Drain into a table with each engine; anew where a busy broker has cut a batch of one of them short."""
    for attempt in range(5):
        found = both_once(place, spark, stream, tmp_path / str(attempt))
        cuts = [
            [[(s["partition"], s["start"], s["end"], s["path"]) for s in row[-1]] for row in rows] for _, rows in found
        ]
        if cuts[0] == cuts[1]:
            break
    return found


def both_once(place, spark, stream, tmp_path):
    """Drain a stream with each engine, into a table each, and return what the two hold."""
    found = []
    for name in (EngineName.LOCAL, EngineName.SPARK):
        config = stream.config.model_copy(update={"engine": name})
        one = type(stream)(stream.name, config, str(tmp_path / name.value), stream.landing)
        engines = {
            EngineName.LOCAL: LocalEngine(),
            EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks()),
        }
        place.drain(one, engines=engines)
        rows = place.ledger(one)
        assert {row["engine"] for row in rows if row["status"] == "published"} == {name.value}
        found.append((rows_in(place.handle(one)), [[row[key] for key in LEDGER] for row in rows]))
    return found


@pytest.mark.parametrize("tokenizer", ["space", "whitespace", "words"])
def test_on_a_topic(place, spark, tmp_path, tokenizer):
    stream = place.topic_stream(partitions=3, tokenizer=tokenizer)
    place.produce(stream, [*ODD, *some_lines(2000), *real_lines()], timestamp_ms=1_700_000_000_000)
    place.produce(stream, some_lines(50, seed=2), timestamp_ms=1)
    local, on_spark = both(place, spark, stream, tmp_path)
    assert local == on_spark
    assert len(local[0]) > 400


def test_both_see_that_a_topic_holds_json(place, spark, tmp_path):
    stream = place.topic_stream(partitions=2)
    place.produce(stream, ['{"a": 1}'] * 90)
    for _, ledger in both(place, spark, stream, tmp_path):
        [splits] = [row[-1] for row in ledger if row[LEDGER.index("records")]]
        details = [json.loads(split["detail"]) for split in splits]
        assert all(detail["json_objects"] == detail["sampled"] > 0 for detail in details)


def test_a_topic_that_is_no_text_is_parked_by_either_engine(place, spark, tmp_path):
    stream = place.topic_stream(partitions=2)
    place.produce(stream, [b"\0\0\0\0\x07\x0cwords"] * 300, partition=0)
    place.produce(stream, some_lines(300), partition=1)
    for rows, ledger in both(place, spark, stream, tmp_path):
        assert sum(row[-1] for row in rows) == sum(line.count(" ") + 1 for line in some_lines(300))
        parked = [split["reason"] for row in ledger for split in row[-1] if split["reason"]]
        assert all("schema registry" in reason for reason in parked)
        assert len(parked) == 1


def test_on_files_of_every_kind(place, spark, tmp_path):
    stream = place.folder_stream(landing=f"hdfs:///landing/{tmp_path.name}", tokenizer="words")
    text = "\r\n".join(some_lines(3000)).encode() + b"\n\xff\rlast line without an end"
    place.land(stream, "plain.txt", text * 20)
    place.land(stream, "deep/er/empty.txt", b"")
    place.land(stream, "a b%20ü.txt", text)
    place.land(stream, "one.txt.gz", gzip.compress(text) + gzip.compress(text))
    place.land(stream, "two.txt.bz2", bz2.compress(text))
    place.land(stream, "three.txt.zst", zstandard.compress(text))
    place.land(stream, "four", gzip.compress(text))
    place.land(stream, "text.gz", text)
    local, on_spark = both(place, spark, stream, tmp_path)
    assert local == on_spark
    assert len(local[1]) == 2


def test_a_plain_file_cut_into_many_pieces_is_the_same_file(place, spark, tmp_path, monkeypatch):
    monkeypatch.setattr("wordtide.sources.files.source.PIECE_BYTES", 1000)
    stream = place.folder_stream()
    text = "\r\n".join(some_lines(500)).encode()
    place.land(stream, "a.txt", text)
    # Neither its name nor its size makes it one that can be cut.
    place.land(stream, "b.txt", gzip.compress(text))
    local, on_spark = both(place, spark, stream, tmp_path)
    assert local == on_spark


def test_a_corrupt_file_is_parked_by_either_engine(place, spark, tmp_path):
    stream = place.folder_stream()
    place.land(stream, "good.txt", b"a b a")
    place.land(stream, "bad.txt.gz", gzip.compress(b"word " * 1000)[:-20])
    place.land(stream, "bad.txt", b"PAR1\x15\0 word" * 1000)
    local, on_spark = both(place, spark, stream, tmp_path)
    assert local[0] == on_spark[0]
    assert [row[2:] for row in local[0]] == [("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    "news",
    [
        [
            ("proofs", {"piece": 0, "words": 2, "invalid": 0, "proofs": NOTHING}),
            ("totals", {"words": 1, "distinct": 1}),
        ],
        [("totals", {"words": 0, "distinct": 0})],
        [("proofs", {"piece": 0, "words": 0, "invalid": 0, "proofs": NOTHING})] * 2,
    ],
    ids=["words lost", "proof lost", "proof twice"],
)
def test_a_batch_that_does_not_add_up_is_not_published(news):
    batch = Batch("s", 1, "attempt", datetime.now(UTC), 1, (), ())
    with pytest.raises(PlanAgain, match="lost or repeated"):
        _summed(batch, LandingReader(LocalStorage(), 1, 1), news, 1, 0.0)

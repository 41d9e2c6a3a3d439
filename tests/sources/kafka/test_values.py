"""A small sample says what a topic's values are; a few odd ones among text are text."""

import gzip
import json
import struct

import pytest

from wordtide.sources.kafka.values import JUDGED, PARSED, PARSED_BYTES, Sample, is_json_object, kind_of_value, samples

REGISTRY = b"\0" + struct.pack(">I", 100_017) + b"\x0cfoobar"
TEXT = [
    b"",
    b"a",
    b"some words",
    "größer".encode(),
    b"\xff bad",
    b"nul\0 nul\0\0",
    b"{",
    b"1",
    b"[]",
    b" \n",
    b"\0",
    b"\0 a",
]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (REGISTRY, "schema registry"),
        (b"\0\0\0\0\x01" + b'{"a": 1}', "schema registry"),
        (b"\0" + struct.pack(">Q", 7) + b"\x0cfoobar", "schema registry"),
        (b"\0\0\0\0\x01\x02ab", "schema registry"),
        (struct.pack(">q", 5), "binary number"),
        (struct.pack(">i", 5), "binary number"),
        (b"\xc3\x01" + bytes(8) + b"words", "Avro message"),
        (b"Obj\x01\x04\x14avro.codec\x08null", "Avro file"),
        (gzip.compress(b"words"), "gzip"),
        ("ein Wort und noch eins".encode("utf-16"), "UTF-16"),
        (b"\xac\xed\x00\x05sr\x00", "Java"),
        (bytes(range(256)), "binary"),
    ],
)
def test_values_that_are_no_text_are_named(value, what):
    assert what in str(kind_of_value(value))


@pytest.mark.parametrize("value", TEXT)
def test_text_is_text(value):
    assert kind_of_value(value) is None


@pytest.mark.parametrize(
    ("odd", "text", "parked"), [(1, 0, True), (1, 1, False), (1, 15, False), (8, 8, False), (9, 7, True)]
)
def test_more_than_half_of_the_values_decide(odd, text, parked):
    sample = Sample(16, 0)
    sample.add([REGISTRY] * odd + [b"words"] * text)
    assert (sample.verdict is not None) is parked


def test_short_messages_of_protobuf_are_known_together():
    messages = [b"\x08" + bytes([number]) + b"\x12\x05words and \x1a\x04more %02d" % number for number in range(4, 20)]
    assert sum(kind_of_value(message) is not None for message in messages) < 8
    sample = Sample(16, 0)
    sample.add(messages)
    assert str(sample.verdict).startswith("it seems to be binary data")
    assert sample.suspects == 16
    among_text = Sample(16, 0)
    among_text.add([*messages[:7], *[b"some words"] * 9])
    assert among_text.verdict is None


def test_a_nul_now_and_then_makes_no_topic_binary():
    sample = Sample(16, 0)
    sample.add([b"nul\0 and some more words"] * 16)
    assert sample.verdict is None


def test_an_empty_sample_says_nothing():
    assert Sample(16, 0).verdict is None


@pytest.mark.parametrize(
    ("value", "is_object"),
    [
        (b'{"a": 1}', True), (b' {"a": {"b": [1]}}\n', True), (b"{}", True), (b"{word}", False), (b"[1]", False),
        (b"1", False), (b'"a"', False), (b"{", False), (b"", False), (b'{"a": "\xff"}', False),
        (json.dumps({"a": "x" * PARSED_BYTES}).encode(), True), (b"{" + b"x" * PARSED_BYTES, False),
    ],
)  # fmt: skip
def test_objects_are_known(value, is_object):
    assert is_json_object(value) is is_object


@pytest.mark.parametrize("partitions", [0, 1, 3, 40, 300, 5000])
def test_a_reads_samples_are_bounded_together_and_each_partition_has_one(partitions):
    made = samples(partitions)
    assert len(made) == partitions
    assert all(sample.judged >= 1 for sample in made)
    assert sum(sample.judged for sample in made) <= max(JUDGED, partitions)
    assert sum(sample.parsed for sample in made) <= PARSED


def test_only_so_many_values_are_tried_as_json():
    sample = Sample(16, 4)
    sample.add([b"{}"] * 16)
    assert (sample.size, sample.tried, sample.json_objects, sample.wanted) == (16, 4, 4, 0)

"""Where damage ends is found by trying. No broker: what each offset answers is written down."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wordtide.sources.kafka.damage import (
    TRIES,
    Answer,
    Outcome,
    SearchEnded,
    bounded,
    explained,
    find_damage,
    find_silence,
)


def log(*damaged: range, silent: range = range(0), end: int = 1000) -> Callable[[int], Answer]:
    """Return what a partition answers with these batches damaged, and nothing from others."""

    def ask(offset: int) -> Answer:
        if offset in silent:
            return Answer(Outcome.SILENT)
        for batch in damaged:
            if offset in batch:
                return Answer(Outcome.DAMAGED, batch[0], "bad")
        return Answer(Outcome.READABLE, min(offset, end))

    return ask


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 100, 991])
def test_the_end_of_a_damaged_batch_is_found_whatever_its_length(length: int) -> None:
    assert find_damage(log(range(9, 9 + length)), 9, 1000) == (9, 9 + length, "bad")


def test_the_next_damaged_batch_and_what_lies_between_is_not_part_of_it() -> None:
    asked = log(range(10, 20), range(20, 30), range(32, 900))
    assert find_damage(asked, 10, 1000) == (10, 20, "bad")
    assert find_damage(asked, 20, 1000) == (20, 30, "bad")
    assert find_damage(asked, 32, 1000) == (32, 900, "bad")


def test_damage_begins_where_reading_got_to_or_behind_invisible_records() -> None:
    assert find_damage(log(range(10, 20)), 14, 1000) == (14, 20, "bad")
    behind = {5: Answer(Outcome.DAMAGED, 10, "bad")}
    assert find_damage(lambda at: behind.get(at) or log(range(10, 20))(at), 5, 1000) == (10, 20, "bad")


def test_of_damage_that_is_passed_over_in_silence_all_is_parked() -> None:
    # From within it the client goes on behind it, without a word.
    passed = {at: Answer(Outcome.READABLE, 20) for at in range(11, 20)}
    assert find_damage(lambda at: passed.get(at) or log(range(10, 20))(at), 10, 1000) == (10, 20, "bad")


def test_what_can_be_read_after_all_or_does_not_answer_is_no_damage() -> None:
    assert find_damage(log(), 5, 1000) is None
    assert find_damage(log(silent=range(1001)), 5, 1000) is None


def test_silence_is_damage_only_where_what_follows_answers() -> None:
    found = find_silence(log(silent=range(5, 12)), 5, 1000)
    assert found is not None
    assert found[:2] == (5, 12)
    assert find_silence(log(silent=range(5, 1001)), 5, 1000) is None
    assert find_silence(log(), 5, 1000) is None


def test_a_search_tries_each_offset_once_and_ends() -> None:
    tried: list[int] = []

    def ask(offset: int) -> Answer:
        tried.append(offset)
        return log(range(2**40))(offset)

    assert find_damage(bounded(ask), 0, 2**40) == (0, 2**40, "bad")
    assert len(tried) == len(set(tried)) < TRIES
    asked = bounded(lambda _offset: Answer(Outcome.SILENT))
    for offset in range(TRIES):
        asked(offset)
    with pytest.raises(SearchEnded):
        asked(TRIES)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Decompression (codec 0x4) of message at 0 of 9016 bytes failed: Local: Invalid compressed data",
            "its zstd data (9016 bytes) cannot be decompressed: Invalid compressed data,"
            " or too large: more than 112 MB decompressed, 37 MB where the size is not stated",
        ),
        (
            "Decompression (codec 0x1) of message at 5 of 55 bytes failed: Local: Invalid compressed data",
            "its gzip data (55 bytes) cannot be decompressed: Invalid compressed data",
        ),
        (
            "Decompression (codec 0x5) of message at 5 of 9 bytes failed: Local: Not implemented",
            "unknown compression codec 0x5",
        ),
        ("MessageSet at offset 5 failed\nCRC32C check", "MessageSet at offset 5 failed CRC32C check"),
    ],
)
def test_a_reason_names_the_compression(said: str, reason: str) -> None:
    assert explained(said) == reason

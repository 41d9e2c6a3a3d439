"""A value with a word longer than can be counted is parked or quarantined alone; everything around it is counted."""

from __future__ import annotations

import pytest

from tests.support import Place, decide, topic_of
from wordtide.core.model import KafkaSplit
from wordtide.core.text import LONGEST_WORD
from wordtide.repair.quarantine import batches_with_quarantined, contents
from wordtide.repair.recount import find_published, recount
from wordtide.repair.resolve import existing

SMALL = {"compression.type": "zstd", "message.max.bytes": "30000000", "batch.num.messages": "1"}
LONG = b"x" * (LONGEST_WORD + 1)


def test_a_value_with_a_word_beyond_counting_is_parked_by_its_offset_and_the_others_flow(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    topic = topic_of(stream)
    # As many bytes with a space are counted.
    place.produce(stream, ["a b", b"c " + LONG[1:], LONG, "d"], partition=0, config=SMALL)
    place.produce(stream, ["e f"], partition=1)
    for _ in range(2):
        assert place.drain(stream).parked == [f"{topic}/0"]
        counted = place.counted(stream)
        assert set(counted) == {"a", "b", "c", LONG[1:].decode(), "e", "f"}
    parked = existing(place.table(stream)).ledger.parked[f"{topic}/0"]
    assert parked.split == KafkaSplit(topic, 0, 2, 3)
    assert f"offset 2: a value of {len(LONG)} bytes has more than {LONGEST_WORD} bytes without a space" in parked.reason
    decide(place, stream, f"{topic}/0", "skip")
    assert place.drain(stream).parked == []
    assert set(place.counted(stream)) == {*counted, "d"}


@pytest.mark.parametrize("settings", [{"undecodable": True}, {"larger_than": 2 * LONGEST_WORD}])
def test_a_quarantine_puts_such_a_value_aside_and_it_can_be_had_again(
    place: Place, settings: dict[str, object]
) -> None:
    stream = place.topic_stream(quarantine=settings)
    place.produce(stream, ["a", LONG, "b"], config=SMALL)
    assert place.drain(stream).parked == []
    assert set(place.counted(stream)) == {"a", "b"}
    snapshot, source = existing(place.table(stream)), place.source(stream)
    try:
        [held] = batches_with_quarantined(snapshot.handle)
        assert [(aside.reason, value) for aside, value in contents(source, snapshot.ledger, held)] == [
            (f"more than {LONGEST_WORD} bytes without a space", LONG)
        ]
        [published] = find_published(snapshot.handle, lambda row: True)
        assert not len(recount(stream, source, snapshot, published).rows)
    finally:
        source.close()

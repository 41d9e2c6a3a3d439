"""`crash_at` really kills a drain where it says, and says so when it could not."""

from __future__ import annotations

import pytest

from tests.support import Place, some_lines, words_of
from wordtide.config import Stream
from wordtide.drain.loop import Step
from wordtide.testing.crash import CrashAt


@pytest.fixture
def stream(place: Place) -> Stream:
    return place.topic_stream(partitions=2)


@pytest.mark.parametrize(("step", "batches"), [(Step.READ, 0), (Step.REPORT, 1)])
def test_a_drain_dies_at_the_step_it_was_told(
    step: Step, batches: int, place: Place, stream: Stream, crash_at: CrashAt
) -> None:
    lines = some_lines(20)
    place.produce(stream, lines)
    crash_at(step, stream)
    assert len(place.ledger(stream)) == 1 + batches
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)


def test_a_drain_that_dies_in_its_commit_has_published_all_or_nothing(
    place: Place, stream: Stream, crash_at: CrashAt
) -> None:
    lines = some_lines(20)
    place.produce(stream, lines)
    crash_at(Step.COMMIT, stream)
    assert len(place.ledger(stream)) in {1, 2}
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)


def test_a_drain_of_ones_own_definitions_dies_as_well(place: Place, stream: Stream, crash_at: CrashAt) -> None:
    place.produce(stream, ["a b"])
    crash_at(Step.WRITE, stream, definitions="wordtide.dagster.definitions:defs")
    assert len(place.ledger(stream)) == 1


def test_a_drain_that_never_gets_there_is_no_crash(place: Place, stream: Stream, crash_at: CrashAt) -> None:
    with pytest.raises(AssertionError, match="never got there"):
        crash_at(Step.READ, stream)


def test_a_drain_that_fails_says_why(place: Place, stream: Stream, crash_at: CrashAt) -> None:
    place.produce(stream, ["a"])
    place.drain(stream)
    place.streams_yaml.write_text(
        place.streams_yaml.read_text().replace('"batch_interval"', '"window": "1h", "batch_interval"')
    )
    with pytest.raises(AssertionError, match="founded with another"):
        crash_at(Step.READ, stream)

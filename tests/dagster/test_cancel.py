"""A cancelled run finishes a quick batch and abandons a slow one; either way nothing is lost or counted twice."""

from __future__ import annotations

import _thread
import threading

import pytest

import wordtide.dagster.word_counts
from tests.support import Place, assert_numbered, some_lines, words_of
from wordtide.dagster.word_counts import run_in_thread
from wordtide.drain.loop import Step
from wordtide.drain.pacing import Pace


@pytest.fixture
def followed() -> Pace:
    """The pace of a run that would go on for long."""
    return Pace(interval=0.05, linger=60.0, max_run=120.0)


def test_a_cancelled_run_finishes_the_batch_in_hand(
    place: Place, followed: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.topic_stream(max_records=20)
    lines = some_lines(100)
    place.produce(stream, lines)
    stop, cancelled = threading.Event(), threading.Event()

    def reached(step: Step) -> None:
        if step is Step.WRITE and not cancelled.is_set():
            cancelled.set()
            _thread.interrupt_main()
            assert stop.wait(20), "the drain was not told to stop"

    monkeypatch.setattr("wordtide.drain.loop.reached", reached)
    drain = place.drainer(stream, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        run_in_thread(drain, followed, stop)
    assert [row["status"] for row in place.ledger(stream)] == ["founded", "published"]
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))


def test_a_cancelled_run_abandons_a_batch_that_takes_long(
    place: Place, followed: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordtide.dagster.word_counts, "CANCEL_SECONDS", 0.2)
    stream = place.topic_stream()
    lines = some_lines(100)
    place.produce(stream, lines)
    stop, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def reached(step: Step) -> None:
        if threading.current_thread().name != "drain":
            return
        if step is Step.WRITE:
            _thread.interrupt_main()
            go_on.wait(60)
        if step is Step.REPORT:
            over.set()

    monkeypatch.setattr("wordtide.drain.loop.reached", reached)
    with pytest.raises(KeyboardInterrupt):
        run_in_thread(place.drainer(stream, run_id="abandoned", stop=stop), followed, stop)
    assert len(place.ledger(stream)) == 1
    # The next run takes it; and what was abandoned, should it wake up, is too late.
    place.drain(stream)
    abandoned = next(thread for thread in threading.enumerate() if thread.name == "drain")
    go_on.set()
    abandoned.join(30)
    assert not abandoned.is_alive()
    assert not over.is_set()
    assert place.counted(stream) == words_of(lines)
    assert [row["run_id"] for row in place.ledger(stream)[1:]] == ["test"]

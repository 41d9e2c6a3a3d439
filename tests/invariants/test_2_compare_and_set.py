"""Compare and set: of two writers one wins and the other plans again; what removes files never rebases."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.invariants.conftest import At
from tests.support import Place, assert_contiguous, assert_numbered, rows_in, some_lines, words_of
from wordtide.config import Stream
from wordtide.drain.loop import Drain, Step
from wordtide.drain.pacing import Pace
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.maintain import compact_if_needed


def recorded_snapshots(drain: Drain) -> list[Snapshot]:
    """Return the list that the snapshots a drain plans from will be added to."""
    table = drain._table
    original, taken = table.snapshot, []

    def snapshot(*arguments: Any) -> Snapshot | None:
        found = original(*arguments)
        if found is not None:
            taken.append(found)
        return found

    table.snapshot = snapshot  # type: ignore[method-assign]
    return taken


def run(drain: Drain, stream: Stream) -> None:
    """Take what is there."""
    drain.run(Pace.of(stream.config, by_hand=True))


def test_a_handle_refreshed_between_plan_and_commit_does_not_count_twice(place: Place, at: At) -> None:
    stream = place.topic_stream(partitions=2)
    place.produce(stream, [])
    place.drain(stream)
    lines = some_lines(100)
    place.produce(stream, lines)
    drain = place.drainer(stream)
    snapshots = recorded_snapshots(drain)

    def rival_then_refresh() -> None:
        place.drain(stream, run_id="rival")
        # delta-rs checks conflicts from the handle's version on: refreshed, it would let the same range through again.
        snapshots[-1].handle.update_incremental()

    at(Step.COMMIT, rival_then_refresh)
    run(drain, stream)
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    assert [row["run_id"] for row in rows[1:]] == ["rival"]


def test_of_two_drains_on_one_plan_exactly_one_wins_every_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = place.topic_stream(partitions=2)
    place.drain(stream)
    lines: list[str] = []
    for round_number in range(6):
        more = some_lines(20, seed=round_number)
        lines += more
        place.produce(stream, more)
        barrier, met = threading.Barrier(2, timeout=20), threading.local()

        def together(step: Step, barrier: threading.Barrier = barrier, met: threading.local = met) -> None:
            if step is Step.COMMIT and not hasattr(met, "once"):
                met.once = True
                barrier.wait()

        monkeypatch.setattr("wordtide.drain.loop.reached", together)
        drains = [place.drainer(stream, run_id=name) for name in ("left", "right")]
        snapshots = [recorded_snapshots(drain) for drain in drains]
        threads = [threading.Thread(target=run, args=(drain, stream)) for drain in drains]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        planned_from = [taken[0].version for taken in snapshots]
        assert planned_from[0] == planned_from[1], "they did not plan from one version: nothing was proved"
        assert place.ledger(stream)[-1]["batch"] == round_number + 1
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    ends = {n: max(split["end"] for row in rows for split in row["splits"] if split["partition"] == n) for n in (0, 1)}
    assert_contiguous(rows, ends)


def test_two_drains_on_one_listing_take_each_file_once(place: Place, at: At) -> None:
    stream = place.folder_stream()
    place.drain(stream)
    place.land(stream, "a.txt", b"a b\n")
    place.land(stream, "b.txt", b"b c\n")
    at(Step.COMMIT, lambda: place.drain(stream, run_id="rival"))
    place.drain(stream)
    assert place.counted(stream) == {"a": 1, "b": 2, "c": 1}
    assert [row["run_id"] for row in place.ledger(stream)[1:]] == ["rival"]


def test_an_append_goes_through_over_a_compaction_in_between(place: Place, at: At) -> None:
    stream = place.topic_stream(max_records=5)
    lines = some_lines(50)
    place.produce(stream, lines[:30])
    place.drain(stream)
    place.produce(stream, lines[30:35])
    compacted: list[bool] = []
    at(Step.COMMIT, lambda: compacted.append(compact_if_needed(place.table(stream), live_files=2)))
    before = place.ledger(stream)[-1]["batch"]
    attempts: list[Any] = []
    at(Step.WRITE, lambda: attempts.append(None))
    place.drain(stream)
    assert compacted == [True]
    assert len(attempts) == 1
    assert place.ledger(stream)[-1]["batch"] == before + 1
    assert place.counted(stream) == words_of(lines[:35])


def asleep(place: Place, stream: Stream) -> WordCounts:
    """Return a table whose maintenance goes on with the version of now, as if it slept between opening and commit."""
    table, handle = place.table(stream), place.handle(stream)
    table.open = lambda: handle  # type: ignore[method-assign]
    return table


def test_a_compaction_that_lost_to_another_one_removes_nothing(place: Place) -> None:
    stream = place.topic_stream(max_records=5)
    place.produce(stream, some_lines(40))
    place.drain(stream)
    rows, sleeper = rows_in(place.handle(stream)), asleep(place, stream)
    assert compact_if_needed(place.table(stream), live_files=2)
    assert not compact_if_needed(sleeper, live_files=2)
    assert rows_in(place.handle(stream)) == rows


def test_of_compactions_at_the_same_time_one_wins_and_no_row_is_doubled(place: Place) -> None:
    stream = place.topic_stream(max_records=5)
    place.produce(stream, some_lines(60))
    place.drain(stream)
    rows = rows_in(place.handle(stream))
    barrier = threading.Barrier(3, timeout=20)
    won: list[bool] = []

    def compact(table: WordCounts) -> None:
        barrier.wait()
        won.append(compact_if_needed(table, live_files=2))

    threads = [threading.Thread(target=compact, args=(asleep(place, stream),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(won) == [False, False, True]
    assert rows_in(place.handle(stream)) == rows


def test_a_compaction_that_lost_to_an_append_leaves_it_alone(place: Place) -> None:
    stream = place.topic_stream(max_records=5)
    lines = some_lines(45)
    place.produce(stream, lines[:40])
    place.drain(stream)
    sleeper = asleep(place, stream)
    place.produce(stream, lines[40:])
    place.drain(stream)
    assert not compact_if_needed(sleeper, live_files=2)
    assert compact_if_needed(place.table(stream), live_files=2)
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))


def test_compactions_between_batches_change_no_row(place: Place) -> None:
    """Rows after many compactions between many batches are the rows without any."""
    stream = place.topic_stream(max_records=7)
    lines: list[str] = []
    for seed in range(5):
        more = some_lines(30, seed)
        lines += more
        place.produce(stream, more)
        place.drain(stream)
        compact_if_needed(place.table(stream), live_files=1)
    assert len(place.handle(stream).file_uris()) == 2
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))

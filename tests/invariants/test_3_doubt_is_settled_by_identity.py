"""Doubt is settled by identity: after an error only the attempt's uuid in the ledger tells whether it was committed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from tests.support import Place, assert_numbered, some_lines, words_of
from wordtide.core.problems import SourceUnavailable


class PanicException(BaseException):
    """A panic of delta-rs, which is no Exception."""


ERRORS = [
    CommitFailedError("a version 9 already exists"),
    DeltaError("checkpoint failed"),
    OSError("connection reset"),
    PanicException("Cannot read past end of the file"),
]


def fail_once(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, *, before: Callable[[], None] | None, commits: bool
) -> list[str]:
    """Have the next commit raise, after it happened or not; return the calls made."""
    original = DeltaTable.create_write_transaction
    calls: list[str] = []

    def create_write_transaction(handle: DeltaTable, *arguments: Any, **options: Any) -> None:
        if calls:
            calls.append("later")
            return original(handle, *arguments, **options)
        calls.append("first")
        if before is not None:
            before()
        if commits:
            original(handle, *arguments, **options)
        raise error

    monkeypatch.setattr(DeltaTable, "create_write_transaction", create_write_transaction)
    return calls


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_after_a_commit_that_happened_does_not_count_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(50)
    place.produce(stream, lines)
    calls = fail_once(monkeypatch, error, before=None, commits=True)
    summary = place.drain(stream)
    assert calls == ["first"]
    assert summary.batches == 1
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))


@pytest.mark.parametrize("error", [ERRORS[0], ERRORS[-1]], ids=lambda error: type(error).__name__)
def test_a_conflict_or_a_panic_that_kept_a_commit_from_happening_is_planned_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(50)
    place.produce(stream, lines)
    calls = fail_once(monkeypatch, error, before=None, commits=False)
    place.drain(stream)
    assert calls == ["first", "later"]
    assert place.counted(stream) == words_of(lines)


@pytest.mark.parametrize("error", ERRORS[1:-1], ids=lambda error: type(error).__name__)
def test_an_error_without_a_commit_publishes_nothing_and_the_next_drain_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(50)
    place.produce(stream, lines)
    fail_once(monkeypatch, error, before=None, commits=False)
    with pytest.raises(SourceUnavailable):
        place.drain(stream)
    assert len(place.ledger(stream)) == 1
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)
    assert_numbered(place.ledger(stream))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_rival_with_equal_transactions_is_not_taken_for_oneself(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    stream = place.topic_stream(partitions=2)
    lines = some_lines(50)
    place.produce(stream, lines)
    mine: list[int] = []
    calls = fail_once(monkeypatch, error, before=lambda: place.drain(stream, run_id="rival"), commits=False)
    # The same plan: number, positions and counts of the rival's commit are exactly those of ours.
    summary = place.drain(stream, on_commit=lambda committed: mine.append(committed.batch.number))
    assert calls == ["first", "later"]
    assert mine == []
    assert summary.batches == 0
    assert [row["run_id"] for row in place.ledger(stream)[1:]] == ["rival"]
    assert place.counted(stream) == words_of(lines)


def test_an_attempt_deletes_nothing_once_commit_was_called(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = place.topic_stream()
    place.drain(stream)
    root = Path(place.table(stream).root)
    before = set(root.rglob("*.parquet"))
    place.produce(stream, some_lines(50))
    fail_once(monkeypatch, ERRORS[1], before=None, commits=False)
    with pytest.raises(SourceUnavailable):
        place.drain(stream)
    left = set(root.rglob("*.parquet")) - before
    assert len(left) == 2
    # And it may have been committed after all, later than anybody looked: nobody else writes to the same paths.
    place.drain(stream)
    assert left < set(root.rglob("*.parquet")) - before


@pytest.mark.parametrize(("panics", "opened"), [(2, True), (3, False)])
def test_a_table_whose_log_is_replaced_while_it_is_opened_is_opened_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, panics: int, opened: bool
) -> None:
    stream = place.topic_stream()
    place.drain(stream)
    original, left = DeltaTable.__init__, iter(range(panics))

    def init(handle: DeltaTable, *arguments: Any, **options: Any) -> None:
        if next(left, None) is not None:
            raise ERRORS[-1]
        original(handle, *arguments, **options)

    monkeypatch.setattr(DeltaTable, "__init__", init)
    if opened:
        assert place.table(stream).open() is not None
    else:
        with pytest.raises(SourceUnavailable, match="panicked"):
            place.table(stream).open()

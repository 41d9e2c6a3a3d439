"""What stands still, read from the ledger and the table's positions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wordtide.core.model import FileSplit, KafkaSplit, Status
from wordtide.core.retries import Retries
from wordtide.core.source import SourcePlan
from wordtide.sources.kafka.source import identity_of
from wordtide.status import lag
from wordtide.status.lag import still_stalled
from wordtide.table.ledger import Ledger, ParkedSince
from wordtide.table.record import LedgerEntry, SplitRecord

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Positions:
    """The `txn` actions of a table."""

    def __init__(self, positions: dict[str, int]) -> None:
        self._positions = positions

    def transaction_version(self, app_id: str) -> int | None:
        return self._positions.get(app_id)


def of(*stalled: ParkedSince, **more: Any) -> Ledger:
    identity = {"cluster_id": "c", "topic_id": "i", "topic": "t"}
    return Ledger("", identity=identity, stalled={one.what: one for one in stalled}, **more)


def test_a_partition_is_stalled_for_as_long_as_its_position_is_the_one_that_was_recorded() -> None:
    stuck = ParkedSince("t/0", "an open transaction", SINCE, KafkaSplit("t", 0, 5, 9))
    moved = ParkedSince("t/1", "no leader", SINCE, KafkaSplit("t", 1, 7, 9))
    ledger = of(stuck, moved)
    app_id = identity_of(ledger).app_id
    assert still_stalled(Positions({app_id(0): 5, app_id(1): 9}), ledger) == [stuck]  # type: ignore[arg-type]


def test_a_file_is_stalled_until_it_is_taken_or_parked() -> None:
    split = FileSplit("/in/a", 1, 2, 0, 1)
    stuck = ParkedSince("/in/a", "I/O error", SINCE, split)
    assert still_stalled(Positions({}), of(stuck)) == [stuck]  # type: ignore[arg-type]
    taken = of(stuck)
    taken.apply(
        [
            LedgerEntry(
                batch=1,
                status=Status.PUBLISHED,
                committed_at=SINCE,
                splits=(SplitRecord(path="/in/a", length=1, mtime=2),),
            )
        ]
    )
    assert still_stalled(Positions({}), taken) == []  # type: ignore[arg-type]
    assert still_stalled(Positions({}), of(stuck, parked={"/in/a": stuck})) == []  # type: ignore[arg-type]


def plan_of(**more: Any) -> SourcePlan:
    values: dict[str, Any] = {
        "splits": (),
        "transactions": (),
        "parked": (),
        "backlog": 0,
        "waiting": 0,
        "behind": False,
    }
    return SourcePlan(**{**values, "position": "", "taken": "", **more})


def test_what_only_waits_to_be_read_again_is_worth_a_run_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    again = plan_of(splits=(FileSplit("/in/a", 1, 2, 0, 1),), retried=True)
    monkeypatch.setattr("wordtide.status.lag._retries", Retries(60.0, 600.0))
    runs = []
    for now in range(0, 400, 10):
        monkeypatch.setattr("wordtide.status.lag.time.monotonic", lambda at=now: float(at))
        runs += [now] if lag._worth_a_run("t", again) else []
    assert runs == [0, 60, 180]
    assert not lag._worth_a_run("t", plan_of())
    assert lag._worth_a_run("t", again)


def test_a_file_that_looks_complete_is_worth_a_run_and_a_younger_one_is_not() -> None:
    assert lag._worth_a_run("u", plan_of(waiting=1, ripe=1))
    assert not lag._worth_a_run("u", plan_of(waiting=1))

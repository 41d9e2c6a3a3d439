"""Since when a position is held, and when that is worth a row of the ledger. Pure: no clock, no broker."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from wordtide.core.model import FileSplit, KafkaSplit, Parked
from wordtide.core.stalls import Blockers, Held, Stalls

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def held(offset: int = 40, *, partition: int = 0, recorded: bool = False, usual: bool = True) -> Held:
    split = KafkaSplit("news", partition, offset, offset + 5)
    return Held(Parked(split.what, "held", split), usual, recorded)


def test_what_is_held_for_the_limit_is_due_and_says_since_when() -> None:
    stalls = Stalls(60.0)
    assert stalls.due([held()], [], 0.0, NOON) == ()
    assert stalls.due([held()], [], 59.0, NOON) == ()
    [due] = stalls.due([held()], [], 61.0, NOON)
    assert (due.what, due.split) == ("news/0", KafkaSplit("news", 0, 40, 45))
    assert due.reason == "held, since 2026-01-02 11:58:59 UTC"


def test_what_is_recorded_is_not_due_again() -> None:
    stalls = Stalls(0.0)
    assert stalls.due([held(recorded=True)], [], 0.0, NOON) == ()


def test_a_position_that_moved_begins_anew() -> None:
    stalls = Stalls(60.0)
    stalls.due([held(40)], [], 0.0, NOON)
    assert stalls.due([held(50)], [], 100.0, NOON) == ()
    assert stalls.since == {("news/0", 50): 100.0}


def test_what_is_free_again_for_a_look_begins_anew() -> None:
    stalls = Stalls(60.0)
    stalls.due([held()], [], 0.0, NOON)
    stalls.due([], [], 50.0, NOON)
    assert stalls.due([held()], [], 100.0, NOON) == ()


def test_what_was_tried_again_in_vain_is_held_since_the_first_time() -> None:
    stalls = Stalls(60.0)
    stalls.due([held()], [], 0.0, NOON)
    stalls.due([], [KafkaSplit("news", 0, 40, 45)], 50.0, NOON)
    assert len(stalls.due([held()], [], 100.0, NOON)) == 1


def test_each_partition_has_its_own_time() -> None:
    stalls = Stalls(60.0)
    stalls.due([held()], [], 0.0, NOON)
    [due] = stalls.due([held(), held(partition=1)], [], 60.0, NOON)
    assert due.what == "news/0"


def test_what_is_parked_or_recorded_as_stalled_blocks_and_nothing_else_does() -> None:
    found = Blockers.recorded(["b", "a"], [held(recorded=True), held(partition=1), held(partition=2, usual=False)])
    assert found.names == (("a", "b"), ("news/0",))
    assert found
    assert not Blockers.recorded([], [held(), held(usual=False)], "3 files are left out")


def test_what_blocks_keeps_its_name_while_more_waits_behind_it() -> None:
    before, after = (Blockers.recorded([], [Held(Parked("news/0", why, None), True, True)]) for why in ("5", "7"))
    assert before != after
    assert before.names == after.names


def test_a_file_that_was_tried_and_failed_is_due_after_its_own_time_and_again_for_another_reason() -> None:
    split = FileSplit("/l/a", 10, 1, 0, 10)
    stalls = Stalls(math.inf)

    def unread(reason: str, **more: bool) -> Held:
        return Held(Parked("/l/a", reason, split), False, more.get("recorded", False), 1.0, more.get("changed", False))

    assert stalls.due([unread("I/O error")], [], 0.0, NOON) == ()
    assert stalls.due([], [split], 0.5, NOON) == ()
    [due] = stalls.due([unread("I/O error")], [], 1.0, NOON)
    assert due.reason.startswith("I/O error, since ")
    assert stalls.due([unread("I/O error", recorded=True)], [], 2.0, NOON) == ()
    [due] = stalls.due([unread("denied", recorded=True, changed=True)], [], 3.0, NOON)
    assert due.reason.startswith("denied")

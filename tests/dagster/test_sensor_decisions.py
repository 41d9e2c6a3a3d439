"""When a sensor starts a run: decided without a source, a table or an instance."""

import pytest

from tests.dagster.support import NEWS
from wordtide.dagster.runs import GRACE_SECONDS
from wordtide.dagster.sensors import ActiveRun, Failures, back_off, decide, hold
from wordtide.status.lag import Waiting

NO_FAILURES = Failures(0, 0.0)


def test_something_that_waits_starts_a_run():
    assert decide(Waiting(founded=True, something=True, unfinished=0)) is None


def test_a_stream_without_a_table_is_founded_though_nothing_waits():
    assert decide(Waiting(founded=False, something=False, unfinished=0)) is None


def test_nothing_that_waits_is_said_so():
    assert decide(Waiting(founded=True, something=False, unfinished=0)) == "nothing waits"


def test_files_that_are_too_young_are_said_so():
    waiting = Waiting(founded=True, something=False, unfinished=3)
    assert decide(waiting) == "3 files are too young or unfinished"


def test_a_run_that_drains_holds_the_stream():
    assert hold(NEWS, [ActiveRun("0123456789", 5.0)], NO_FAILURES) == "run 01234567 is draining"


def test_the_run_of_a_host_that_died_does_not_hold_the_stream_for_ever():
    limit = NEWS.config.max_run + GRACE_SECONDS
    assert hold(NEWS, [ActiveRun("0123456789", limit)], NO_FAILURES) is not None
    assert hold(NEWS, [ActiveRun("0123456789", limit + 1)], NO_FAILURES) is None


@pytest.mark.parametrize(("in_a_row", "pause"), [(0, 0.0), (1, 10.0), (2, 20.0), (5, 160.0), (8, 600.0)])
def test_failed_runs_are_followed_by_ever_longer_pauses(in_a_row, pause):
    assert back_off(Failures(in_a_row, 0.0)) == pause


def test_a_failed_run_holds_the_stream_until_the_pause_is_over():
    assert hold(NEWS, [], Failures(2, 5.0)) == "the last 2 runs failed; the next try is in 15 s"
    assert hold(NEWS, [], Failures(2, 20.0)) is None

"""The check shows what is parked or stalled while a run goes on, and after a decision; no run starts or ends for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from tests.dagster.support import definitions, instance, tick
from tests.support import Place, decide, wait_until
from wordtide.config import Stream
from wordtide.core.model import Parked
from wordtide.core.stalls import Blockers
from wordtide.dagster.check import CheckReporter, evaluate
from wordtide.dagster.word_counts import FOLLOW_TAG, run_in_thread
from wordtide.drain.loop import Drain, Summary
from wordtide.drain.pacing import Pace

ASSET = dg.AssetKey(["s", "word_counts"])
KEY = dg.AssetCheckKey(ASSET, "nothing_parked")
NO_GZIP = b"\x1f\x8b\x08no gzip after all"


@contextmanager
def a_following_run(
    place: Place, stream: Stream, home: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[threading.Thread]:
    """A run of the stream's sensor, which would go on for an hour; it is stopped at the end."""
    ended: list[bool] = []
    stops: list[threading.Event] = []

    def noted(drain: Drain, pace: Pace, stop: threading.Event) -> Summary:
        stops.append(stop)
        return run_in_thread(drain, pace, stop)

    def follow() -> None:
        job = definitions(place, stream).resolve_job_def("s_drain")
        tags = {FOLLOW_TAG: "true"}
        ended.append(job.execute_in_process(instance=home, tags=tags, raise_on_error=False).success)

    monkeypatch.setattr("wordtide.dagster.word_counts.run_in_thread", noted)
    run = threading.Thread(target=follow)
    run.start()
    try:
        yield run
    finally:
        wait_until("the run drains", lambda: stops)
        stops[0].set()
        run.join(120)
    assert ended == [True]


def shown(home: dg.DagsterInstance) -> tuple[str, str]:
    """What Dagster shows of the check: its status and description."""
    record = home.get_latest_asset_check_evaluation_record(KEY)
    evaluation = record.evaluation if record is not None else None
    if record is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
        return "", ""
    return record.status.value, evaluation.description or ""


def status_is(home: dg.DagsterInstance, status: str) -> Callable[[], bool]:
    return lambda: shown(home)[0] == status


def check_alone(place: Place, stream: Stream, home: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Execute the check from its page: without its asset."""
    defs = definitions(place, stream)
    return dg.materialize(
        list(defs.assets or ()), selection=dg.AssetSelection.checks(KEY), resources=defs.resources, instance=home
    )


@pytest.fixture
def stream(place: Place) -> Stream:
    """A stream whose runs would go on for an hour."""
    return place.folder_stream(engine="local", linger="1h", max_run="1h", batch_interval="100ms")


def test_a_run_shows_each_change_of_its_check_and_goes_on(
    place: Place, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.land(stream, "good.txt", b"a b")
    with instance() as home, a_following_run(place, stream, home, monkeypatch) as run:
        wait_until("a check that passed", status_is(home, "SUCCEEDED"))
        bad = place.land(stream, "bad.txt.gz", NO_GZIP)
        wait_until("a check that failed", status_is(home, "FAILED"))
        assert "bad.txt.gz" in shown(home)[1]
        # Somebody executes the check by itself: Dagster has a newer record now than that of the run.
        assert check_alone(place, stream, home).success
        assert shown(home)[0] == "FAILED"
        decide(place, stream, bad, "skip")
        wait_until("a check that passes again", status_is(home, "SUCCEEDED"))
        assert run.is_alive()
        place.land(stream, "more.txt", b"b")
        wait_until("what came later is counted", lambda: place.counted(stream) == {"a": 1, "b": 2})


def test_a_decision_while_nothing_runs_is_shown_without_a_run(place: Place, stream: Stream) -> None:
    bad = place.land(stream, "bad.txt.gz", NO_GZIP)
    defs = definitions(place, stream)
    with instance() as home:
        assert defs.resolve_job_def("s_drain").execute_in_process(instance=home).success
        assert shown(home)[0] == "FAILED"
        result = tick(defs, stream, home)
        assert (result.skip_reason.skip_message, result.asset_events) == ("nothing waits", [])
        decide(place, stream, bad, "skip")
        assert not tick(defs, stream, home).run_requests
        assert shown(home) == ("SUCCEEDED", "nothing is parked")
        assert tick(defs, stream, home).asset_events == []


def test_a_check_that_a_killed_run_left_undecided_is_decided_by_the_sensor(place: Place, stream: Stream) -> None:
    place.land(stream, "bad.txt.gz", NO_GZIP)
    defs = definitions(place, stream)
    everything = defs.resolve_implicit_global_asset_job_def()
    with instance() as home:
        assert defs.resolve_job_def("s_drain").execute_in_process(instance=home).success
        home.create_run_for_job(defs.resolve_job_def("s_drain"))
        assert shown(home)[0] == "FAILED", "a run of the drain job waits for the check"
        # Of a run from the asset's page Dagster plans the check when it creates the run.
        killed = home.create_run_for_job(
            everything.get_subset(asset_selection={ASSET}), asset_selection=frozenset({ASSET})
        )
        assert shown(home) == ("", "")
        home.report_run_failed(killed)
        tick(defs, stream, home)
        assert shown(home)[0] == "FAILED"


def test_a_run_from_the_page_of_the_asset_decides_the_check_that_it_was_asked_for(place: Place, stream: Stream) -> None:
    place.land(stream, "good.txt", b"a b")
    place.land(stream, "bad.txt.gz", NO_GZIP)
    job = definitions(place, stream).resolve_implicit_global_asset_job_def()
    with instance() as home:
        ran = job.execute_in_process(instance=home, asset_selection=[ASSET])
        assert ran.success
        assert ran.get_asset_check_evaluations()[-1].metadata["parked_count"].value == 1
        assert shown(home)[0] == "FAILED"
        assert len(home.event_log_storage.get_asset_check_execution_history(KEY, 10)) == 1


def test_a_check_executed_alone_takes_nothing(place: Place, stream: Stream) -> None:
    place.land(stream, "good.txt", b"a b")
    with instance() as home:
        place.drain(stream)
        place.land(stream, "more.txt", b"a b")
        assert check_alone(place, stream, home).success
        assert shown(home)[0] == "SUCCEEDED"
    assert place.counted(stream) == {"a": 1, "b": 1}


def test_a_check_names_a_bounded_number_and_says_how_many_there_are(place: Place, stream: Stream) -> None:
    names = tuple(f"{number}{'x' * 1_000}" for number in range(5_000))
    blockers = Blockers(parked=names, stalled=tuple(Parked(name, "no leader") for name in names))
    result = evaluate(stream, place.table(stream), KEY, blockers)
    assert len(result.description or "") < 15_000
    assert (result.description or "").count("; and 4,980 more") == 2
    assert result.metadata["parked_count"].value == 5_000


class _Storage:
    """A run's context whose storage fails a number of times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.logged: list[str] = []
        self.warnings: list[str] = []
        self.instance = self.log = self

    def log_event(self, event: dg.AssetCheckEvaluation) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("database\nis locked")
        self.logged.append(event.description or "")

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def get_latest_asset_check_evaluation_record(self, _key: dg.AssetCheckKey) -> None:
        return None


def test_a_storage_that_fails_for_a_while_delays_the_check_and_says_so_once(
    place: Place, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.dagster.reporter.RETRY_SECONDS", 0.0)
    storage = _Storage(failures=4)
    reporter = CheckReporter(storage, stream, place.table(stream), KEY)  # type: ignore[arg-type]

    def logged() -> bool:
        reporter.submit(Blockers(parked=("a",)))
        return bool(storage.logged)

    wait_until("the check is logged", logged)
    reporter.submit(Blockers(parked=("a",)))
    reporter.close()
    assert storage.logged == ["waiting for a decision: a"]
    assert storage.warnings == ["the check is not logged (database is locked); it is tried again"]

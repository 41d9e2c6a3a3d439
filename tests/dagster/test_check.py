"""What is wrong shows while a run goes on: its check is decided at the first look, and again when that has changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from tests.dagster.support import NAMING, definitions, instance, tick
from tests.support import Place, decide, wait_until
from wordtide.config import Stream
from wordtide.core.stalls import Standing
from wordtide.dagster.word_counts import FOLLOW_TAG, _EarlyCheck

KEY = dg.AssetCheckKey(dg.AssetKey(["s", "word_counts"]), "nothing_parked")


@contextmanager
def a_following_run(place: Place, stream: Stream, home: dg.DagsterInstance) -> Iterator[threading.Thread]:
    """A run of the stream's sensor; it is waited for at the end."""
    ended: list[bool] = []

    def follow() -> None:
        job = definitions(place, stream).resolve_job_def("s_drain")
        tags = {FOLLOW_TAG: "true"}
        ended.append(job.execute_in_process(instance=home, tags=tags, raise_on_error=False).success)

    run = threading.Thread(target=follow)
    run.start()
    try:
        yield run
    finally:
        run.join(120)
    assert ended == [True]


def shown(home: dg.DagsterInstance) -> tuple[str, str]:
    """What Dagster shows of the check: its status and description."""
    record = home.event_log_storage.get_latest_asset_check_execution_by_key([KEY]).get(KEY)
    if record is None or record.event is None or record.event.dagster_event is None:
        return "", ""
    told = record.event.dagster_event
    if told.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        return record.status.value, ""
    return record.status.value, told.asset_check_evaluation_data.description or ""


@pytest.fixture
def stream(place: Place) -> Stream:
    """A stream whose runs would go on for an hour."""
    return place.folder_stream(engine="local", linger="1h", max_run="1h", batch_interval="100ms")


def test_a_run_that_goes_on_shows_its_check_and_ends_when_it_is_no_longer_so(place: Place, stream: Stream) -> None:
    place.land(stream, "good.txt", b"a b")
    with instance() as home:
        with a_following_run(place, stream, home) as run:
            wait_until("a check that passed", lambda: shown(home)[0] == "SUCCEEDED")
            assert run.is_alive()
            bad = place.land(stream, "bad.txt.gz", b"\x1f\x8b\x08no gzip after all")
            place.land(stream, "more.txt", b"b")
        assert shown(home)[0] == "SUCCEEDED"
        assert tick(definitions(place, stream), stream, home).run_requests, "nobody says that something is parked"
        with a_following_run(place, stream, home) as run:
            wait_until("a check that failed", lambda: shown(home)[0] == "FAILED")
            assert "bad.txt.gz" in shown(home)[1]
            assert run.is_alive()
            decide(place, stream, bad, "skip")
        assert tick(definitions(place, stream), stream, home).run_requests, "nobody says that it is over"
    assert place.counted(stream) == {"a": 1, "b": 2}


def test_a_decision_while_nothing_runs_starts_a_run_whose_check_passes(place: Place, stream: Stream) -> None:
    bad = place.land(stream, "bad.txt.gz", b"\x1f\x8b\x08no gzip after all")
    defs = definitions(place, stream)
    with instance() as home:
        assert defs.resolve_job_def("s_drain").execute_in_process(instance=home).success
        assert shown(home)[0] == "FAILED"
        assert tick(defs, stream, home).skip_reason.skip_message == "nothing waits"
        decide(place, stream, bad, "skip")
        assert tick(defs, stream, home).run_requests
        assert defs.resolve_job_def("s_drain").execute_in_process(instance=home).success
        assert shown(home)[0] == "SUCCEEDED"
        assert tick(defs, stream, home).skip_reason.skip_message == "nothing waits"


def test_a_check_names_a_bounded_number_and_says_how_many_there_are(place: Place, stream: Stream) -> None:
    names = tuple(f"{number}{'x' * 1_000}" for number in range(5_000))
    early = _EarlyCheck(stream, place.table(stream), NAMING.table_key(stream), threading.Event())
    result = early(Standing(parked=names, stalled=names, settled=True))
    assert result is not None
    assert len(result.description or "") < 15_000
    assert (result.description or "").count("; and 4,980 more") == 2
    assert result.metadata["parked_count"].value == 5_000

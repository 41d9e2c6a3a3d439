"""The thread beside a drain: what it tells of real tables, and what becomes of that when the backend is not well."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.exporters.openlineage.receiver import Receiver, receiver
from tests.support import Place, unique, wait_until
from wordtide.config import Stream
from wordtide.embedded.cluster import ClusterAddress
from wordtide.exporters.openlineage import feed
from wordtide.exporters.openlineage.naming import names_of
from wordtide.exporters.openlineage.records import DrainRun, End, Records
from wordtide.exporters.openlineage.settings import LineageSettings
from wordtide.table.files import utc_now

RUN = "00000000-0000-4000-8000-00000000000"


@dataclass
class Told:
    """One stream on a local disk, its receiver, and the runs that tell it of the stream."""

    place: Place
    stream: Stream
    backend: Receiver
    url: str = ""
    timeout: float = 30.0
    warnings: list[str] = field(default_factory=list)
    runs: int = 0

    def count(self, batches: int = 1) -> None:
        """Commit batches, without telling anybody."""
        for _ in range(batches):
            self.place.land(self.stream, f"{unique('f')}.txt", b"a b\n")
            self.place.drain(self.stream)

    def ledger(self) -> list[int]:
        handle = self.place.table(self.stream).open()
        return [row["batch"] for row in self.place.ledger(self.stream)] if handle else []

    @property
    def records(self) -> Records:
        return Records(self.place.folder / "home" / "lineage")

    def open(self, ended_elsewhere: End | None = None) -> feed.LineageFeed:
        """Start telling, as a run does."""
        self.runs += 1
        return feed.LineageFeed(
            DrainRun(f"{RUN}{self.runs}", utc_now()),
            names_of(self.stream, "wordtide", None, None),
            self.place.table(self.stream),
            LineageSettings(self.url or self.backend.url, timeout=self.timeout),
            self.records,
            lambda _run: ended_elsewhere,
            self.warnings.append,
        )

    def run(self, batches: int = 0) -> None:
        """Tell of one run that counts some batches and ends."""
        opened = self.open()
        for _ in range(batches):
            self.count()
            opened.batch_committed()
        opened.close(End("COMPLETE", utc_now()))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """A stream that no server is needed for."""
    monkeypatch.setattr(feed, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(feed, "LOOK_SECONDS", 0.0)
    # A loaded machine is no slow backend.
    monkeypatch.setattr(feed, "CLOSE_SECONDS", 60.0)
    place = Place(tmp_path, ClusterAddress("nowhere:1", "hdfs://nowhere:1", "nowhere:1"))
    with receiver() as backend:
        yield Told(place, place.folder_stream(), backend)


def states(told: Told) -> list[str]:
    return [state for state, what in told.backend.told() if what == "s_drain"]


def test_a_run_and_each_of_its_batches_are_told_once_and_in_order(told: Told) -> None:
    told.run(batches=2)
    batches = [("START", 0), ("COMPLETE", 0), ("START", 1), ("COMPLETE", 1), ("START", 2), ("COMPLETE", 2)]
    assert told.backend.told() == [("START", "s_drain"), *batches, ("COMPLETE", "s_drain")]
    told.run()
    assert told.backend.complete() == [0, 1, 2]
    assert not told.warnings


def test_what_was_committed_and_not_told_is_told_by_the_next_run(told: Told) -> None:
    told.run(batches=1)
    told.count(3)
    told.run()
    assert told.backend.complete() == [0, 1, 2, 3, 4]


def test_a_backend_that_is_away_delays_and_loses_nothing(told: Told) -> None:
    told.backend.stop()
    told.run(batches=3)
    assert len(told.warnings) == 2
    assert "does not answer" in told.warnings[0]
    assert "the next run tells the rest" in told.warnings[1]
    told.backend.start()
    told.run()
    assert told.backend.complete() == [0, 1, 2, 3]
    # The run that nobody heard of is told with the times it had.
    told_runs = {event["run"]["runId"]: event for event in told.backend.events if event["eventType"] == "COMPLETE"}
    assert told_runs[f"{RUN}1"]["eventTime"] < told_runs[f"{RUN}2"]["eventTime"]
    assert sorted(states(told)) == ["COMPLETE", "COMPLETE", "START", "START"]


def test_a_backend_that_comes_back_during_the_run_is_told_then(told: Told) -> None:
    told.backend.stop()
    opened = told.open()
    told.count(2)
    opened.batch_committed()
    wait_until("the backend is missed", lambda: told.warnings)
    told.backend.start()
    wait_until("it is told", lambda: told.backend.complete() == [0, 1, 2])
    opened.close(End("COMPLETE", utc_now()))
    assert len(told.warnings) == 1
    assert states(told) == ["START", "COMPLETE"]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_backend_that_takes_nothing_at_present_is_asked_again(told: Told, status: int) -> None:
    told.backend.answers = [status, status]
    opened = told.open()
    told.count()
    # On a busy machine it has asked again before there was anything to tell.
    opened.batch_committed()
    wait_until("it is told", lambda: told.backend.complete() == [0, 1])
    opened.close(End("COMPLETE", utc_now()))
    assert str(status) in told.warnings[0]


def test_what_a_backend_refuses_is_named_and_does_not_hold_up_the_rest(told: Told) -> None:
    told.count(2)
    told.backend.answers = [201, 422]  # the start of the run; the START of batch 0
    told.run()
    assert told.backend.told()[:2] == [("COMPLETE", 0), ("START", 1)]
    assert told.backend.complete() == [0, 1, 2]
    assert "batch 0 is left out" in told.warnings[0]
    assert "422" in told.warnings[0]


def test_an_answer_to_something_else_after_a_redirect_is_no_answer(told: Told) -> None:
    told.backend.answers = [302] * 1000
    told.count()
    told.run()
    assert "redirects to" in told.warnings[0]
    assert told.backend.events == []
    told.backend.answers = []
    told.run()
    assert told.backend.complete() == [0, 1]


def test_a_backend_that_says_nothing_ends_no_run_and_loses_nothing(told: Told) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        told.url, told.timeout = f"http://127.0.0.1:{silent.getsockname()[1]}", 0.5
        told.run(batches=1)
    assert told.ledger() == [0, 1]
    assert "not everything is told" in told.warnings[-1]
    told.url, told.timeout = "", 30.0
    told.run()
    assert told.backend.complete() == [0, 1]


def test_a_lost_record_costs_a_repetition_of_equal_events(told: Told) -> None:
    told.run(batches=2)
    first = [event for event in told.backend.events if "wordtide_batch" in event["run"]["facets"]]
    told.backend.events.clear()
    (told.place.folder / "home" / "lineage" / "told.json").unlink()
    told.run()
    assert [event for event in told.backend.events if "wordtide_batch" in event["run"]["facets"]] == first


def test_a_record_cut_short_is_none(told: Told) -> None:
    told.run(batches=1)
    path = told.place.folder / "home" / "lineage" / "told.json"
    path.write_text(path.read_text()[:9])
    told.run()
    assert told.backend.complete() == [0, 1, 0, 1]


def test_of_a_long_past_that_was_never_told_the_newest_are_and_the_others_are_named(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FIRST_BATCHES", 2)
    told.count(4)
    told.run()
    assert told.backend.complete() == [3, 4]
    assert "wordtide lineage emit s --to 2 tells them" in told.warnings[0]
    told.count(5)
    told.run()
    assert told.backend.complete() == [3, 4, 5, 6, 7, 8, 9]


def test_a_backend_that_was_never_there_loses_nothing_of_a_new_table(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FIRST_BATCHES", 1)
    told.backend.stop()
    told.run(batches=4)
    told.run(batches=1)
    told.backend.start()
    told.run()
    assert told.backend.complete() == [0, 1, 2, 3, 4, 5]


def test_a_backend_that_was_never_there_loses_nothing_counted_since_it_was_named(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FIRST_BATCHES", 1)
    told.count(2)
    told.backend.stop()
    told.run(batches=3)
    told.backend.start()
    told.run()
    assert told.backend.complete() == [2, 3, 4, 5]


def test_a_table_founded_anew_is_told_from_its_beginning(told: Told) -> None:
    told.run(batches=2)
    table = Path(told.stream.table)
    table.rename(table.with_name("old"))
    told.run(batches=1)
    # The new table counts the files of the old one in its first batch.
    assert told.backend.complete() == [0, 1, 2, 0, 1]


def test_a_run_that_was_killed_is_ended_by_the_next(told: Told) -> None:
    opened = told.open()
    wait_until("its start is told", lambda: told.backend.told())
    # Killed here: nobody closes it, and its thread hears of nothing any more.
    told.open().close(End("COMPLETE", utc_now()))
    assert states(told) == ["START", "START", "COMPLETE"]
    gone = End("FAIL", utc_now() + timedelta(seconds=1), "the process ended without a word")
    told.open(ended_elsewhere=gone).close(End("COMPLETE", utc_now()))
    assert states(told)[3:] == ["START", "FAIL", "COMPLETE"] or states(told)[3:] == ["START", "COMPLETE", "FAIL"]
    (failed,) = [event for event in told.backend.events if event["eventType"] == "FAIL"]
    assert failed["run"]["runId"] == f"{RUN}1"
    assert failed["run"]["facets"]["errorMessage"]["message"] == gone.message
    assert told.records.runs() == []
    opened.close(gone)


def test_an_unwritable_home_costs_no_batch(told: Told) -> None:
    (told.place.folder / "home").write_text("not a folder")
    told.run(batches=2)
    assert told.ledger() == [0, 1, 2]
    assert "cannot be recorded" in told.warnings[0]


def test_runs_that_wait_to_be_told_have_a_bound(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.exporters.openlineage.records.KEPT_RUNS", 2)
    told.backend.stop()
    for _ in range(4):
        told.run()
    assert [run.run_id for run in told.records.runs()] == [f"{RUN}3", f"{RUN}4"]
    kept = (told.place.folder / "home" / "lineage" / "runs").iterdir()
    assert sorted(path.stem for path in kept) == [f"{RUN}3", f"{RUN}4"]


def test_the_key_is_sent_as_a_bearer_token_and_shown_nowhere(told: Told) -> None:
    settings = LineageSettings(told.backend.url, api_key="secret")
    assert "secret" not in repr(settings)
    opened = feed.LineageFeed(
        DrainRun(f"{RUN}9", utc_now()),
        names_of(told.stream, "wordtide", None, None),
        told.place.table(told.stream),
        settings,
        told.records,
        lambda _run: None,
        told.warnings.append,
    )
    opened.close(End("COMPLETE", utc_now()))
    assert told.backend.asked[0]["Authorization"] == "Bearer secret"
    kept = [path.read_text() for path in (told.place.folder / "home").rglob("*.json")]
    assert "secret" not in json.dumps(kept)


def test_two_runs_at_once_tell_everything(told: Told) -> None:
    first, second = told.open(), told.open()
    told.count(3)
    first.batch_committed()
    second.batch_committed()
    closers = [threading.Thread(target=one.close, args=(End("COMPLETE", utc_now()),)) for one in (first, second)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(30)
    assert set(told.backend.complete()) == {0, 1, 2, 3}
    # What both tell is the same, so that twice is as good as once.
    ends = {json.dumps(event) for event in told.backend.events if event["eventType"] == "COMPLETE"}
    assert len(ends) == 4 + 2

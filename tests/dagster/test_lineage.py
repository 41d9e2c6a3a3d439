"""What a drain under Dagster tells an OpenLineage receiver, with a real broker and HDFS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import wordtide.dagster.lineage
from tests.dagster.support import by_hand, definitions, instance
from tests.exporters.openlineage.receiver import Event, Receiver, receiver
from tests.support import Place, some_lines, unique, words_of
from wordtide.core.problems import ConfigError
from wordtide.drain.loop import Step
from wordtide.exporters.openlineage.records import DrainRun
from wordtide.table.files import utc_now
from wordtide.testing.crash import CrashAt


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that the environment names, and a home of this test's own."""
    with receiver() as made:
        monkeypatch.setenv("OPENLINEAGE_URL", made.url)
        monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "home"))
        # A loaded machine is no slow backend.
        monkeypatch.setattr("wordtide.exporters.openlineage.feed.CLOSE_SECONDS", 60.0)
        yield made


def topic_ids(events: list[Event]) -> set[str]:
    """Return the topic ids that COMPLETEs of batches name."""
    taken = [event["inputs"][0]["inputFacets"] for event in events if event["eventType"] == "COMPLETE"]
    return {facets["wordtide_offsets"]["topicId"] for facets in taken}


def test_a_topics_run_is_told_to_the_offset(place: Place, backend: Receiver) -> None:
    stream = place.topic_stream(partitions=3, engine="local", max_records=400)
    lines = some_lines(1000)
    place.produce(stream, lines)
    with instance() as home:
        result = by_hand(definitions(place, stream), stream, home)
    assert result.success
    start, *batches, complete = backend.events
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"] == result.run_id
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in batches} == {result.run_id}
    ledger = place.ledger(stream)
    assert backend.complete() == [row["batch"] for row in ledger]
    told = [
        (taken["partition"], taken["start"], taken["end"])
        for event in batches
        if event["eventType"] == "COMPLETE"
        for taken in event["inputs"][0]["inputFacets"]["wordtide_offsets"]["ranges"]
    ]
    assert told == [(split["partition"], split["start"], split["end"]) for row in ledger for split in row["splits"]]
    assert sum(end - start for _, start, end in told) == 1000
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    assert topic_ids(batches) == {snapshot.ledger.identity["topic_id"]}
    assert batches[-1]["inputs"][0]["namespace"] == f"kafka://{place.cluster.kafka}"
    words = sum(event["run"]["facets"]["wordtide_batch"]["words"] for event in batches if event["eventType"] == "START")
    assert words == words_of(lines).total()


def test_a_run_that_goes_on_knows_which_topic_its_batches_are_of(place: Place, backend: Receiver) -> None:
    stream = place.topic_stream(engine="local")
    defs = definitions(place, stream)
    with instance() as home:
        for line in ("a", "b"):
            backend.events.clear()
            place.produce(stream, [line])
            assert by_hand(defs, stream, home).success
    assert backend.complete() == [2]
    snapshot = place.table(stream).snapshot()
    assert snapshot is not None
    assert topic_ids(backend.events[1:-1]) == {snapshot.ledger.identity["topic_id"]}


def test_a_folders_run_on_hdfs_is_told_to_the_file(place: Place, backend: Receiver) -> None:
    landing, tables = f"hdfs:///{unique('landing')}", f"hdfs:///{unique('tables')}"
    stream = place.folder_stream(tables, landing, engine="local")
    paths = {place.land(stream, f"{n} ü.txt", b"a b\n") for n in range(3)}
    with instance() as home:
        assert by_hand(definitions(place, stream), stream, home).success
    last = backend.events[-2]
    assert (last["inputs"][0]["namespace"], last["inputs"][0]["name"]) == (
        place.cluster.hdfs,
        landing.removeprefix("hdfs://"),
    )
    assert last["outputs"][0]["name"] == f"{tables.removeprefix('hdfs://')}/s/word_counts"
    assert {file["path"] for file in last["inputs"][0]["inputFacets"]["wordtide_files"]["files"]} == paths


def test_a_run_that_fails_is_told_with_its_line(place: Place, backend: Receiver) -> None:
    stream = place.streams({"s": {"kafka": {"topic": "nosuchtopic"}}})["s"]
    with instance() as home:
        result = by_hand(definitions(place, stream), stream, home)
    assert not result.success
    start, fail = backend.events
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert fail["run"]["runId"] == result.run_id
    said = fail["run"]["facets"]["errorMessage"]
    assert "there is no topic 'nosuchtopic'" in said["message"]
    assert "stackTrace" not in said


def test_what_nobody_foresaw_is_told_with_its_stack_and_an_end_by_hand_as_one() -> None:
    def stack() -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError) as caught:
        stack()
    failed = wordtide.dagster.lineage._end_of(caught.value)
    assert (failed.state, failed.message) == ("FAIL", "ZeroDivisionError: oh")
    assert failed.stack is not None
    assert "in stack" in failed.stack
    assert wordtide.dagster.lineage._end_of(KeyboardInterrupt()).state == "ABORT"


def test_a_drain_killed_between_commit_and_telling_is_made_up_for(
    place: Place, crash_at: CrashAt, cluster_home: Path, backend: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.topic_stream(engine="local")
    place.produce(stream, ["a b"])
    crash_at(Step.REPORT, stream, definitions="wordtide.dagster.definitions:defs")
    assert [row["batch"] for row in place.ledger(stream)] == [0, 1]
    assert 1 not in backend.complete()
    # The kit's process had the cluster's home.
    monkeypatch.setenv("WORDTIDE_HOME", str(cluster_home))
    with instance() as home:
        assert by_hand(definitions(place, stream), stream, home).success
    assert set(backend.complete()) == {0, 1}


def test_how_a_run_ended_without_a_word_is_what_dagster_says(place: Place) -> None:
    job = definitions(place, place.topic_stream()).resolve_job_def("s_drain")
    with instance() as home:

        def told(status: dg.DagsterRunStatus) -> str | None:
            run = home.create_run_for_job(job, status=status)
            end = wordtide.dagster.lineage._ended(home, DrainRun(run.run_id, utc_now()))
            return end.state if end else None

        assert told(dg.DagsterRunStatus.STARTED) is None
        assert told(dg.DagsterRunStatus.FAILURE) == "FAIL"
        assert told(dg.DagsterRunStatus.CANCELED) == "ABORT"
        stranger = DrainRun("7d0f2a0e-6f0c-4d52-9a44-0c8a4f6d6f11", utc_now())
        assert wordtide.dagster.lineage._ended(home, stranger) is None
        old = DrainRun(stranger.run_id, utc_now() - 2 * wordtide.dagster.lineage.STRANGE_FOR)
        assert wordtide.dagster.lineage._ended(home, old) is not None


def test_a_drain_neither_waits_for_nor_fails_by_a_backend_that_is_away(place: Place, backend: Receiver) -> None:
    backend.stop()
    stream = place.topic_stream(engine="local")
    place.produce(stream, ["a b"])
    defs = definitions(place, stream)
    with instance() as home:
        assert by_hand(defs, stream, home).success
        assert place.counted(stream) == {"a": 1, "b": 1}
        backend.start()
        assert by_hand(defs, stream, home).success
    assert backend.complete() == [0, 1]


def test_without_a_url_nothing_is_told_and_no_thread_starts(
    place: Place, backend: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordtide.dagster.lineage.LineageFeed", lambda *_: pytest.fail("a feed was opened"))
    before = set(threading.enumerate())
    stream = place.topic_stream(engine="local")
    for name, value in (("OPENLINEAGE_URL", ""), ("OPENLINEAGE_DISABLED", "true")):
        monkeypatch.setenv(name, value)
        with instance() as home:
            assert by_hand(definitions(place, stream), stream, home).success
        monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
    assert not backend.events
    started = set(threading.enumerate()) - before
    assert not [thread.name for thread in started if thread.name.startswith("lineage-")]


def test_a_url_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from resources import OpenLineageResource

    with pytest.raises(ConfigError, match=r"OPENLINEAGE_URL: 'marquez:5000' is not http\(s\)://host:port"):
        OpenLineageResource(url="marquez:5000").settings()
    with pytest.raises(ConfigError) as caught:
        OpenLineageResource(url="ftp://me:secret@there").settings()
    assert "secret" not in str(caught.value)

"""From the sensor's tick through the run to the table, with a real Dagster instance, broker and HDFS."""

from collections import Counter

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from tests.dagster.support import by_hand, check_of, definitions, events, instance, start, tick
from tests.support import (
    assert_contiguous,
    assert_numbered,
    create_topic,
    decide,
    delete_records,
    replace,
    some_lines,
    unique,
    words_of,
)

KEY = dg.AssetKey(["s", "word_counts"])


def metadata(event):
    return {name: value.value for name, value in event.metadata.items()}


def test_a_hundred_thousand_lines_are_counted_from_the_sensor_to_the_table(place):
    stream = place.topic_stream(partitions=4, linger="0s", engine="local", max_records=30_000)
    lines = some_lines(100_000)
    place.produce(stream, lines)
    defs = definitions(place, stream)
    with instance() as home:
        (request,) = tick(defs, stream, home).run_requests
        assert not request.run_config
        assert start(defs, stream, home, request).success
        assert tick(defs, stream, home).skip_reason.skip_message == "nothing waits"
        reported = [metadata(event) for event in events(home, stream)]
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    ends = {split["partition"]: split["end"] for row in rows for split in row["splits"]}
    assert sum(ends.values()) == 100_000
    assert_contiguous(rows, ends)
    assert [one["batch"] for one in reported[:-1]] == [row["batch"] for row in rows[1:]]
    assert sum(one["words"] for one in reported[:-1]) == words_of(lines).total()


def test_two_hundred_landed_files_are_counted_from_the_sensor_to_the_table(place):
    stream = place.folder_stream(landing=f"hdfs:///landing/{place.folder.name}", linger="0s", engine="local")
    expected: Counter[str] = Counter()
    for number in range(200):
        lines = some_lines(20, seed=number)
        expected += words_of(lines)
        place.land(stream, f"{number % 7}/part {number}.txt", "".join(f"{line}\n" for line in lines).encode())
    defs = definitions(place, stream)
    with instance() as home:
        (request,) = tick(defs, stream, home).run_requests
        assert start(defs, stream, home, request).success
        assert not tick(defs, stream, home).run_requests
    assert place.counted(stream) == expected
    taken = [split["path"] for row in place.ledger(stream) for split in row["splits"]]
    assert (len(taken), len(set(taken))) == (200, 200)


def test_an_event_says_what_the_batch_took_and_from_where(place):
    stream = place.topic_stream(engine="local")
    place.produce(stream, ["to be or", "not to be"])
    defs = definitions(place, stream)
    with instance() as home:
        assert by_hand(defs, stream, home).success
        batch, summary = events(home, stream)
        check = home.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(KEY, "nothing_parked")]
        )
    told, closing = metadata(batch), metadata(summary)
    assert (told["batch"], told["words"], told["rows"], told["records"], told["lag"]) == (1, 6, 4, 2, 0)
    topic = stream.config.kafka.topic
    (taken,) = told["ranges"].records
    assert taken.data == {"partition": f"{topic}/0", "start": 0, "end": 2, "records": 2}
    assert told["latency_seconds"] > 0
    assert told["dagster/row_count"] == closing["dagster/row_count"]
    assert closing["dagster/row_count"] == 4 + 2  # and the ledger's rows, that of the founding among them
    assert "| be | 2 |" in closing["top_words"]
    assert closing["table"] == stream.table
    (origin,) = closing["dagster/column_lineage"].deps_by_column["word"]
    assert (origin.asset_key.path[0], origin.column_name) == ("kafka", "value")
    assert {"seconds_plan", "seconds_read", "seconds_count", "seconds_write", "seconds_batch"} <= told.keys()
    assert batch.tags["dagster/data_version"] == "0:2"
    assert batch.tags[f"dagster/input_data_version/kafka/{topic}"] == "0:2"
    assert batch.tags["dagster/code_version"]
    assert summary.tags["dagster/data_version"] == "0:2"
    assert all(record.status.value == "SUCCEEDED" for record in check.values())


def test_a_run_by_hand_takes_what_is_there_and_ends(place):
    stream = place.topic_stream(engine="local", linger="1h")
    place.produce(stream, ["a b"])
    defs = definitions(place, stream)
    with instance() as home:
        assert by_hand(defs, stream, home).success
        place.produce(stream, ["b"])
        assert by_hand(defs, stream, home).success
        assert by_hand(defs, stream, home).success
    assert place.counted(stream) == {"a": 1, "b": 2}
    assert len(place.ledger(stream)) == 3


def test_a_parked_file_fails_the_check_and_not_the_run(place):
    stream = place.folder_stream(engine="local")
    place.land(stream, "good.txt", b"a b")
    place.land(stream, "bad.txt.gz", b"\x1f\x8b\x08no gzip after all")
    defs = definitions(place, stream)
    with instance() as home:
        result = by_hand(defs, stream, home)
        assert result.success
        check = check_of(result)
    assert not check.passed
    assert "bad.txt.gz" in check.description
    assert place.counted(stream) == {"a": 1, "b": 1}


def test_the_check_says_that_a_topic_holds_json_and_passes(place):
    stream = place.topic_stream(engine="local")
    place.produce(stream, ['{"words": ["a", "b"]}'] * 3)
    defs = definitions(place, stream)
    with instance() as home:
        for _ in range(2):
            check = check_of(by_hand(defs, stream, home))
            assert check.passed
            assert check.description == (
                "nothing is parked; s: 100% of the last batch's values are JSON objects; wordtide counts them as text"
            )
            assert check.metadata["json_share"].value == 1.0


def test_an_unfinished_run_of_the_stream_keeps_the_sensor_from_starting_another(place):
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    defs = definitions(place, stream)
    with instance() as home:
        for tags, selection in (({"wordtide/stream": "s"}, None), ({}, frozenset([KEY]))):
            run = home.create_run_for_job(
                defs.resolve_job_def("s_drain"),
                status=dg.DagsterRunStatus.STARTED,
                tags=tags,
                asset_selection=selection,
            )
            assert "is draining" in tick(defs, stream, home).skip_reason.skip_message
            home.delete_run(run.run_id)
        assert tick(defs, stream, home).run_requests


def test_a_source_that_does_not_answer_is_a_skipped_tick_with_one_line(place):
    stream = place.topic_stream()
    gone = place.streams({"s": {"kafka": {"topic": "nosuchtopic"}}})["s"]
    defs = definitions(place, gone)
    with instance() as home:
        message = tick(defs, gone, home).skip_reason.skip_message
    assert "there is no topic 'nosuchtopic'" in message
    assert "\n" not in message
    assert stream.name == gone.name


def test_what_a_crash_left_unreported_is_reported_by_the_next_run(place):
    stream = place.topic_stream(engine="local")
    for line in ("a", "b", "c"):
        place.produce(stream, [line])
        place.drain(stream)  # without Dagster: committed and never reported
    place.produce(stream, ["d"])
    defs = definitions(place, stream)
    with instance() as home:
        assert by_hand(defs, stream, home).success
        told = events(home, stream)[:-1]
        assert [metadata(event)["batch"] for event in told] == [1, 2, 3, 4]
        assert [event.tags["dagster/data_version"] for event in told] == ["0:1", "0:2", "0:3", "0:4"]
        assert by_hand(defs, stream, home).success
        assert [metadata(event)["batch"] for event in events(home, stream)] == [1, 2, 3, 4, 4, 4]


def test_a_long_unreported_past_is_one_summary_and_the_newest_singly(place, monkeypatch):
    monkeypatch.setattr("wordtide.dagster.reporter.SINGLE_EVENTS", 2)
    stream = place.topic_stream(engine="local")
    for number in range(5):
        place.produce(stream, ["a " * number + "a"])
        place.drain(stream)
    with instance() as home:
        assert by_hand(definitions(place, stream), stream, home).success
        told = [metadata(event) for event in events(home, stream)[:-1]]
        versions = [event.tags["dagster/data_version"] for event in events(home, stream)]
    assert versions == ["0:3", "0:4", "0:5", "0:5"]
    assert [(one.get("batches"), one["batch"], one["words"]) for one in told] == [
        ("3: 1 to 3", 3, 6),
        (None, 4, 4),
        (None, 5, 5),
    ]


def test_a_correction_is_a_version_of_its_own_until_the_position_moves(place):
    stream = place.folder_stream(engine="local")
    path = place.land(stream, "a.txt", b"one two two")
    defs = definitions(place, stream)
    with instance() as home:

        def run() -> list[str]:
            before = len(events(home, stream))
            assert by_hand(defs, stream, home).success
            return [event.tags["dagster/data_version"] for event in events(home, stream)[before:]]

        assert run() == ["1 files", "1 files"]
        replace(place, stream, "a.txt", b"one one")
        assert run() == ["1 files", "1 files"]
        decide(place, stream, path, "recount")
        corrected = "1 files, corrected by batch 3"
        assert run() == [corrected, corrected]
        assert run() == [corrected]
        assert status(defs, home, KEY) == "FRESH"
        place.land(stream, "b.txt", b"three")
        assert run() == ["2 files", "2 files"]
    assert +place.counted(stream) == {"one": 2, "three": 1}


def test_a_summary_that_is_the_newest_event_is_not_reported_again(place, monkeypatch):
    stream = place.topic_stream(engine="local")
    for line in ("a", "b", "c"):
        place.produce(stream, [line])
        place.drain(stream)
    monkeypatch.setattr("wordtide.dagster.reporter.unreported", lambda numbers, reported, _: (list(numbers), []))
    defs = definitions(place, stream)
    with instance() as home:
        assert by_hand(defs, stream, home).success
        monkeypatch.undo()
        assert by_hand(defs, stream, home).success
        batches = [one["batches"] for one in map(metadata, events(home, stream)) if "words" in one]
    assert batches == ["3: 1 to 3"]


def test_what_another_unfinished_run_has_committed_is_left_to_it(place):
    stream = place.topic_stream(engine="local")
    defs = definitions(place, stream)
    with instance() as home:
        other = home.create_run_for_job(
            defs.resolve_job_def("s_drain"), status=dg.DagsterRunStatus.STARTED, tags={"wordtide/stream": "s"}
        )
        place.produce(stream, ["theirs"])
        place.drain(stream, run_id=other.run_id)
        place.produce(stream, ["ours"])
        assert by_hand(defs, stream, home).success
        assert [one["batch"] for one in map(metadata, events(home, stream)) if "words" in one] == [2]
        home.report_run_failed(other)
        assert by_hand(defs, stream, home).success
        assert [one["batch"] for one in map(metadata, events(home, stream)) if "words" in one] == [2, 1]
        assert by_hand(defs, stream, home).success
        assert [one["batch"] for one in map(metadata, events(home, stream)) if "words" in one] == [2, 1]


def status(defs: dg.Definitions, home: dg.DagsterInstance, key: dg.AssetKey = KEY) -> str:
    graph = defs.resolve_asset_graph()
    return CachingStaleStatusResolver(home, graph, loading_context=LoadingContextForTest(home)).get_status(key).value


def test_a_table_is_outdated_by_a_newer_version_of_its_source_only_until_the_next_run(place):
    stream = place.topic_stream(engine="local")
    topic = dg.AssetKey(["kafka", stream.config.kafka.topic])
    defs = definitions(place, stream)

    with instance() as home:
        for line in ("a", "b"):
            place.produce(stream, [line])
            assert by_hand(defs, stream, home).success
            assert status(defs, home) == "FRESH"
        home.report_runless_asset_event(dg.AssetMaterialization(topic, tags={"dagster/data_version": "seen elsewhere"}))
        assert status(defs, home) == "STALE"
        assert by_hand(defs, stream, home).success
        assert status(defs, home) == "FRESH"
        home.report_runless_asset_event(dg.AssetObservation(topic, tags={"dagster/data_version": "looked at"}))
        assert status(defs, home) == "FRESH"


def test_a_table_is_in_step_with_its_source_while_a_run_goes_on(place, monkeypatch):
    stream = place.topic_stream(engine="local")
    place.produce(stream, ["a"])
    defs = definitions(place, stream)
    # The events that end a run are left out: what is there then is what the UI shows in the middle of one.
    monkeypatch.setattr("wordtide.dagster.word_counts._result", lambda *_: (_ for _ in ()).throw(OSError("not yet")))
    with instance() as home:
        assert not by_hand(defs, stream, home).success
        assert [metadata(event)["batch"] for event in events(home, stream)] == [1]
        assert status(defs, home) == "FRESH"


def test_a_source_is_in_its_streams_group_unless_others_read_it_too(place):
    topic = place.topic_stream().config.kafka.topic
    streams = place.streams({name: {"kafka": {"topic": topic}} for name in ("one", "two")})
    graph = definitions(place, *streams.values()).resolve_asset_graph()
    assert graph.get(dg.AssetKey(["kafka", topic])).group_name == "sources"
    alone = definitions(place, streams["one"]).resolve_asset_graph()
    assert alone.get(dg.AssetKey(["kafka", topic])).group_name == "one"


def test_what_a_receiver_takes_in_is_reported_with_its_folder(place):
    stream = place.folder_stream(socket={"server": "127.0.0.1:9"}, engine="local")
    place.land(stream, "a.txt", b"a b")
    defs = definitions(place, stream)
    folder, server = dg.AssetKey(["landing", "s"]), dg.AssetKey(["socket", "s"])
    with instance() as home:
        assert by_hand(defs, stream, home).success
        told = [home.get_latest_data_version_record(key).asset_materialization for key in (folder, server)]
        assert [status(defs, home, key) for key in (folder, KEY)] == ["FRESH", "FRESH"]
    assert told[0].tags == told[1].tags


def test_of_two_streams_on_a_topic_none_shows_the_other_as_outdated_for_ever(place):
    topic = unique("topic")
    create_topic(place.cluster, topic, 1)
    streams = place.streams({name: {"kafka": {"topic": topic}, "engine": "local"} for name in ("ahead", "behind")})
    ahead, behind = streams.values()
    defs = definitions(place, ahead, behind)

    def status(home: dg.DagsterInstance) -> list[str]:
        graph = defs.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(home, graph, loading_context=LoadingContextForTest(home))
        return [resolver.get_status(dg.AssetKey([name, "word_counts"])).value for name in streams]

    with instance() as home:
        place.produce(ahead, ["a"] * 5)
        for stream in streams.values():
            assert by_hand(defs, stream, home).success
        assert status(home) == ["FRESH", "FRESH"]
        place.produce(ahead, ["a"] * 5)
        assert by_hand(defs, ahead, home).success
        assert status(home) == ["FRESH", "STALE"]  # and so it is
        delete_records(place.cluster, topic, {0: 8})
        assert by_hand(defs, behind, home).success  # parks, and will take nothing by itself
        assert status(home) == ["FRESH", "FRESH"]
        versions = [event.tags["dagster/data_version"] for event in events(home, behind)]
    assert versions == ["0:5", "0:5", "0:5", "0:5"]


def test_a_failed_event_is_not_hidden_by_the_events_after_it(place, monkeypatch):
    stream = place.topic_stream(engine="local")
    place.produce(stream, ["a"])
    defs = definitions(place, stream)
    with instance() as home, monkeypatch.context() as broken:
        broken.setattr("wordtide.dagster.reporter.RETRY_SECONDS", 0.0)
        broken.setattr(
            "wordtide.dagster.reporter.materialization", lambda *_: (_ for _ in ()).throw(OSError("database is locked"))
        )
        assert by_hand(defs, stream, home).success
        broken.undo()
        assert by_hand(defs, stream, home).success
        assert 1 in [metadata(event)["batch"] for event in events(home, stream) if "words" in metadata(event)]


def test_a_problem_with_a_known_cause_fails_the_run_with_its_line(place):
    stream = place.streams({"s": {"kafka": {"topic": "nosuchtopic"}}})["s"]
    with instance() as home:
        result = by_hand(definitions(place, stream), stream, home)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "there is no topic 'nosuchtopic'" in failure.step_failure_data.user_failure_data.description


def test_an_instance_that_forgets_says_so(place, capfd, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    stream = place.topic_stream(engine="local")
    with dg.DagsterInstance.ephemeral() as home:
        assert by_hand(definitions(place, stream), stream, home).success
    assert "will not keep its events" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_definitions_merge_into_a_project_with_an_executor_and_assets_of_its_own(place):
    stream = place.topic_stream()

    @dg.asset(deps=[KEY])
    def mine() -> None: ...

    merged = dg.Definitions.merge(
        definitions(place, stream), dg.Definitions(assets=[mine], executor=dg.multiprocess_executor)
    )
    dg.Definitions.validate_loadable(merged)
    graph = merged.resolve_asset_graph()
    assert graph.get(mine.key).parent_keys == {KEY}
    assert graph.get(KEY).parent_keys == {dg.AssetKey(["kafka", stream.config.kafka.topic])}

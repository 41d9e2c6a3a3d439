"""When a drain looks again, when it ends, and which engine counts. Pure: time is a number here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wordtide.config import EngineName, StreamConfig, parse_streams
from wordtide.core.model import FileSplit, KafkaSplit
from wordtide.drain.pacing import Moment, Pace, choose_engine, is_extra, next_wait, spark_objection

FOLLOW = Pace(interval=1.0, linger=30.0, max_run=600.0)
HAND = Pace(interval=1.0, linger=30.0, max_run=600.0, by_hand=True, grace=6.0)
QUIET = Moment(now=100.0, began=90.0, batch_began=99.9, last_data=95.0, took=False, behind=False, waiting=False)


@pytest.mark.parametrize(
    ("pace", "change", "wait"),
    [
        (FOLLOW, {}, 0.9),
        (FOLLOW, {"batch_began": 98.0}, 0.0),
        (FOLLOW, {"behind": True}, 0.0),
        (FOLLOW, {"last_data": 70.0}, None),
        (FOLLOW, {"last_data": 70.0, "took": True}, 0.9),
        (FOLLOW, {"last_data": 70.0, "behind": True}, 0.0),
        (FOLLOW, {"last_data": 70.0, "held": True}, 0.9),
        (FOLLOW, {"began": -500.0, "held": True}, None),
        (FOLLOW, {"began": -500.0, "behind": True, "took": True}, None),
        (HAND, {}, None),
        (HAND, {"held": True}, None),
        (HAND, {"took": True}, 0.0),
        (HAND, {"behind": True}, 0.0),
        (HAND, {"began": -5000.0, "behind": True}, 0.0),
        (HAND, {"waiting": True, "began": 97.0}, 0.5),
        (HAND, {"waiting": True, "began": 94.0}, None),
        (FOLLOW, {"due": 100.3}, 0.3),
        (FOLLOW, {"due": 99.0}, 0.0),
        (FOLLOW, {"due": 105.0}, 0.9),
        (FOLLOW, {"due": 105.0, "last_data": 69.5}, 0.9),
        (FOLLOW, {"due": 105.0, "last_data": 69.0}, None),
    ],
    ids=[
        "the rest of the interval",
        "at once when the batch took longer",
        "at once when caps left something",
        "end after linger of quiet",
        "not while data comes",
        "not while behind",
        "not while something is held and that is not recorded",
        "end after max_run whatever is held",
        "end after max_run whatever waits",
        "by hand: end when nothing is left",
        "by hand: end whatever is held",
        "by hand: look again after a batch",
        "by hand: at once when caps left something",
        "by hand: max_run does not end it",
        "by hand: wait for young files",
        "by hand: but only once",
        "when a young file may be complete, if that is sooner",
        "at once when it is due",
        "the rest of the interval if that is sooner",
        "not while a file seen once may be complete soon",
        "but not for ever",
    ],
)
def test_the_next_look(pace: Pace, change: dict[str, Any], wait: float | None) -> None:
    found = next_wait(pace, replace(QUIET, **change))
    assert found is None if wait is None else found == pytest.approx(wait)


@pytest.mark.parametrize(
    ("pace", "change", "extra"),
    [
        (FOLLOW, {"due": 100.3}, True),
        (FOLLOW, {"due": 105.0}, False),
        (FOLLOW, {}, False),
        (FOLLOW, {"due": 100.3, "behind": True}, False),
        (HAND, {"due": 100.3}, False),
    ],
)
def test_a_look_between_two_regular_ones_does_not_move_the_interval(
    pace: Pace, change: dict[str, Any], extra: bool
) -> None:
    assert is_extra(pace, replace(QUIET, **change)) is extra


def test_a_run_by_hand_waits_for_young_files_a_little_longer_than_their_age() -> None:
    config = StreamConfig.model_validate({"landing": {"path": "/l", "min_age": "5s"}})
    assert Pace.of(config, by_hand=True).grace == 6.0
    config = StreamConfig.model_validate({"landing": {"path": "/l", "min_age": "0s"}})
    assert Pace.of(config, by_hand=True).grace == 0.0
    config = StreamConfig.model_validate({"kafka": {"topic": "t"}})
    assert Pace.of(config, by_hand=True) == Pace(1.0, 30.0, 600.0, True, 0.0)


def test_a_stall_is_recorded_within_one_run_however_short_that_is() -> None:
    for keys, seconds in (({}, 300.0), ({"stalled": "20s"}, 20.0), ({"stalled": "1h"}, 300.0)):
        config = StreamConfig.model_validate({"kafka": {"topic": "t", **keys}, "max_run": "10m"})
        assert config.stalled_after == seconds


KAFKA: dict[str, Any] = {"kafka": {"topic": "t"}}
LANDING: dict[str, Any] = {"landing": {"path": "/l"}}


@pytest.mark.parametrize(
    ("source", "keys", "size", "engine"),
    [
        (KAFKA, {}, 200_000, EngineName.LOCAL),
        (KAFKA, {}, 200_001, EngineName.SPARK),
        (KAFKA, {"local_records": 5}, 6, EngineName.SPARK),
        (KAFKA, {"engine": "local"}, 10**9, EngineName.LOCAL),
        (KAFKA, {"engine": "spark"}, 1, EngineName.SPARK),
        (LANDING, {}, 32_000_000, EngineName.LOCAL),
        (LANDING, {}, 32_000_001, EngineName.SPARK),
        (LANDING, {"local_bytes": "1KB"}, 1001, EngineName.SPARK),
    ],
)
def test_small_batches_are_counted_in_the_process_and_others_on_the_cluster(
    source: dict[str, Any], keys: dict[str, Any], size: int, engine: EngineName
) -> None:
    assert choose_engine(StreamConfig.model_validate(source | keys), _splits(source, size), None) is engine


@pytest.mark.parametrize(
    ("source", "keys", "size", "cores", "engine"),
    [
        (KAFKA, {}, 500_000, 2, EngineName.LOCAL),
        (KAFKA, {}, 500_000, 4, EngineName.SPARK),
        (KAFKA, {}, 200_000, 64, EngineName.LOCAL),
        (KAFKA, {"local_records": 5}, 6, 2, EngineName.SPARK),
        (LANDING, {}, 33_000_000, 2, EngineName.LOCAL),
        (LANDING, {}, 33_000_000, 16, EngineName.SPARK),
        (LANDING, {}, 256_000_000, 2, EngineName.SPARK),
        (LANDING, {}, 256_000_000, 1, EngineName.LOCAL),
    ],
)
def test_spark_on_our_own_cores_is_taken_only_where_it_is_sooner(
    source: dict[str, Any], keys: dict[str, Any], size: int, cores: int, engine: EngineName
) -> None:
    assert choose_engine(StreamConfig.model_validate(source | keys), _splits(source, size), cores) is engine


def test_many_small_files_are_no_work_for_spark_on_two_cores() -> None:
    config = StreamConfig.model_validate(LANDING)
    files = [FileSplit(f"/{number}", 10_000, 0, 0, 10_000) for number in range(10_000)]
    assert choose_engine(config, files, 2) is EngineName.LOCAL
    assert choose_engine(config, files, 8) is EngineName.SPARK


@pytest.mark.parametrize(
    ("batch_began", "due", "goes_on"),
    [(90.0, 95.0, True), (95.0, 95.0, False), (90.0, 97.0, False), (90.0, None, False)],
)
def test_a_run_by_hand_gives_young_files_their_second_look_however_long_the_first_took(
    batch_began: float, due: float | None, goes_on: bool
) -> None:
    moment = replace(QUIET, now=99.0, batch_began=batch_began, waiting=True, due=due)
    assert (next_wait(HAND, moment) is not None) is goes_on


@pytest.mark.parametrize(("cores", "engine"), [(None, EngineName.LOCAL), (64, EngineName.SPARK)])
def test_auto_counts_here_what_executors_on_other_machines_cannot_reach(cores: int | None, engine: EngineName) -> None:
    config = StreamConfig.model_validate(KAFKA)
    assert choose_engine(config, _splits(KAFKA, 10**7), cores, reachable=False) is engine


@pytest.mark.parametrize(
    ("keys", "tables", "cores", "refused"),
    [
        ({"engine": "spark"}, "/t", None, ["/t/s/word_counts"]),
        ({"engine": "spark", "landing": {"path": "/l"}, "kafka": None}, "/t", None, ["/l", "/t/s/word_counts"]),
        ({"engine": "spark", "landing": {"path": "/l"}, "kafka": None}, "hdfs:///t", None, ["/l"]),
        ({"local_records": 5}, "/t", None, ["/t/s/word_counts"]),
        ({"engine": "spark"}, "hdfs:///t", None, []),
        ({"engine": "spark", "shared_paths": True}, "/t", None, []),
        ({"engine": "spark"}, "/t", 2, []),
        ({}, "/t", None, []),
        ({"engine": "local"}, "/t", None, []),
    ],
)
def test_a_stream_for_a_spark_that_cannot_reach_its_files_is_objected_to(
    keys: dict[str, Any], tables: str, cores: int | None, refused: list[str]
) -> None:
    text = json.dumps({"tables": tables, "streams": {"s": KAFKA | keys}})
    stream = parse_streams(text, Path("/streams.yaml"))["s"]

    objection = spark_objection(stream, cores)

    if refused:
        assert objection is not None
        assert f"which cannot see {' and '.join(refused)} on this one" in objection
        assert "shared_paths: true" in objection
    else:
        assert objection is None


def _splits(source: dict[str, Any], size: int) -> list[KafkaSplit] | list[FileSplit]:
    half = size // 2
    if source is KAFKA:
        return [KafkaSplit("t", 0, 7, 7 + half), KafkaSplit("t", 1, 0, size - half)]
    return [FileSplit("/a", half, 0, 0, half), FileSplit("/b", size - half, 0, 0, size - half)]

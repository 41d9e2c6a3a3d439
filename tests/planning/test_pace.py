"""When a drain goes on, when it ends, and who counts."""

from dataclasses import replace

import pytest

from wordtide.batch import FileSplit, KafkaSplit
from wordtide.config import EngineName, StreamConfig
from wordtide.planning.pace import Moment, Pace, choose_engine, next_wait

FOLLOWING = Pace(interval=1.0, linger=30.0, max_run=600.0)
BY_HAND = replace(FOLLOWING, by_hand=True, grace=6.0)
QUIET = Moment(now=110.0, began=100.0, batch_began=109.8, last_data=105.0, took=False, behind=False, waiting=False)


def test_the_next_batch_begins_an_interval_after_the_last_one_began():
    assert next_wait(FOLLOWING, replace(QUIET, took=True)) == pytest.approx(0.8)


def test_a_batch_that_took_longer_than_the_interval_is_followed_at_once():
    assert next_wait(FOLLOWING, replace(QUIET, took=True, batch_began=105.0)) == 0.0


def test_a_backlog_is_taken_without_waiting():
    assert next_wait(FOLLOWING, replace(QUIET, took=True, behind=True)) == 0.0


def test_a_quiet_source_ends_the_drain_after_the_linger():
    assert next_wait(FOLLOWING, replace(QUIET, now=134.9)) is not None
    assert next_wait(FOLLOWING, replace(QUIET, now=135.1)) is None


def test_a_busy_source_ends_the_drain_after_max_run():
    assert next_wait(FOLLOWING, replace(QUIET, now=700.1, last_data=700.0, took=True, behind=True)) is None


def test_a_run_by_hand_goes_on_while_there_is_something_and_then_ends():
    assert next_wait(BY_HAND, replace(QUIET, took=True)) == 0.0
    assert next_wait(BY_HAND, QUIET) is None


def test_a_run_by_hand_waits_once_for_files_that_are_too_young():
    young = replace(QUIET, now=103.0, waiting=True)
    assert next_wait(BY_HAND, young) == 0.5
    assert next_wait(BY_HAND, replace(young, now=106.1)) is None


def test_a_run_by_hand_is_not_cut_short_by_max_run():
    assert next_wait(BY_HAND, replace(QUIET, now=9000.0, took=True, behind=True)) == 0.0


@pytest.mark.parametrize(("records", "engine"), [(200_000, EngineName.LOCAL), (200_001, EngineName.SPARK)])
def test_auto_counts_small_kafka_batches_in_the_process(records, engine):
    config = StreamConfig.model_validate({"kafka": {"topic": "news"}})
    assert choose_engine(config, [KafkaSplit("news", 0, 0, records)]) is engine


@pytest.mark.parametrize(("length", "engine"), [(32_000_000, EngineName.LOCAL), (32_000_001, EngineName.SPARK)])
def test_auto_counts_small_files_in_the_process(length, engine):
    config = StreamConfig.model_validate({"landing": {"path": "/in"}})
    assert choose_engine(config, [FileSplit("/in/a", length, 0, 0, length)]) is engine


def test_a_configured_engine_is_taken_whatever_the_size():
    config = StreamConfig.model_validate({"kafka": {"topic": "news"}, "engine": "spark"})
    assert choose_engine(config, [KafkaSplit("news", 0, 0, 1)]) is EngineName.SPARK

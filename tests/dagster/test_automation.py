"""`top_words`, this platform's example of a table that follows `word_counts` at its own pace, as it is shipped."""

from collections import Counter
from datetime import datetime, timedelta

import dagster as dg
import pytest
from deltalake import DeltaTable

from platform_defs.definitions import build_definitions
from tests.dagster.support import by_hand, events, instance
from wordtide.config import load_streams

TOP_WORDS = dg.AssetKey(["news", "word_counts", "top_words"])
BATCHES = 3


class Example:
    """The example's definitions on a folder of this test, a Dagster of its own, and a clock that we set."""

    def __init__(self, folder, home):
        self.defs = build_definitions()
        self.stream = load_streams()["news"]
        self.landing = folder / "landing"
        self.home = home
        self.landed: Counter[str] = Counter()
        # In the past: events are younger than the evaluation that asked for a run, as they are in life.
        self.noon = datetime.now().astimezone().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
        self.cursor = None

    def batches(self):
        for number in range(BATCHES):
            words = ["a", "b", "c"][: number + 1]
            (self.landing / f"{self.landed.total()}-{number}.txt").write_text(" ".join(words) + "\n")
            self.landed.update(words)
        assert by_hand(self.defs, self.stream, self.home).success

    def requested_at(self, minutes):
        result = dg.evaluate_automation_conditions(
            self.defs,
            self.home,
            asset_selection=dg.AssetSelection.assets(TOP_WORDS),
            evaluation_time=self.noon + timedelta(minutes=minutes, seconds=30),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return result.total_requested

    def make(self):
        job = self.defs.resolve_implicit_global_asset_job_def()
        made = job.execute_in_process(instance=self.home, asset_selection=[TOP_WORDS])
        assert made.success
        assert [(check.check_name, check.passed) for check in made.get_asset_check_evaluations()] == [("adds_up", True)]
        table = DeltaTable(f"{self.landing.parent}/tables/news/top_words").to_pyarrow_table()
        return dict(zip(*table.to_pydict().values(), strict=True))


@pytest.fixture
def example(tmp_path, monkeypatch):
    (tmp_path / "landing").mkdir()
    streams = tmp_path / "streams.yaml"
    streams.write_text(
        "tables: tables\nstreams:\n  news: {landing: {path: landing, min_age: 0s}, max_files: 1, engine: local}\n"
    )
    monkeypatch.setenv("WORDTIDE_STREAMS", str(streams))
    with instance() as home:
        yield Example(tmp_path, home)


def test_an_asset_follows_a_table_once_a_pace_and_not_once_a_batch(example):
    assert example.requested_at(0) == 0
    example.batches()
    assert [example.requested_at(1), example.requested_at(4)] == [0, 0]
    assert example.requested_at(5) == 1
    # Between the request and the next look, and as the last for long: neither forgotten nor made up for at once.
    example.batches()
    assert [example.requested_at(minutes) for minutes in (6, 8, 9)] == [0, 0, 0]
    assert example.requested_at(10) == 1
    assert [example.requested_at(minutes) for minutes in (11, 15, 20, 60)] == [0, 0, 0, 0]
    assert len([event for event in events(example.home, example.stream) if "words" in event.metadata]) == 2 * BATCHES
    assert example.make() == example.landed


def test_what_there_was_when_the_asset_came_is_made_with_the_first_tick_and_nothing_without_a_table(example):
    assert [example.requested_at(0), example.requested_at(5)] == [0, 0]
    example.batches()
    example.cursor = None
    assert [example.requested_at(6), example.requested_at(10), example.requested_at(15)] == [0, 1, 0]

"""A user's streams, moved to a test's own corner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Place
from wordtide.core.problems import ConfigError
from wordtide.drain.loop import Step
from wordtide.testing.crash import CrashAt

STREAMS = """\
tables: hdfs:///warehouse
streams:
  news: {kafka: {topic: news, isolation: read_uncommitted}, batch_interval: 2s, tokenizer: words}
  again: {kafka: {topic: news}}
  articles: {landing: {path: "hdfs:///landing/articles", glob: "*.txt", min_age: 0s}}
  notes: {landing: {path: ./notes}, max_bytes: 3MB}
"""


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "users" / "streams.yaml"
    path.parent.mkdir()
    path.write_text(STREAMS)
    return path


def test_streams_keep_their_names_and_keys_and_get_places_of_their_own(place: Place, origin: Path) -> None:
    first, second = place.own(origin, partitions=3), place.own(str(origin))
    assert list(first) == ["news", "again", "articles", "notes"]
    news, articles, notes = (first[name].config for name in ("news", "articles", "notes"))
    assert (news.interval, news.tokenizer, notes.max_bytes) == (2.0, "words", 3_000_000)
    assert news.kafka is not None
    assert news.kafka.isolation == "read_uncommitted"
    assert first["again"].config.kafka is not None
    assert first["again"].config.kafka.topic == news.kafka.topic
    assert articles.landing is not None
    assert articles.landing.glob == "*.txt"
    for name in first:
        assert first[name].table.startswith("hdfs:///")
        assert first[name].table != second[name].table
    places = {stream.landing or stream.config.kafka.topic for run in (first, second) for stream in run.values()}
    assert len(places) == 6
    assert places.isdisjoint({"news", "hdfs:///landing/articles", str(origin.parent / "notes")})


def test_moved_streams_can_be_used_at_once(place: Place, origin: Path, crash_at: CrashAt) -> None:
    streams = place.own(origin)
    place.produce(streams["news"], ["To be, or not"])
    place.land(streams["articles"], "a.txt", b"a b\n")
    crash_at(Step.WRITE, streams["news"])
    for name in ("news", "articles"):
        place.drain(streams[name])
    assert place.counted(streams["news"]) == dict.fromkeys(["to", "be", "or", "not"], 1)
    assert place.counted(streams["articles"]) == {"a": 1, "b": 1}


def test_a_file_that_is_missing_is_said_to_be(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        place.own(tmp_path / "nowhere.yaml")

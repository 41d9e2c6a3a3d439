"""`streams.yaml`: what it means, and one clear line for each thing that cannot be."""

from pathlib import Path

import pytest

from wordtide.config import home, load_streams, parse_bytes, parse_seconds, parse_streams, streams_path
from wordtide.errors import ConfigError

ORIGIN = Path("/somewhere/streams.yaml")


def parse(text):
    return parse_streams(text, ORIGIN)


def stream(text):
    (only,) = parse(f"streams:\n  news: {text}\n").values()
    return only


def test_defaults_are_those_of_the_readme():
    kafka, landing = stream("{kafka: {topic: news}}").config, stream("{landing: {path: in}}").config
    assert (kafka.interval, landing.interval) == (1.0, 10.0)
    assert (kafka.tokenizer, kafka.engine, kafka.window) == ("space", "auto", 60.0)
    assert (kafka.linger, kafka.max_run) == (30.0, 600.0)
    assert (kafka.max_records, kafka.max_bytes, kafka.max_files) == (500_000, 256_000_000, 10_000)
    assert (kafka.local_records, kafka.local_bytes) == (200_000, 32_000_000)
    assert (kafka.kafka.start_ms(), kafka.kafka.isolation) == ("earliest", "read_committed")
    assert (landing.landing.glob, landing.landing.min_age) == ("**/*", 5.0)


def test_relative_paths_are_relative_to_the_file():
    one = parse("tables: ./t\nstreams: {news: {landing: {path: in/x}}}")["news"]
    assert (one.table, one.landing) == ("/somewhere/t/news/word_counts", "/somewhere/in/x")


def test_hdfs_locations_stay_as_written():
    one = parse("tables: hdfs:///t\nstreams: {news: {landing: {path: 'hdfs://h:9000/in'}}}")["news"]
    assert (one.table, one.landing) == ("hdfs:///t/news/word_counts", "hdfs://h:9000/in")


def test_no_streams_are_no_error():
    assert parse("streams: {}") == {}
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("1s", 1.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (3, 3.0)]
)
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("500", 500), ("64MB", 64_000_000), ("1 GB", 10**9), (7, 7)])
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("start", "expected"),
    [("latest", "latest"), ("'2026-01-31T00:00:00Z'", 1769817600000), ("1769817600000", 1769817600000)],
)
def test_starts(start, expected):
    assert stream(f"{{kafka: {{topic: news, start: {start}}}}}").config.kafka.start_ms() == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("streams: {news: {kafka: {topic: news}, batch_intervall: 1s}}", "unknown key 'streams.news.batch_intervall'"),
        ("tabels: x", "unknown key 'tabels'"),
        ("streams: {news: {kafka: {topic: news}, batch_interval: soon}}", "'soon' is no duration"),
        ("streams: {news: {kafka: {topic: news}, batch_interval: -1}}", "-1 is no usable duration"),
        ("streams: {news: {kafka: {topic: news}, batch_interval: .nan}}", "nan is no usable duration"),
        ("streams: {news: {kafka: {topic: news}, batch_interval: 0s}}", "batch_interval"),
        ("streams: {news: {kafka: {topic: news}, window: 0.1ms}}", "whole number of milliseconds"),
        ("streams: {news: {kafka: {topic: news}, tokenizer: letters}}", "tokenizer"),
        ("streams: {news: {kafka: {topic: news}, max_records: true}}", "max_records"),
        ("streams: {news: {kafka: {topic: news, start: yesterday}}}", "start 'yesterday'"),
        ("streams: {news: {kafka: {topic: news, start: -1}}}", "start -1"),
        ("streams: {news: {kafka: {topic: news, start: true}}}", "start True"),
        ("streams: {news: {kafka: {topic: 'a b'}}}", "topic"),
        ("streams: {news: {kafka: {topic: news}, landing: {path: x}}}", "exactly one source"),
        ("streams: {news: {}}", "exactly one source"),
        ("streams: {ne-ws: {kafka: {topic: news}}}", "a stream's name"),
        ("streams: {news: {landing: {path: 's3://x/y'}}}", "use a folder or hdfs://"),
        ("tables: s3://x\nstreams: {}", "use a folder or hdfs://"),
        ("tables: ./a%20b\nstreams: {}", "'%' cannot be part"),
        ("tables: 'hdfs:///a b'\nstreams: {}", "cannot be part"),
        ("tables: ./d/t\nstreams: {news: {landing: {path: ./d}}}", "holds the tables"),
        ("streams: {a: {kafka: {topic: x}}, A: {kafka: {topic: x}}}", "share the table"),
        ("streams:\n  a: {kafka: {topic: x}}\n  a: {kafka: {topic: y}}\n", "'a' occurs twice"),
        ("streams: [", "not YAML"),
        ("streams: {news: {kafka: {topic: news, start: 2024-13-45}}}", "not YAML"),
        ("- x", "valid dictionary"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_file_and_place(text, part):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("/somewhere/streams.yaml: ")
    assert part in message
    assert "\n" not in message


def test_a_missing_file_is_one_line():
    with pytest.raises(ConfigError, match=r"^/nowhere/streams\.yaml: cannot be read .*set WORDTIDE_STREAMS"):
        load_streams(Path("/nowhere/streams.yaml"))


def test_the_file_in_use_is_the_named_one_else_the_current_folders(tmp_path, monkeypatch):
    monkeypatch.delenv("WORDTIDE_STREAMS", raising=False)
    monkeypatch.delenv("WORDTIDE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "streams.yaml").write_text("streams: {}")
    assert streams_path() == tmp_path / "streams.yaml"
    assert home() == tmp_path / ".wordtide"
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "other" / "s.yaml"))
    assert home() == tmp_path / "other" / ".wordtide"

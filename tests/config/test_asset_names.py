"""Names that would meet are found before Dagster sees them, whatever kind of thing wants them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordtide.config import Stream, parse_configuration, parse_streams
from wordtide.config.asset_names import Part, StreamAsset, asset_path, collisions, withheld

ORIGIN = Path("/etc/w/streams.yaml")


def streams(text: str) -> list[Stream]:
    return list(parse_streams(f"streams:\n{text}", ORIGIN).values())


def topic(name: str, topic: str) -> str:
    return f"  {name}: {{kafka: {{topic: {topic}}}}}\n"


def folder(name: str, more: str = "") -> str:
    return f"  {name}: {{landing: {{path: in/{name}}}{more}}}\n"


def source_key(text: str) -> str:
    (stream,) = streams(text)
    return "/".join(asset_path(StreamAsset.of(stream, Part.SOURCE)))


OTHERS = topic("news", "news") + topic("more_news", "news") + folder("articles")


@pytest.mark.parametrize(
    ("text", "met", "said"),
    [
        (
            topic("kafka", "other") + topic("t", "word_counts"),
            {"kafka", "t"},
            "the table of kafka and topic word_counts would both be the asset kafka/word_counts; rename stream kafka",
        ),
        (
            topic("kafka", "word_counts"),
            {"kafka"},
            "the table of kafka and topic word_counts would both be the asset kafka/word_counts; rename stream kafka",
        ),
        (
            topic("landing", "lt") + folder("word_counts"),
            {"landing", "word_counts"},
            "the table of landing and the landing folder of word_counts would both be the asset landing/word_counts;"
            " rename stream landing or word_counts",
        ),
        (
            folder("word_counts", ", socket: {server: 'localhost:1'}") + topic("socket", "lt"),
            {"socket", "word_counts"},
            "the receiver of word_counts and the table of socket would both be the asset socket/word_counts",
        ),
        (
            folder("word_counts", ", flume: {port: 1}") + topic("flume", "lt"),
            {"flume", "word_counts"},
            "the receiver of word_counts and the table of flume would both be the asset flume/word_counts",
        ),
        (
            topic("a", "a.b") + topic("b", source_key(topic("a", "a.b")).removeprefix("kafka/")),
            {"a", "b"},
            "rename one of them, or read it from another streams.yaml",
        ),
    ],
)
def test_streams_whose_names_meet_are_found_and_no_others(text: str, met: set[str], said: str) -> None:
    found = collisions(streams(text + OTHERS))
    assert set(found) == met
    assert all(
        line.startswith(f"stream {name}: ") and said in line and "\n" not in line for name, line in found.items()
    )


@pytest.mark.parametrize(
    "text",
    [
        topic("a", "a.b") + topic("b", "a-b") + topic("c", "a_b"),
        topic("maintenance", "t") + topic("sources", "t") + topic("default", "t") + topic("wordtide", "t"),
        topic("s", "t") + topic("s_drain", "t") + topic("s_sensor", "t") + topic("s__word_counts", "t"),
        topic("wordtide_alerts", "t") + topic("wordtide_retention", "t") + topic("_", "t") + topic("__", "t"),
        topic("kafka", "kafka") + folder("landing") + topic("word_counts", "t"),
    ],
)
def test_names_that_only_look_alike_do_not_meet(text: str) -> None:
    assert collisions(streams(text + OTHERS)) == {}


def test_tables_in_one_folder_of_two_files_meet() -> None:
    one, other = streams(topic("news", "t")), streams(topic("News", "u"))
    assert set(collisions([*one, *other])) == {"news", "News"}


def test_a_broken_streams_table_keeps_its_key() -> None:
    configuration = parse_configuration("streams:\n  kafka: {}\n" + topic("t", "word_counts") + OTHERS, ORIGIN)
    found = withheld(configuration)
    assert set(found) == {"kafka", "t"}
    assert "name exactly one source" in found["kafka"]
    assert "would both be the asset kafka/word_counts" in found["t"]

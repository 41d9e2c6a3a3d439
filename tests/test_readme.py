"""The README's reliability chapter names a test for each case, and the tests are there.

Its chapter for those who come from Spark names calls, keys and commands that exist.
"""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache

import click
import pytest
from pyspark import streaming

from wordtide.cli.main import cli
from wordtide.config import PROJECT_ROOT, StreamConfig, parse_streams


def chapter(title: str) -> str:
    return (PROJECT_ROOT / "README.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows_of(text: str, head: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith((f"| {head} |", "|---", "| **"))
    ]


_CHAPTER = chapter("Reliability")
_ROWS = rows_of(_CHAPTER, "case")
_SPARK = chapter("Coming from Spark Streaming")
_SPARK_ROWS = rows_of(_SPARK, "Spark Streaming")
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((PROJECT_ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0][:60])
def test_each_case_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3, row
    named = _TEST.findall(row[2])
    assert named, f"no test is named for: {row[0]}"
    for path, name in named:
        assert name in functions_in(path), f"{path} has no {name}"


def test_each_test_of_a_fault_is_named_by_a_case() -> None:
    named = set(_TEST.findall(_CHAPTER))
    for path in sorted((PROJECT_ROOT / "tests" / "faults").glob("test_*.py")):
        relative = path.relative_to(PROJECT_ROOT).as_posix()
        there = {(relative, name) for name in functions_in(relative) if name.startswith("test_")}
        assert there <= named, f"not in the README: {sorted(name for _, name in there - named)}"


def block(language: str) -> str:
    return _SPARK.split(f"```{language}\n")[1].split("```")[0]


@pytest.mark.parametrize("row", _SPARK_ROWS, ids=lambda row: row[0][:60])
def test_a_call_of_spark_is_there_unless_it_is_said_to_be_gone(row: list[str]) -> None:
    assert len(row) == 3, row
    there = {*dir(streaming), *dir(streaming.StreamingContext), *dir(streaming.DStream)}
    elsewhere = {"mapWithState"}
    for call in re.findall(r"`(\w+)[^`.]*`", row[0]):
        assert (call in there or call in elsewhere) != ("gone in Spark 3" in row[0]), call


@pytest.mark.parametrize("row", _SPARK_ROWS, ids=lambda row: row[0][:60])
def test_what_stands_beside_it_are_keys_and_commands_that_exist(row: list[str]) -> None:
    for name in re.findall(r"`(\w+)(?=: )|`(max_\w+)", row[1]):
        assert "".join(name) in StreamConfig.model_fields, name
    for name in re.findall(r"`wordtide ([a-z-]+)", row[1]):
        assert name in cli.list_commands(click.Context(cli))


def test_its_streams_are_streams() -> None:
    origin = PROJECT_ROOT / "streams.yaml"
    found = parse_streams(block("yaml"), origin)
    assert {name: stream.source_kind for name, stream in found.items()} == {
        "kafka_lines": "kafka",
        "hdfs_lines": "landing",
    }
    assert all(stream.config.tokenizer == "space" for stream in found.values())


@pytest.mark.parametrize("line", block("bash").splitlines())
def test_its_commands_take_these_arguments(line: str) -> None:
    program, name, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert program == "wordtide"
    assert command is not None
    command.make_context(name, arguments)


def test_each_picture_is_there_and_each_that_is_there_is_shown() -> None:
    shown = re.findall(r"!\[[^]]+\]\((docs/pictures/\w+\.png)\)", (PROJECT_ROOT / "README.md").read_text())
    there = [path.relative_to(PROJECT_ROOT).as_posix() for path in (PROJECT_ROOT / "docs" / "pictures").iterdir()]
    assert sorted(shown) == sorted(there)

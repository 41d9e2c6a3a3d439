"""`--json` is a contract: docs/json.md lists the keys of each command, and the commands print exactly those."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from tests.cli.support import Shell
from tests.cli.test_questions import drain
from tests.exporters.openlineage.receiver import receiver
from tests.support import commit_offsets, create_topic, produce, unique
from wordtide.cli.main import cli
from wordtide.cli.watch import plain
from wordtide.config import PROJECT_ROOT, load_streams
from wordtide.embedded.cluster import ClusterAddress
from wordtide.table.follow import Follower
from wordtide.wiring import open_table

_PAGE = (PROJECT_ROOT / "docs" / "json.md").read_text()
_DOCUMENTED: dict[str, set[str]] = {}
for _section in _PAGE.split("\n## ")[1:]:
    _title, _, _body = _section.partition("\n")
    for _name in re.findall(r"wordtide ([a-z -]+?)(?:,|$)", _title):
        _DOCUMENTED[_name] = set(re.findall(r"^\| `([^`]+)` \|", _body, re.MULTILINE))


def keys(value: Any, place: str = "") -> Iterator[str]:
    """Yield the place of every leaf; lists and objects that are empty have none."""
    if isinstance(value, list):
        for one in value:
            yield from keys(one, f"{place}[]")
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from keys(one, f"{place}.{key}" if place else key)
    else:
        yield place


def printed(answer: str) -> set[str]:
    assert answer.endswith("\n")
    assert answer.count("\n") == 1
    return set(keys(json.loads(answer)))


def printing_json(group: click.Group, before: str = "") -> Iterator[str]:
    """Yield the names of the commands that have the option, those of groups within the group included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from printing_json(command, f"{before}{name} ")
        elif command is not None and any("--json" in option.opts for option in command.params):
            yield before + name


def test_every_command_that_prints_json_is_documented() -> None:
    assert set(printing_json(cli)) == _DOCUMENTED.keys()


@pytest.fixture
def eventful(shell: Shell) -> Shell:
    """A stream that has something of everything: counted, put aside, parked."""
    landing = shell.folder / "landing"
    landing.mkdir()
    quarantine = "quarantine: {undecodable: true}"
    shell.streams(f"streams: {{s: {{landing: {{path: ./landing, min_age: 0s}}, {quarantine}}}}}\n")
    (landing / "f").write_bytes(b"a b\nbad \xff\n")
    (landing / "g").write_bytes(b"c\n")
    drain("s")
    (landing / "g").write_bytes(b"other words\n")
    drain("s")
    return shell


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("top", ("s",)),
        ("ledger", ("s",)),
        ("parked", ()),
        ("replay", ("s", "--batch", "1")),
        ("quarantine", ("s",)),
        ("doctor", ()),
    ],
)
def test_a_command_prints_the_keys_that_are_documented(eventful: Shell, command: str, arguments: tuple[str]) -> None:
    assert printed(eventful(command, *arguments, "--json").out) == _DOCUMENTED[command]


def test_watch_prints_the_keys_that_are_documented(eventful: Shell) -> None:
    assert eventful
    batches = Follower(open_table(load_streams()["s"]), 0, 10).next()
    assert {key for one in batches for key in keys(plain(one))} == _DOCUMENTED["watch"]


def test_lineage_emit_prints_the_keys_that_are_documented(eventful: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as backend:
        monkeypatch.setenv("OPENLINEAGE_URL", backend.url)
        assert printed(eventful("lineage", "emit", "s", "--json").out) == _DOCUMENTED["lineage emit"]


def test_lag_status_and_import_offsets_print_the_keys_that_are_documented(
    served: Shell, cluster: ClusterAddress
) -> None:
    topic = unique("keys")
    create_topic(cluster, topic, 1)
    produce(cluster, topic, ["a"])
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    assert printed(served("lag", "--json").out) == _DOCUMENTED["lag"]
    group = unique("group")
    commit_offsets(cluster, group, topic, {0: 1})
    assert printed(served("import-offsets", "s", "--group", group, "--json").out) == _DOCUMENTED["import-offsets"]
    assert printed(served("status", "--json").out) == _DOCUMENTED["status"] == _DOCUMENTED["up"]

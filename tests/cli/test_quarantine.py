"""Records that are put aside: named by offset or byte range, exported as they are, counted after all when told to."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tests.cli.support import Shell
from tests.cli.test_questions import drain
from tests.support import create_topic, produce, unique
from wordtide.embedded.cluster import ClusterAddress

BAD = b"half \xff\xfe word"
LARGE = b"x" * 50


def counts(shell: Shell) -> dict[str, int]:
    return {row["word"]: row["count"] for row in json.loads(shell("top", "s", "--json").out)}


def listed(shell: Shell) -> list[tuple[int, int, str]]:
    rows = json.loads(shell("quarantine", "s", "--json").out)
    return sorted((row["start"], row["end"], row["reason"].partition(":")[0]) for row in rows)


@pytest.mark.parametrize("engine", ["local"])
def test_values_are_put_aside_exported_and_counted_after_all(
    served: Shell, cluster: ClusterAddress, engine: str
) -> None:
    topic = unique("quarantine")
    create_topic(cluster, topic)
    served.streams(
        f"streams: {{s: {{kafka: {{topic: {topic}}}, engine: {engine},"
        " quarantine: {undecodable: true, larger_than: 40}}}\n"
    )
    produce(cluster, topic, ["good one", BAD, "", LARGE, "good two", None], partition=0)
    drain("s")
    assert counts(served) == {"good": 2, "one": 1, "two": 1, "": 1}
    assert listed(served) == [(1, 2, "undecodable"), (3, 4, "oversized")]
    [_, row] = json.loads(served("ledger", "s", "--json").out)
    assert (row["records"], row["lines"], row["words"], row["gaps"]) == (6, 3, 5, 0)
    assert served("replay", "s", "--batch", "1", "--json").out.endswith('"words": []}]\n')
    folder = served.folder / "aside"
    assert served("quarantine", "s", "--export", folder).code == 0
    assert sorted(path.read_bytes() for path in folder.iterdir()) == sorted([BAD, LARGE])
    assert served("quarantine", "s", "--replay", "--why", "wanted").code == 0
    assert counts(served) == {
        "good": 2, "one": 1, "two": 1, "": 1, "half": 1, "\ufffd\ufffd": 1, "word": 1, LARGE.decode(): 1,
    }  # fmt: skip
    assert listed(served) == []
    last = json.loads(served("ledger", "s", "--json").out)[-1]
    assert (last["status"], last["replaces"], last["why"]) == ("correction", 1, "wanted")
    drain("s")
    assert served("quarantine", "s").out == "s: nothing is in quarantine\n"


@pytest.mark.parametrize("name", ["f.txt", "f.gz"])
def test_lines_are_put_aside_by_their_bytes_in_the_text(shell: Shell, name: str) -> None:
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams(
        "streams: {s: {landing: {path: ./landing, min_age: 0s}, quarantine: {undecodable: true, larger_than: 40B}}}\n"
    )
    text = b"good one\r\n" + BAD + b"\r\n" + LARGE + b"\ngood two"
    content = gzip.compress(text) if name.endswith(".gz") else text
    Path(landing, name).write_bytes(content)
    Path(landing, "other.txt").write_bytes(b"good\n")
    drain("s")
    assert counts(shell) == {"good": 3, "one": 1, "two": 1}
    begin, middle = text.index(b"half"), text.index(b"xx")
    assert listed(shell) == [(begin, middle, "undecodable"), (middle, text.index(b"good two"), "oversized")]
    folder = shell.folder / "aside"
    assert shell("quarantine", "s", "--export", folder).code == 0
    assert sorted(path.read_bytes() for path in folder.iterdir()) == sorted([BAD + b"\r\n", LARGE + b"\n"])
    assert shell("quarantine", "s", "--replay").code == 0
    assert counts(shell)["half"] == 1
    assert listed(shell) == []


def test_without_a_quarantine_everything_is_counted(shell: Shell) -> None:
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    Path(landing, "f.txt").write_bytes(BAD + b"\n")
    drain("s")
    assert counts(shell) == {"half": 1, "\ufffd\ufffd": 1, "word": 1}
    assert shell("quarantine", "s").out == "s: nothing is in quarantine\n"


def test_a_line_of_a_name_that_was_used_again_is_exported_from_its_own_file(shell: Shell) -> None:
    landing, done = shell.folder / "landing", shell.folder / "done"
    landing.mkdir()

    def take(content: bytes, after: str) -> None:
        shell.streams(
            f"streams: {{s: {{landing: {{path: ./landing, min_age: 0s, after: {after}}},"
            " quarantine: {undecodable: true}}}\n"
        )
        Path(landing, "f").write_bytes(content)
        os.utime(landing / "f", (1_700_000_000, 1_700_000_000))
        drain("s")

    contents = [b"one\n\xff1\n", b"two\n\xff2\n", b"six\n\xff3\n"]
    for content, after in zip(contents, ["archive ./done", "archive ./done", "keep"], strict=True):
        take(content, after)
    shell.streams(
        "streams: {s: {landing: {path: ./landing, min_age: 0s, after: archive ./done},"
        " quarantine: {undecodable: true}}}\n"
    )
    folder = shell.folder / "aside"
    assert shell("quarantine", "s", "--export", folder).code == 0
    assert sorted(path.read_bytes() for path in folder.iterdir()) == [b"\xff1\n", b"\xff2\n", b"\xff3\n"]
    (done / "f").unlink()
    refused = shell("quarantine", "s", "--export", folder)
    assert (refused.code, "is gone" in refused.err) == (1, True)

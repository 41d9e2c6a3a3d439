"""`wordtide top`, `ledger`, `lag` and `parked`: JSON for programs, tables for people, nothing changed."""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import CLOSED_PORT, Shell
from tests.support import create_topic, produce, unique
from wordtide.config import PROJECT_ROOT, EngineName, Stream, load_streams
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain
from wordtide.drain.pacing import Pace
from wordtide.embedded.cluster import ClusterAddress
from wordtide.table.commit import WordCounts
from wordtide.wiring import open_source, open_table


def drain(name: str) -> None:
    """Take what is there, as a run by hand does."""
    stream = load_streams()[name]
    source = open_source(stream)
    try:
        engines = {EngineName.LOCAL: LocalEngine()}
        drain = Drain(stream, source, open_table(stream), engines, run_id="test", on_commit=lambda _committed: None)
        drain.run(Pace.of(stream.config, by_hand=True))
    finally:
        source.close()


@pytest.fixture
def folder(shell: Shell) -> Path:
    """The landing folder of a stream `s`; no server is needed for it."""
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    return landing


def land(folder: Path, lines: Iterable[str], name: str = "f") -> None:
    (folder / name).write_text("".join(f"{line}\n" for line in lines))


def test_the_readmes_questions_to_a_table_are_answered_as_top_is(shell: Shell, folder: Path) -> None:
    # Words that occur in two batches: a question that does not sum is answered wrong.
    for name, lines in (("1.txt", ["b a c", "b é"]), ("2.txt", ["b a", "c"])):
        land(folder, lines, name)
        drain("s")
    expected = {row["word"]: row["count"] for row in json.loads(shell("top", "s", "--json").out)}
    readme = (PROJECT_ROOT / "README.md").read_text().split("\n## The tables\n")[1].split("\n## ")[0]
    readme = readme.replace("data/tables/news/word_counts", str(shell.folder / "data" / "tables" / "s" / "word_counts"))
    duck, polars = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    words, splits = answers(duck)
    assert (dict(words.fetchall()), len(splits.fetchall())) == (expected, 2)
    [words] = answers(polars)
    assert dict(words.rows()) == expected


def answers(program: str) -> list[Any]:
    """Run a program and return the values of its expressions."""
    names: dict[str, Any] = {}
    found = []
    for statement in ast.parse(program).body:
        if isinstance(statement, ast.Expr):
            found.append(eval(ast.unparse(statement), names))
        else:
            exec(ast.unparse(statement), names)
    return found


def test_top_is_highest_first_and_ties_go_by_word(shell: Shell, folder: Path) -> None:
    land(folder, ["b a c", "b é", "b a"])
    drain("s")
    answer = shell("top", "s", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == [
        {"word": "b", "count": 3},
        {"word": "a", "count": 2},
        {"word": "c", "count": 1},
        {"word": "é", "count": 1},
    ]
    assert json.loads(shell("top", "s", "-n", "2", "--json").out) == json.loads(answer.out)[:2]


def test_top_has_no_upper_bound(shell: Shell, folder: Path) -> None:
    land(folder, [f"w{n}" for n in range(5000)])
    drain("s")
    assert len(json.loads(shell("top", "s", "-n", str(10**30), "--json").out)) == 5000


def test_top_never_lets_a_word_act_on_the_terminal(shell: Shell, folder: Path) -> None:
    land(folder, ["\x1b[31mred \u202eleft  end\x07"])
    drain("s")
    shown = shell("top", "s").out
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert all(word in shown for word in ("\\x1b[31mred", "\\u202eleft", "end\\x07", "(empty)"))
    assert {row["word"] for row in json.loads(shell("top", "s", "--json").out)} == {
        "\x1b[31mred",
        "\u202eleft",
        "",
        "end\x07",
    }


def test_tables_fit_80_columns(shell: Shell, folder: Path) -> None:
    land(folder, ["x" * 5000, "short"], name="n" * 200)
    drain("s")
    for question in ("top", "ledger", "lag", "parked"):
        assert max(len(line) for line in shell(question, "s").out.splitlines()) <= 80


def test_the_ledger_has_a_row_a_batch_from_batch_0_on(shell: Shell, folder: Path) -> None:
    land(folder, ["a b", "c"], "one")
    drain("s")
    land(folder, ["d"], "two")
    drain("s")
    rows = json.loads(shell("ledger", "s", "--json").out)
    assert [(row["batch"], row["status"], row["lines"], row["words"]) for row in rows] == [
        (0, "founded", 0, 0),
        (1, "published", 2, 3),
        (2, "published", 1, 1),
    ]
    assert [[split["path"] for split in row["splits"]] for row in rows] == [
        [],
        [str(folder / "one")],
        [str(folder / "two")],
    ]
    assert all(datetime.fromisoformat(row["committed_at"]).tzinfo is not None for row in rows)
    assert [row["batch"] for row in json.loads(shell("ledger", "s", "-n", "1", "--json").out)] == [2]
    assert "published" in shell("ledger", "s").out


def test_before_the_first_batch_answers_are_empty_and_no_error(shell: Shell, folder: Path) -> None:
    land(folder, ["a"])
    for question in ("top", "ledger", "parked"):
        answer = shell(question, "s", "--json")
        assert (answer.code, answer.out, answer.err) == (0, "[]\n", "")
        assert shell(question, "s").code == 0


def test_lag_counts_the_files_that_wait_without_taking_them(shell: Shell, folder: Path) -> None:
    land(folder, ["a"], "one")
    [before] = json.loads(shell("lag", "--json").out)
    assert (before["stream"], before["unit"], before["lag"], before["founded"]) == ("s", "files", 1, False)
    drain("s")
    land(folder, ["b"], "two")
    land(folder, ["c"], "three")
    [after] = json.loads(shell("lag", "s", "--json").out)
    assert (after["position"], after["end"], after["lag"], after["founded"]) == (1, 3, 2, True)
    assert len(json.loads(shell("ledger", "s", "--json").out)) == 2


def test_lag_says_how_many_files_are_parked(shell: Shell, folder: Path) -> None:
    (folder / "bad.txt.gz").write_bytes(b"\x1f\x8b\x08no gzip")
    drain("s")
    [found] = json.loads(shell("lag", "--json").out)
    assert (found["lag"], found["parked"]) == (0, 1)
    assert "files, 1 parked" in shell("lag").out


def test_lag_shows_the_other_streams_when_one_cannot_be_looked_at(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", f"127.0.0.1:{CLOSED_PORT}")
    land(folder, ["a"])
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}, news: {kafka: {topic: news}}}\n")
    answer = shell("lag", "--json")
    files, topic = json.loads(answer.out)
    assert (answer.code, files["lag"], topic["lag"]) == (1, 1, None)
    assert "no answer" in topic["problem"]
    assert answer.only_line.startswith("stream news: ")


def test_a_stream_that_is_wrong_hides_no_other(shell: Shell, folder: Path) -> None:
    (folder / "bad.txt.gz").write_bytes(gzip.compress(b"a b")[:-6])
    drain("s")
    log = shell.folder / "data" / "tables" / "a" / "word_counts" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("cut off {")
    shell.streams(
        "streams: {typo: {landin: x}, a: {landing: {path: ./a}}, s: {landing: {path: ./landing, min_age: 0s}}}\n"
    )
    for question in ("parked", "lag"):
        answer = shell(question, "--json")
        assert answer.code == 1
        assert "s" in [row["stream"] for row in json.loads(answer.out)]
        assert "wordtide: stream a: " in answer.err
        assert "unknown key 'streams.typo.landin'" in answer.err
    # One alone is as if there were no others.
    assert shell("parked", "s", "--json").code == 0
    assert "unknown key 'streams.typo.landin'" in shell("top", "typo").only_line


def test_an_error_that_nobody_foresaw_in_one_stream_hides_no_other(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.txt.gz").write_bytes(gzip.compress(b"a b")[:-6])
    drain("s")
    shell.streams("streams: {a: {landing: {path: ./a}}, s: {landing: {path: ./landing, min_age: 0s}}}\n")

    def opens(stream: Stream) -> WordCounts:
        if stream.name == "a":
            raise KeyError("never heard of")
        return open_table(stream)

    monkeypatch.setattr("wordtide.cli.questions.open_table", opens)
    monkeypatch.setattr("wordtide.status.lag.open_table", opens)
    for question in ("parked", "lag"):
        answer = shell(question, "--json")
        assert answer.code == 1
        assert "s" in [row["stream"] for row in json.loads(answer.out)]
        assert answer.only_line == "stream a: KeyError: 'never heard of'"


def test_lag_of_a_topic_is_told_for_each_partition(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("lagging")
    create_topic(cluster, topic, 2)
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    produce(cluster, topic, ["a", "b", "c"], partition=0)
    [before] = json.loads(served("lag", "s", "--json").out)
    assert (before["founded"], before["lag"]) == (False, 3)
    drain("s")
    produce(cluster, topic, ["d", "e"], partition=1)
    [after] = json.loads(served("lag", "s", "--json").out)
    assert (after["founded"], after["position"], after["end"], after["lag"]) == (True, 3, 5, 2)
    assert [(row["partition"], row["position"], row["end"], row["lag"]) for row in after["partitions"]] == [
        (0, 3, 3, 0),
        (1, 0, 2, 2),
    ]


def test_lag_says_once_that_most_values_are_json(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("json")
    create_topic(cluster, topic, 2)
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    produce(cluster, topic, ['{"a": 1}'] * 3, partition=0)
    produce(cluster, topic, ["some words"], partition=1)
    drain("s")
    line = "s: 75% of the last batch's values are JSON objects; wordtide counts them as text"
    assert served("lag").out.count(line) == 1
    [found] = json.loads(served("lag", "--json").out)
    assert found["json_share"] == 0.75
    produce(cluster, topic, ["some words"] * 3, partition=1)
    drain("s")
    assert "JSON" not in served("lag").out


def test_lag_of_a_topic_that_is_not_there_is_one_line(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("missing")
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    answer = served("lag", "s")
    assert answer.code == 1
    assert f"there is no topic '{topic}'" in answer.only_line


def test_a_replaced_file_is_parked_with_its_reason(shell: Shell, folder: Path) -> None:
    land(folder, ["a"])
    drain("s")
    land(folder, ["something else"])
    os.utime(folder / "f", (1, 1))
    drain("s")
    [parked] = json.loads(shell("parked", "--json").out)
    assert (parked["stream"], parked["what"]) == ("s", str(folder / "f"))
    assert parked["reason"]
    assert datetime.fromisoformat(parked["since"]).tzinfo is not None
    # Rich breaks lines at the width; a path has no blanks to break at, so look for its end.
    assert "landing/f" in shell("parked", "s").out.replace("\n", "")

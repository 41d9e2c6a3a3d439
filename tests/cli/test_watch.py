"""`wordtide watch`: each batch's counts as it commits, whatever happens to the table's files meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Shell
from tests.cli.test_questions import drain, land
from tests.support import SECONDS, unique
from wordtide.cli import watch as command
from wordtide.config import PROJECT_ROOT, load_streams
from wordtide.embedded.cluster import ClusterAddress
from wordtide.table.commit import WordCounts
from wordtide.table.follow import Follower
from wordtide.table.maintain import compact_if_needed, vacuum
from wordtide.testing.network import Proxy
from wordtide.wiring import open_table


@pytest.fixture
def folder(shell: Shell) -> Path:
    """The landing folder of a stream `s`; no server is needed for it."""
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    return landing


@pytest.fixture
def table(folder: Path) -> WordCounts:
    return open_table(load_streams()["s"])


def batch(folder: Path, lines: Sequence[str]) -> None:
    """Have one more batch counted."""
    land(folder, lines, f"f{len(list(folder.iterdir()))}")
    drain("s")


def numbers(follower: Follower) -> list[int]:
    return [one.row.batch for one in follower.next()]


@contextmanager
def watching(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    # Without PYTHONUNBUFFERED, as behind a pipe of a user's.
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "wordtide.cli.main", "watch", "s", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    # Ends a wait for a line that never comes.
    deadline = threading.Timer(SECONDS, process.kill)
    deadline.start()
    try:
        yield process
    finally:
        deadline.cancel()
        process.kill()
        process.communicate(timeout=SECONDS)


def line_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def test_each_batch_is_a_line_of_json_from_the_founding_on_if_it_came_before_the_table(
    shell: Shell, folder: Path
) -> None:
    with watching("--json", "-n", "2") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"wordtide: s: there is no table yet; waiting for its first batch\n"
        batch(folder, ["b a c", "b  a"])
        assert [line_of(process)["status"] for _ in range(2)] == ["founded", "published"]
        batch(folder, ["d"])
        line = line_of(process)
        assert (line["batch"], line["lines"], line["words"], line["distinct"]) == (2, 1, 1, 1)
        assert line["top"] == [{"word": "d", "count": 1}]
        assert [split["path"] for split in line["splits"]] == [str(folder / "f1")]
        assert line["seconds"] > 0
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_ctrl_c_ends_it_with_0_also_while_it_waits(shell: Shell, folder: Path) -> None:
    with watching() as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def test_a_table_on_hdfs_is_followed_also_after_that_was_away(
    shell: Shell, cluster: ClusterAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shell.folder / "landing"
    folder.mkdir()
    shell.streams(
        f"tables: hdfs:///{unique('watched')}\nstreams: {{s: {{landing: {{path: ./landing, min_age: 0s}}}}}}\n"
    )
    with Proxy(cluster.hdfs.removeprefix("hdfs://")) as proxy:
        monkeypatch.setenv("WORDTIDE_HDFS_URL", f"hdfs://{proxy.address}")
        monkeypatch.setenv("WORDTIDE_WEBHDFS", cluster.webhdfs)
        batch(folder, ["a"])
        with watching("--from", "1", "--json") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["top"] == [{"word": "a", "count": 1}]
            with proxy.closed():
                said = process.stderr.readline().decode()
            assert said.endswith("; trying again\n")
            batch(folder, ["b"])
            assert json.loads(process.stdout.readline())["top"] == [{"word": "b", "count": 1}]


def test_a_reader_that_went_away_ends_it_quietly(shell: Shell, folder: Path) -> None:
    batch(folder, ["a"])
    with watching("--from", "0", "--json") as process:
        line_of(process)
        assert process.stdout is not None
        process.stdout.close()
        while process.poll() is None:
            batch(folder, ["b"])
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_words_are_those_of_the_batch_highest_first_ties_by_word(table: WordCounts, folder: Path) -> None:
    batch(folder, ["x x x"])
    follower = Follower(table, None, 3)
    assert follower.next() == []
    batch(folder, ["b a c", "b é", "b a", ""])
    [one] = follower.next()
    assert (one.row.batch, one.top, one.distinct) == (2, (("b", 3), ("a", 2), ("", 1)), 5)
    assert follower.next() == []


def test_from_begins_with_that_batch_and_waits_for_one_that_is_to_come(table: WordCounts, folder: Path) -> None:
    for word in "abc":
        batch(folder, [word])
    assert numbers(Follower(table, 2, 1)) == [2, 3]
    later = Follower(table, 5, 1)
    for word in "de":
        assert numbers(later) == []
        batch(folder, [word])
    assert numbers(later) == [5]


def test_a_long_history_comes_piece_by_piece(table: WordCounts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in "abcd":
        batch(folder, [word, "z"])
    monkeypatch.setattr("wordtide.table.follow.BATCHES_AT_ONCE", 3)
    follower = Follower(table, 0, 1)
    assert [numbers(follower) for _ in range(3)] == [[0, 1, 2], [3, 4], []]
    monkeypatch.setattr("wordtide.table.follow.ROWS_AT_ONCE", 3)
    follower = Follower(table, 0, 1)
    assert [numbers(follower) for _ in range(5)] == [[0, 1], [2], [3], [4], []]


def test_compaction_and_vacuum_hide_and_repeat_no_batch(table: WordCounts, folder: Path) -> None:
    follower, behind = Follower(table, 0, 1), Follower(table, 0, 1)
    for word in "abc":
        batch(folder, [word])
    assert numbers(follower) == [0, 1, 2, 3]
    assert compact_if_needed(table, live_files=1)
    handle = table.open()
    assert handle is not None
    handle.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    vacuum(table.uri)
    assert numbers(follower) == []
    batch(folder, ["d"])
    # The new one is in one file with the old ones.
    assert compact_if_needed(table, live_files=1)
    assert [(one.row.batch, one.top) for one in follower.next()] == [(4, (("d", 1),))]
    assert numbers(behind) == [0, 1, 2, 3, 4]


def test_a_table_that_is_founded_anew_is_followed_from_its_beginning(table: WordCounts, folder: Path) -> None:
    batch(folder, ["a"])
    follower = Follower(table, None, 1)
    assert numbers(follower) == []
    shutil.rmtree(table.root)
    drain("s")
    assert numbers(follower) == [0, 1]
    shutil.rmtree(table.root)
    assert numbers(follower) == []
    assert not follower.founded
    drain("s")
    assert numbers(follower) == [0, 1]


def test_while_nothing_commits_a_look_opens_no_table(
    table: WordCounts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(folder, ["a"])
    follower = Follower(table, None, 1)
    assert follower.next() == []
    monkeypatch.setattr(table, "open", lambda: pytest.fail("opened"))
    assert follower.next() == []


def test_a_correction_is_shown_as_signed_differences(shell: Shell, folder: Path, table: WordCounts) -> None:
    batch(folder, ["a a a a b b", "same"])
    (folder / "f0").unlink()
    land(folder, ["b c c c", "same"], "f0")
    drain("s")
    assert shell("resolve", "s", folder / "f0", "--as", "recount").code == 0
    parked, correction = Follower(table, 2, 9).next()
    assert (parked.row.status, parked.top) == ("parked", ())
    assert (correction.row.replaces, correction.top) == (1, (("a", -4), ("c", 3), ("b", -1)))


def shown(shell: Shell, table: WordCounts, capture: pytest.CaptureFixture[str]) -> list[str]:
    console = command.show.console()
    for one in Follower(table, 0, 10).next():
        command._print(console, one)
    return capture.readouterr().out.splitlines()


def test_it_reads_well_in_80_columns_and_no_word_acts_on_the_terminal(
    shell: Shell, folder: Path, table: WordCounts, capsys: pytest.CaptureFixture[str]
) -> None:
    batch(folder, ["x" * 5000 + " \x1b[31mred a a", *(f"w{n}" for n in range(20))])
    (folder / "f0").unlink()
    land(folder, ["y"], "f0")
    batch(folder, ["b"])
    lines = shown(shell, table, capsys)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    [head] = [line for line in lines if line.startswith("batch 1 ")]
    assert " 24 words " in head
    assert head.endswith(" s")
    assert any(line.split()[:2] == ["a", "2"] and line.endswith("█" * 24) for line in lines)
    assert "  … and 13 more words" in lines
    assert any(line.startswith("batch ") and "  parked  " in line for line in lines)


def test_what_is_no_table_of_ours_is_one_line(shell: Shell, folder: Path, table: WordCounts) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    os.makedirs(table.root)
    write_deltalake(table.uri, pa.table({"a": [1]}))
    answer = shell("watch", "s")
    assert answer.code == 1
    assert "was not founded by Wordtide" in answer.only_line
    assert "no stream 't'" in shell("watch", "t").only_line

"""`wordtide demo`: what it shows, how it counts again, and the whole of it with real servers."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.support import Shell
from tests.cli.test_questions import drain, land
from tests.receivers.flume_support import free_port
from tests.support import create_topic, produce, unique
from wordtide.cli import dagster_dev
from wordtide.config import load_streams
from wordtide.core.model import Status
from wordtide.demo.feed import Arrivals, name_for
from wordtide.demo.live import Scene, plain_line, render, sparkline
from wordtide.demo.recount import recount
from wordtide.demo.text import lines
from wordtide.demo.watch import StreamView, StreamWatch
from wordtide.embedded import cluster as embedded
from wordtide.embedded.cluster import ClusterAddress
from wordtide.system.process import members
from wordtide.table.record import LedgerEntry, SplitRecord
from wordtide.wiring import open_table

SCENE = Scene(75.0, "http://127.0.0.1:3000", "feeding")
VIEW = StreamView(
    name="news",
    source="topic news",
    lines=12_345,
    words=98_765,
    distinct=988,
    top=tuple((f"word{n}", 1000 - n) for n in range(40)),
    lag=12,
    batch=42,
    engine="local",
    batch_seconds=0.031,
    latency=(0.48, 1.02),
    rate=2100.4,
    history=tuple(range(40)),
)


def drawn(views: Sequence[StreamView], width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO())
    with console.capture() as captured:
        console.print(render(SCENE, views, width, height))
    return captured.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("streams", "width", "height"),
    [(1, 80, 24), (2, 80, 24), (4, 80, 24), (4, 120, 30), (4, 200, 50), (2, 200, 50), (3, 120, 40), (2, 40, 60)],
)
def test_the_view_fits_the_terminal(streams: int, width: int, height: int) -> None:
    shown = drawn([replace(VIEW, name=f"stream{n}") for n in range(streams)], width, height)
    assert len(shown) <= height
    assert max(len(line) for line in shown) <= width


@pytest.mark.parametrize(("width", "height", "words"), [(80, 24, 2), (200, 50, 15)])
def test_four_streams_are_two_by_two_with_their_top_words(width: int, height: int, words: int) -> None:
    names = ["news", "articles", "wire", "logs"]
    shown = drawn([replace(VIEW, name=name) for name in names], width, height)
    assert [[name for name in names if f"─ {name} " in line] for line in shown if "╭" in line] == [names[:2], names[2:]]
    assert sum(line.count("word0 ") for line in shown) == 4
    assert sum(line.count(f"word{words - 1} ") for line in shown) == 4


def test_the_view_shows_what_was_promised() -> None:
    shown = "\n".join(drawn([VIEW, replace(VIEW, name="articles", unit="files")], 80, 24))
    for text in ("http://127.0.0.1:3000", "98,765 words", "12,345 lines", "12 records", "12 files", "word0"):
        assert text in shown
    assert "42 in 31 ms (local)" in shown
    assert "480 ms / 1.0 s" in shown


def test_the_view_never_lets_a_word_act_on_the_terminal() -> None:
    shown = drawn([replace(VIEW, top=(("\x1b[2J\x07", 2), ("", 1)))], 80, 24)
    assert any("\\x1b[2J\\x07" in line for line in shown)
    assert any("(empty)" in line for line in shown)


def test_without_a_terminal_the_view_is_one_line() -> None:
    line = plain_line(SCENE, [VIEW, StreamView("articles", "folder")])
    assert line == (
        "01:15 feeding | news: 12345 lines, 98765 words, lag 12 records, batch 42 31 ms, latency 480 ms/1.0 s,"
        " top word0=1000 word1=999 word2=998 | articles: 0 lines, 0 words, lag unknown"
    )


def test_a_spark_is_as_high_as_its_share() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▄█"
    assert sparkline([0, 0]) == "  "


def test_files_get_a_name_the_glob_takes() -> None:
    now = datetime(2026, 11, 22, 18, 30, 1, 5, UTC)
    assert name_for("**/*", now) == "2026-11-22/183001-000005.txt"
    assert name_for("*.txt", now) == "183001-000005.txt"
    assert name_for("*.csv", now) is None


def test_the_text_is_utf_8_of_several_scripts() -> None:
    text = b"\n".join(lines()).decode()
    assert len(lines()) > 100
    assert all(word in text for word in ("summer's", "лукоморья", "Vögelein", "cœur"))


def test_latency_is_told_once_for_what_a_batch_took() -> None:
    arrivals = Arrivals()
    arrivals.file("/landing/a")
    committed = datetime.now(UTC)
    entry = received("/landing/a", 1, committed)
    assert len(arrivals.latencies(entry)) == 1
    assert arrivals.latencies(entry) == []


def received(path: str, lines: int, committed: datetime) -> LedgerEntry:
    split = SplitRecord(path=path, lines=lines)
    return LedgerEntry(batch=1, status=Status.PUBLISHED, committed_at=committed, splits=(split,))


def test_latency_of_received_lines_is_that_of_as_many_sent_ones() -> None:
    arrivals, now = Arrivals(), datetime.now(UTC)
    arrivals.expect("/wire", {"/wire/earlier"})
    arrivals.lines("/wire", 2, None)
    for ago in (30.0, 20.0, 10.0):
        arrivals.lines("/wire", 4, now.timestamp() - ago)
    assert arrivals.latencies(received("/wire/earlier", 100, now)) == []
    # Two that an earlier demonstration sent, and half of the first four.
    assert arrivals.latencies(received("/wire/a", 4, now)) == pytest.approx([30.0])
    assert arrivals.latencies(received("/wire/b", 6, now)) == pytest.approx([30.0, 20.0])
    assert arrivals.latencies(received("/elsewhere/c", 6, now)) == []


@pytest.fixture
def folder(shell: Shell) -> Path:
    landing = shell.folder / "landing"
    landing.mkdir()
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}}}\n")
    return landing


def test_a_recount_of_a_folder_is_exact_until_a_line_is_missing(shell: Shell, folder: Path) -> None:
    land(folder, ["a b", "", "ü  x"])
    (folder / "crlf").write_bytes(b"one\r\ntwo\rthree")
    drain("s")
    assert str(recount(load_streams()["s"])) == "s: exact"
    land(folder, ["a new", "c"], "late")
    verdict = recount(load_streams()["s"])
    assert (str(verdict), verdict.exact) == ("s: 2 lines, 3 words differ", False)


def test_a_recount_without_a_table_finds_everything_missing(shell: Shell, folder: Path) -> None:
    land(folder, ["a b"])
    assert str(recount(load_streams()["s"])) == "s: 1 lines, 2 words differ"


def test_a_recount_reads_the_whole_topic(served: Shell, cluster: ClusterAddress) -> None:
    topic = unique("recounted")
    create_topic(cluster, topic, 3)
    served.streams(f"streams: {{s: {{kafka: {{topic: {topic}}}}}}}\n")
    produce(cluster, topic, ["a b", "", None, b"\xff x", "two\nlines"] * 20)
    drain("s")
    assert str(recount(load_streams()["s"])) == "s: exact"
    produce(cluster, topic, ["a"], partition=2)
    assert str(recount(load_streams()["s"])) == "s: 1 lines, 1 words differ"


def test_a_look_adds_what_is_new(shell: Shell, folder: Path) -> None:
    watch = StreamWatch(load_streams()["s"], Arrivals())
    land(folder, ["a b a"])
    assert (watch.look().words, watch.look().lag) == (0, 1)
    drain("s")
    first = watch.look()
    assert (first.lines, first.words, first.distinct, first.lag, first.batch) == (1, 3, 2, 0, 1)
    land(folder, ["b b"], "g")
    drain("s")
    second = watch.look()
    assert (second.lines, second.words, second.top, second.batch) == (2, 5, (("b", 3), ("a", 2)), 2)
    watch.close()


def test_a_look_counts_nothing_twice_that_compaction_has_merged(shell: Shell, folder: Path) -> None:
    stream = load_streams()["s"]
    watch = StreamWatch(stream, Arrivals())
    for number in range(3):
        land(folder, ["a b"], f"f{number}")
        drain("s")
        if number == 1:
            assert watch.look().words == 4
    handle = open_table(stream).open()
    assert handle is not None
    # Batches 0 to 3 end in one file each of counts and ledger; batch 3 is new to the watch.
    handle.optimize.compact()
    seen = watch.look()
    assert (seen.lines, seen.words, seen.top, seen.batch) == (3, 6, (("a", 3), ("b", 3)), 3)
    watch.close()


def of_this(home: Path) -> list[bytes]:
    """Return the command lines of the processes that run for a home: its receivers, its agent, all others."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"WORDTIDE_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes())
    return found


@pytest.mark.parametrize("name", ["WORDTIDE_KAFKA_BOOTSTRAP", "WORDTIDE_HDFS_URL"])
def test_it_refuses_to_fill_servers_of_somebody_else(
    shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "127.0.0.1:1")
    answer = shell("demo", "--seconds", "1")
    assert (answer.code, answer.out) == (1, "")
    assert answer.only_line.startswith(f"{name} is set")


def test_it_wants_a_stream_to_feed(shell: Shell) -> None:
    assert "no stream to feed" in shell("demo").only_line


def test_it_counts_exactly_ends_everything_and_goes_on_from_there(shell: Shell) -> None:
    shell.streams(
        "streams:\n"
        "  news: {kafka: {topic: news}, batch_interval: 500ms}\n"
        "  articles: {landing: {path: 'hdfs:///landing/articles', min_age: 0s}, batch_interval: 1s}\n"
        "  wire:\n"
        "    landing: {path: 'hdfs:///landing/wire', min_age: 0s}\n"
        f"    socket: {{server: 'nowhere.example:{free_port()}', max_age: 500ms, tls: true}}\n"
        f"  logs: {{landing: {{path: ./logs, min_age: 0s}}, flume: {{port: {free_port()}}}}}\n"
    )
    home = shell.folder / "home"

    first = shell.process("demo", "--seconds", "3")
    out, err = first.communicate(timeout=400)
    verdicts = [f"{name}: exact" for name in ("news", "articles", "wire", "logs")]
    assert (first.returncode, out.decode().splitlines()[-4:]) == (0, verdicts), err.decode()
    counts = [int(count) for count in re.findall(r"(?:wire|logs): (\d+) lines", out.decode().splitlines()[-5])]
    assert len(counts) == 2
    assert min(counts) > 50
    counted = int(re.findall(r"news: (\d+) lines", out.decode())[-1])
    assert counted > 300
    assert embedded.status(home).kafka is None
    assert embedded.status(home).hdfs is None

    second = shell.process("demo")
    try:
        assert second.stdout is not None
        line = second.stdout.readline().decode()
        group = int(dagster_dev._read_claim((home / "dagster" / "wordtide-dev.lock").open())["pid"])
        assert int(re.findall(r"news: (\d+) lines", line)[0]) >= counted
    finally:
        second.send_signal(signal.SIGINT)
        _, err = second.communicate(timeout=200)
    assert second.returncode == 0, err.decode()
    assert members(group) == []
    assert embedded.status(home).kafka is None
    assert embedded.status(home).hdfs is None
    assert of_this(home) == []

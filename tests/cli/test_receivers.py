"""The receivers that `streams.yaml` names, as `wordtide dev` and `demo` run them and as `receive stream` does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.support import CLOSED_PORT, Shell
from tests.receivers.flume_support import Client, free_port, line_events, serving
from tests.receivers.support import HOST, LineServer, lines_landed
from tests.support import SECONDS, wait_until
from wordtide.cli import receive, receivers
from wordtide.cli.receivers import Receivers, arguments_of
from wordtide.config import load_streams


@pytest.fixture
def server():
    with LineServer() as made:
        yield made


def receiving(folder: Path, server: LineServer) -> list[int]:
    """Return the processes that receive from a server into this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"receive" in words and str(server.address).encode() in words and str(folder / "landing").encode() in words:
            found.append(int(entry.parent.name))
    return found


def test_a_streams_keys_become_the_commands_options(shell: Shell) -> None:
    shell.streams(
        "streams:\n"
        "  a: {landing: {path: a}, socket: {server: 'h:1', max_size: 1KB, max_age: 50ms, tls: true, ca: ca.pem,"
        " metrics_port: 8}}\n"
        "  b: {landing: {path: 'hdfs:///b'}, flume: {port: 7, listen: '::1', max_batch: 9, cert: c, key: k,"
        " metrics_port: 9}}\n"
    )
    streams, here = load_streams(), shell.folder
    socket = f"socket h:1 --to {here}/a --max-size 1000 --max-age 0.050s --tls --ca {here}/ca.pem --metrics-port 8"
    assert arguments_of(streams["a"]) == socket.split()
    flume = f"flume --port 7 --to hdfs:///b --listen ::1 --max-batch 9 --max-event 1000000 --cert {here}/c"
    assert arguments_of(streams["b"]) == [*flume.split(), "--key", f"{here}/k", "--metrics-port", "9"]


def test_both_kinds_run_land_and_are_gone_at_the_end(shell: Shell, server: LineServer) -> None:
    port, figures = free_port(), free_port()
    shell.streams(
        "streams:\n"
        f"  wire: {{landing: {{path: landing}}, socket: {{server: '{server.address}', max_age: 1h}}}}\n"
        f"  logs: {{landing: {{path: logs}}, flume: {{port: {port}, metrics_port: {figures}}}}}\n"
        "  folder: {landing: {path: folder}}\n"
    )
    said: list[str] = []
    log = shell.folder / "said" / "receive-logs.log"
    with Receivers(load_streams().values(), said.append, shell.folder / "said"):
        server.accept().send(b"one\ntwo\n")
        wait_until("it listens", lambda: log.exists() and "listening on" in log.read_text())
        assert Client(port).batch(line_events([b"three"])) == 0
        assert "wordtide_receiver_events_total 1.0" in scraped(f"http://{HOST}:{figures}/metrics")
        assert len(receiving(shell.folder, server)) == 1
    assert lines_landed(shell.folder / "landing") == [b"one", b"two"]
    assert [path.read_bytes() for path in (shell.folder / "logs").glob("flume-*")] == [b"three\n"]
    assert receiving(shell.folder, server) == []
    assert said == []


def test_one_that_dies_is_said_and_started_again_after_a_pause_that_grows(
    shell: Shell, server: LineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receivers, "_FIRST_PAUSE", 0.02)
    shell.streams(f"streams: {{wire: {{landing: {{path: landing}}, socket: {{server: '{server.address}'}}}}}}\n")
    said: list[str] = []
    with Receivers(load_streams().values(), said.append) as running:

        def runs() -> list[int]:
            running.watch()
            return receiving(shell.folder, server)

        for life in (1, 2):
            [pid] = wait_until("it runs", runs)
            server.accept()
            os.kill(pid, signal.SIGKILL)
            wait_until("its end is said", lambda expected=life: running.watch() or len(said) == expected)
        wait_until("it runs again", runs)
        server.accept().send(b"after\n")
    assert lines_landed(shell.folder / "landing") == [b"after"]
    assert all(line.startswith("the receiver of wire ended by itself (exit code -9); starting it") for line in said)


def test_one_whose_parent_was_killed_lands_and_ends(shell: Shell, server: LineServer) -> None:
    shell.streams(
        f"streams: {{wire: {{landing: {{path: landing}}, socket: {{server: '{server.address}', max_age: 1h}}}}}}\n"
    )
    script = (
        "import time\n"
        "from wordtide.cli.receivers import Receivers\n"
        "from wordtide.config import load_streams\n"
        "with Receivers(load_streams().values(), print): time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=shell.folder, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    try:
        server.accept().send(b"one\n")
        parent.kill()
        parent.wait(SECONDS)
        wait_until("the receiver has ended", lambda: not receiving(shell.folder, server))
    finally:
        parent.kill()
        parent.wait(SECONDS)
    assert lines_landed(shell.folder / "landing") == [b"one"]


def test_a_configured_receiver_runs_by_its_streams_name_and_serves_its_figures(
    shell: Shell, server: LineServer
) -> None:
    shell.streams(f"streams: {{wire: {{landing: {{path: landing}}, socket: {{server: '{server.address}'}}}}}}\n")
    process = shell.process("receive", "stream", "wire", "--metrics-port", "0")
    try:
        assert process.stderr is not None
        first = process.stderr.readline().decode().split()
        server.accept().send(b"one\ntwo\n")
        wait_until("it has landed", lambda: list((shell.folder / "landing").glob("[!.]*")))
        wait_until("it is counted", lambda: "wordtide_receiver_events_total 2.0" in scraped(first[-1]))
        text = scraped(first[-1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)
    figures = ["received_bytes_total 8.0", "landed_bytes_total 8.0", "files_total 1.0", "reconnects_total 0.0"]
    for figure in [*figures, "dropped_repeats_total 0.0", "waiting_bytes 0.0", "last_landed_timestamp_seconds 1."]:
        assert f"wordtide_receiver_{figure}" in text


@pytest.mark.parametrize("receiver", ["socket: {{server: '{}'}}", "flume: {{port: {}}}"])
def test_a_second_receiver_of_a_stream_is_refused_in_one_line(
    shell: Shell, server: LineServer, receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "_ALONE_SECONDS", 0.0)
    key = receiver.format(server.address if "socket" in receiver else free_port())
    shell.streams(f"streams: {{wire: {{landing: {{path: landing}}, {key}}}}}\n")
    with Receivers(load_streams().values(), print, shell.folder / "said"):
        log = shell.folder / "said" / "receive-wire.log"
        wait_until(
            "it runs", lambda: log.exists() and ("connected" in log.read_text() or "listening" in log.read_text())
        )
        assert "another receiver of stream wire" in shell("receive", "stream", "wire").only_line


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return str(answer.read().decode())


def test_a_stream_without_receiver_or_a_taken_metrics_port_is_one_line(shell: Shell, server: LineServer) -> None:
    shell.streams("streams: {s: {landing: {path: l}}}\n")
    assert "names no receiver: add socket:" in shell("receive", "stream", "s").only_line
    assert "no stream 'other'" in shell("receive", "stream", "other").only_line
    taken = shell("receive", "socket", f"{HOST}:{CLOSED_PORT}", "--to", "l", "--metrics-port", str(server.port))
    assert (taken.code, "cannot listen on 127.0.0.1" in taken.only_line) == (1, True)


def test_doubtful_lines_are_shown_by_the_receivers_figures_lag_and_the_doctor(shell: Shell) -> None:
    with serving(shell.folder / "logs") as (port, running):
        shell.streams(f"streams: {{logs: {{landing: {{path: logs}}, flume: {{port: {port}}}}}}}\n")
        client = Client(port)
        assert client.batch(line_events([b"a header", b"one"], agent="x")) == 0
        assert json.loads(shell("lag", "--json").out)[0]["doubtful"] == 0
        assert client.batch(line_events([b"a header", b"two", b"three"], agent="x")) == 0
        assert running.now.doubtful == 2
        assert json.loads(shell("lag", "--json").out)[0]["doubtful"] == 2
        assert "2 doubtful" in shell("lag").out
        [line] = [row for row in json.loads(shell("doctor", "--json").out) if row["check"] == "receiver"]
    assert line["ok"]
    assert "2 doubtful lines have landed, the last at 2" in line["what"]
    assert "from /in/a.log of agent 'x'" in line["what"]
    assert "may be repeats" in line["do"]

"""`wordtide dev`: Dagster with storage of its own; nothing of it stays."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Shell
from tests.support import wait_until
from wordtide.cli import dagster_dev
from wordtide.cli.dagster_api import Standing
from wordtide.cli.dagster_dev import INSTANCE, DagsterDev, hold_port, write_instance
from wordtide.core.problems import EnvironmentProblem
from wordtide.system.process import ProcessId, end_group, members

SECONDS = 180.0


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


def test_a_dagster_yaml_of_ours_is_brought_up_to_date(tmp_path: Path) -> None:
    write_instance(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == INSTANCE
    (tmp_path / "dagster.yaml").write_text(INSTANCE + "telemetry: {enabled: true}\n")
    write_instance(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == INSTANCE


def test_a_dagster_yaml_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    own = "telemetry: {enabled: true}\n"
    (tmp_path / "dagster.yaml").write_text(own)
    write_instance(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == own


def test_a_taken_port_is_one_line(shell: Shell) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        answer = shell("dev", "--port", str(port))
    assert (answer.code, answer.out) == (1, "")
    assert f"port {port} on 127.0.0.1 is not available" in answer.err.splitlines()[-1]


def test_without_a_wish_the_port_is_one_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(dagster_dev, "USUAL_PORT", taken)
        held = hold_port(None)
        held.release()
        assert held.port not in {0, taken}


def test_a_port_that_is_promised_is_nobody_elses_until_it_is_released() -> None:
    # Its web server listens seconds later: two that start at once would both find it free.
    first = hold_port(None)
    try:
        with pytest.raises(EnvironmentProblem, match="address already in use"):
            hold_port(first.port)
        other = hold_port(None)
        other.release()
        assert other.port != first.port
    finally:
        first.release()
    hold_port(first.port).release()


class Strangers(BaseHTTPRequestHandler):
    """Answers as the web server of a Dagster whose code server has the socket `server.socket_path`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        path = self.server.socket_path  # type: ignore[attr-defined]
        cancelled = [run for one in self.server.asked for run in one["variables"].get("runs", ())]  # type: ignore[attr-defined]
        runs = {"theirs": path, "of-another": "/tmp/another", "of-the-command-line": None}
        results = [
            {"runId": run, "repositoryOrigin": at and {"repositoryLocationMetadata": [{"key": "socket", "value": at}]}}
            for run, at in runs.items()
            if run not in cancelled
        ]
        entries = [{"displayMetadata": [{"key": "socket", "value": path}]}]
        data = {"workspaceOrError": {"locationEntries": entries}, "runsOrError": {"results": results}}
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Strangers)
    server.asked, server.socket_path = [], "/tmp/of-theirs"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def started(port: int, socket_path: str) -> DagsterDev:
    """Return one whose `dagster dev`, here a `cat` in its own group, has a code server with this socket."""
    dagster = DagsterDev(port=port)
    dagster._held = dagster_dev.HeldPort(port, None)
    dagster._process = subprocess.Popen(
        [sys.executable, "-c", "input()", "--socket", socket_path], stdin=subprocess.PIPE, start_new_session=True
    )
    return dagster


def cancelled_by(stranger: ThreadingHTTPServer) -> list[str]:
    asked: list[dict[str, Any]] = stranger.asked  # type: ignore[attr-defined]
    return [run for one in asked for run in one["variables"].get("runs", ())]


def test_who_answers_in_our_place_is_neither_taken_for_ours_nor_told_to_cancel_runs(
    stranger: ThreadingHTTPServer,
) -> None:
    dagster = started(stranger.server_port, "/tmp/of-ours")
    try:
        with pytest.raises(EnvironmentProblem, match="did not answer"):
            dagster.wait_ready(0.5)
    finally:
        dagster.stop()
    assert stranger.asked  # type: ignore[attr-defined]
    assert cancelled_by(stranger) == []


def test_of_a_shared_storage_only_runs_that_our_code_server_started_are_cancelled(
    stranger: ThreadingHTTPServer,
) -> None:
    dagster = started(stranger.server_port, "/tmp/of-theirs")
    dagster.stop()
    assert cancelled_by(stranger) == ["theirs"]


def test_no_dagster_answers_so() -> None:
    for data in (None, [], {}, {"workspaceOrError": None}, {"workspaceOrError": {}, "runsOrError": {"results": [1]}}):
        with pytest.raises(ValueError, match="no Dagster"):
            Standing.of(data)


def test_what_outlives_its_leader_is_killed() -> None:
    # The leader ends at SIGINT at once; its child ignores every polite signal.
    deaf = "import signal as s, time; s.signal(s.SIGINT, s.SIG_IGN); s.signal(s.SIGTERM, s.SIG_IGN); time.sleep(600)"
    leader = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    survivor = ProcessId.of(int(process.stdout.readline()))
    assert survivor is not None
    process.send_signal(signal.SIGINT)
    end_group(process.pid, process, 60.0)
    assert not survivor.alive()
    assert process.poll() is not None
    process.stdout.close()


def test_it_answers_is_alone_in_its_home_and_leaves_nothing(shell: Shell) -> None:
    port = free_port()
    process = shell.process("dev", "--port", str(port))
    try:
        assert process.stderr is not None
        lock = shell.folder / "home" / "dagster" / "wordtide-dev.lock"
        wait_until(
            "it has started", lambda: process.poll() is not None or (lock.exists() and lock.read_text()), SECONDS
        )
        group = int(json.loads(lock.read_text())["pid"])
        server_info = f"http://127.0.0.1:{port}/server_info"

        def answers() -> bool:
            try:
                return b"dagster_version" in get(server_info)
            except OSError:
                return False

        wait_until("it answers", answers, SECONDS)
        assert (shell.folder / "home" / "dagster" / "dagster.yaml").exists()
        with pytest.raises(EnvironmentProblem, match=f"already runs in .*127.0.0.1:{port}"), DagsterDev():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert members(group) == []
        # Only whose runs the next start has to cancel, should one have begun while this one ended.
        assert set(json.loads(lock.read_text())) == {"servers"}
        hold_port(port).release()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)


def test_what_a_killed_predecessor_left_is_ended_first(shell: Shell) -> None:
    home = shell.folder / "home" / "dagster"
    home.mkdir(parents=True)
    left = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    identity = ProcessId.of(left.pid)
    assert identity is not None
    (home / "wordtide-dev.lock").write_text(json.dumps({"url": "", "pid": left.pid, "started": identity.started}))
    dagster = DagsterDev()
    dagster._claim()
    dagster.stop()
    assert left.wait(30) == -signal.SIGKILL

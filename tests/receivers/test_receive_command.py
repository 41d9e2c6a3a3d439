"""`wordtide receive socket` as a user starts and ends it, also with kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import served, shell
from tests.cli.support import CLOSED_PORT, Shell
from tests.receivers.support import HOST, LineServer, files_in, lines_in, lines_landed
from tests.support import SECONDS, some_lines, unique, wait_until
from wordtide.embedded.cluster import ClusterAddress
from wordtide.storage import HdfsAddress, storage_for

__all__ = ["served", "shell"]


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer() as made:
        yield made


@contextmanager
def started(
    shell: Shell, server: LineServer, *options: str, to: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = shell.process("receive", "socket", str(server.address), "--to", to or "landing", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def told(process: subprocess.Popen[bytes], number: signal.Signals) -> str:
    """Tell it to stop; it must end with 0. Return what it said last."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (0, b""), err
    return err.decode().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_lands_everything_and_ends_with_0(
    shell: Shell, server: LineServer, number: signal.Signals
) -> None:
    lines = [*some_lines(4999), "the last, unfinished"]
    content = "\n".join(lines).encode()
    with started(shell, server, "--max-age", "1h") as process:
        server.accept().send(content)
        last = told(process, number)
    assert [line.decode() for line in lines_landed(shell.folder / "landing")] == lines
    assert last.startswith(f"wordtide: received {len(content):,} bytes; landed ")
    assert " in 5,000 lines and 1 file; connected again 0 times; last landed at 2" in last


def test_killed_it_loses_only_what_had_not_landed_and_repeats_nothing(shell: Shell, server: LineServer) -> None:
    root = shell.folder / "landing"
    lines = [b"%06d word" % number for number in range(3000)]
    with started(shell, server, "--max-age", "10ms", "--max-size", "1KB") as process:
        peer = server.accept()
        peer.send(b"".join(line + b"\n" for line in lines[:1000]))
        wait_until("some of it has landed", lambda: lines_landed_so_far(root))
        process.kill()
        process.wait(SECONDS)
        before = lines_landed_so_far(root)
    with started(shell, server, "--max-age", "10ms") as process:
        again = server.accept()
        again.send(b"".join(line + b"\n" for line in lines[2000:]))
        wait_until("the rest has landed", lambda: lines_landed_so_far(root) == before + 1000)
        told(process, signal.SIGTERM)
    found = [line for content in visible(root) for line in lines_in(content)]
    assert found == lines[:before] + lines[2000:]


def visible(root: Path) -> list[bytes]:
    """Return the landed files; whoever was killed may have left a hidden one."""
    return [path.read_bytes() for path in sorted(root.glob("[!.]*"))]


def lines_landed_so_far(root: Path) -> int:
    return sum(len(lines_in(content)) for content in visible(root))


def test_a_million_lines_arrive_byte_for_byte(shell: Shell, server: LineServer) -> None:
    content = b"".join(b"the quick brown fox jumps over lazy dog number %07d\n" % number for number in range(1_000_000))
    with started(shell, server) as process:
        peer = server.accept()
        peer.send(content)
        peer.end()
        # The end of the connection is seen before a new one is tried.
        server.accept()
        last = told(process, signal.SIGTERM)
    assert " in 1,000,000 lines and " in last
    paths = sorted((shell.folder / "landing").iterdir())
    assert b"".join(path.read_bytes() for path in paths) == content
    assert all(path.stat().st_size <= 16_000_000 for path in paths)


def test_hdfs_is_a_landing_too(served: Shell, server: LineServer, cluster: ClusterAddress) -> None:
    folder = f"hdfs:///{unique('received')}"
    with started(served, server, to=folder) as process:
        server.accept().send(b"one\ntwo")
        told(process, signal.SIGTERM)
    storage, root = storage_for(folder, HdfsAddress(cluster.hdfs, cluster.webhdfs))
    assert files_in(storage, root) == [b"one\ntwo\n"]


def test_nobody_reading_its_messages_does_not_stop_it(shell: Shell, server: LineServer) -> None:
    with started(shell, server) as process:
        first = server.accept()
        assert process.stderr is not None
        process.stderr.close()
        first.end()
        server.accept().send(b"still here\n")
        wait_until("it has landed", lambda: lines_landed_so_far(shell.folder / "landing"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("moment", ["storage_of", "lander_for", "run_until_told"])
@pytest.mark.parametrize("command", [("socket", f"{HOST}:{CLOSED_PORT}"), ("flume", "--port", "0")])
def test_told_to_stop_before_it_receives_it_ends_with_0_and_one_line(
    shell: Shell, command: tuple[str, ...], moment: str
) -> None:
    script = (
        "import os, signal, sys, wordtide.cli.receive as r\n"
        "from wordtide.cli.main import run\n"
        f"went_on = r.{moment}\n"
        "def told(*a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return went_on(*a, **k)\n"
        f"r.{moment} = told\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, "receive", *command, "--to", "landing"],
        cwd=shell.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        timeout=SECONDS,
    )
    assert (answer.returncode, answer.stdout) == (0, b"")
    said = [line for line in answer.stderr.splitlines() if b"listening on" not in line]
    assert said == [b"wordtide: ended before anything was received"]


def test_what_cannot_be_landed_at_the_end_is_an_error(shell: Shell, server: LineServer) -> None:
    script = (
        "import sys, wordtide.cli.receive as r\n"
        "from wordtide.cli.main import run\n"
        "from wordtide.core.problems import SourceUnavailable\n"
        "from wordtide.storage import LocalStorage\n"
        "def away(*a, **k): raise SourceUnavailable('the disk is away; fetch it')\n"
        "LocalStorage.write_durably = away\n"
        "r._LAND_SECONDS = 0.3\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, "receive", "socket", str(server.address), "--to", "landing"]
    with subprocess.Popen(
        command, cwd=shell.folder, env={**os.environ, "PYTHONPATH": os.getcwd()}, stderr=-1
    ) as process:
        server.accept().send(b"lost\n")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    said = err.decode().splitlines()
    assert said[-1].endswith("5 received bytes could not be landed within 0 s and are lost (the disk is away)")
    assert said[-2].startswith("wordtide: received 5 bytes; landed 0 bytes in 0 lines and 0 files")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("nonsense", "--to", "x"), "is not HOST:PORT"),
        (("localhost:1",), "--to"),
        (("localhost:1", "--to", ""), "name a folder"),
        (("localhost:1", "--to", "x", "--max-size", "0"), "not between 1 and 1GB"),
        (("localhost:1", "--to", "x", "--max-size", "many"), "is no size"),
        (("localhost:1", "--to", "x", "--max-age", "soon"), "is no duration"),
        (("localhost:1", "--to", "x", "--ca", "f"), "only with --tls"),
    ],
)
def test_wrong_arguments_are_explained_and_exit_2(shell: Shell, arguments: tuple[str, ...], part: str) -> None:
    answer = shell("receive", "socket", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.err


def test_a_landing_that_cannot_be_is_one_line(shell: Shell) -> None:
    (shell.folder / "file").write_text("")
    assert shell("receive", "socket", "localhost:1", "--to", shell.folder / "file").code == 1
    assert "wordtide up" in shell("receive", "socket", "localhost:1", "--to", "hdfs:///x").only_line


def test_help_says_what_tcp_cannot_promise(shell: Shell) -> None:
    text = " ".join(shell("receive", "socket", "--help").out.split())
    assert "there is no replay" in text
    assert "exactly once from the landed file on" in text

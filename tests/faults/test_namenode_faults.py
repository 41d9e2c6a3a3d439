"""A NameNode in safe mode, gone in the middle of a batch, silent, and back: on an HDFS of this module's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable

from tests.faults.test_landing_faults import after_plan
from tests.support import SECONDS, Place, assert_numbered, some_lines, wait_until, words_of
from wordtide.config import Stream
from wordtide.core.problems import WordtideError
from wordtide.embedded import hdfs
from wordtide.embedded.cluster import ClusterAddress
from wordtide.embedded.jars import server_jars
from wordtide.system import limits
from wordtide.system.java import find_java
from wordtide.system.ports import Reservations
from wordtide.system.process import ProcessId, stop


@dataclass
class OwnHdfs:
    """A NameNode with two DataNodes that may be killed and started again."""

    home: Path
    port: int
    web_port: int
    process: ProcessId | None = None

    @property
    def url(self) -> str:
        return f"hdfs://127.0.0.1:{self.port}"

    def start(self) -> None:
        java = find_java()
        jars = server_jars(java)
        log = self.home / "hdfs.log"
        self.process = hdfs.start(self.home / "hdfs", log, java, jars, {**os.environ, "LC_ALL": "C.UTF-8"})
        deadline = time.monotonic() + 120
        ports = {"port": self.port, "web_port": self.web_port}
        hdfs.configure(self.process, log, self.home / "hdfs", jars.cache, deadline=deadline, **ports)

    def kill(self) -> None:
        process = self.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        wait_until("the NameNode is gone", lambda: not process.alive())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """NameNode and DataNodes accept connections and say nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def safe_mode(self, action: str) -> None:
        """``enter`` or ``leave`` it, as `hdfs dfsadmin` does."""
        java = find_java()
        classes = ":".join(map(str, server_jars(java).hdfs))
        admin = [str(java), "-XX:TieredStopAtLevel=1", "-cp", classes, "org.apache.hadoop.hdfs.tools.DFSAdmin"]
        subprocess.run([*admin, "-fs", self.url, "-safemode", action], check=True, timeout=60, capture_output=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnHdfs]:
    home = tmp_path_factory.mktemp("namenode")
    with Reservations(home / "ports.lock") as reservations:
        made = OwnHdfs(home, reservations.get(0, 0), reservations.get(0, 0))
    try:
        made.start()
        yield made
    finally:
        if made.process is not None:
            stop([made.process], grace=5)


@pytest.fixture
def own(server: OwnHdfs, tmp_path: Path) -> Place:
    """A corner of this HDFS; there is no broker."""
    return Place(tmp_path, ClusterAddress("127.0.0.1:1", server.url, f"127.0.0.1:{server.web_port}"))


def test_in_safe_mode_files_are_counted_and_put_away_once_it_is_left(own: Place, server: OwnHdfs) -> None:
    stream = own.folder_stream(landing=f"hdfs:///{own.folder.name}", after="delete")
    storage, root = own.landing(stream)
    lines = some_lines(100)
    own.land(stream, "a.txt", "".join(f"{line}\n" for line in lines).encode())
    server.safe_mode("enter")
    try:
        for _ in range(2):
            with pytest.raises(WordtideError, match="the NameNode is starting or in safe mode") as refused:
                own.drain(stream)
            assert "\n" not in str(refused.value)
            assert own.counted(stream) == words_of(lines)
    finally:
        server.safe_mode("leave")
    assert len(storage.list_files(root)) == 1
    own.drain(stream)
    assert storage.list_files(root) == []
    assert own.counted(stream) == words_of(lines)


def test_a_namenode_that_goes_in_the_middle_of_a_batch_costs_a_run_and_no_word(own: Place, server: OwnHdfs) -> None:
    name = own.folder.name
    stream = own.folder_stream(
        landing=f"hdfs:///{name}", tables=f"hdfs:///tables/{name}", after=f"archive hdfs:///done/{name}"
    )
    first, second = some_lines(100, 1), some_lines(100, 2)
    own.land(stream, "a.txt", "".join(f"{line}\n" for line in first).encode())
    own.drain(stream)
    own.land(stream, "b.txt", "".join(f"{line}\n" for line in second).encode())
    for engines in (after_plan(server.kill), None):
        # Gone while a batch is read, and gone from the start.
        with pytest.raises(WordtideError) as refused:
            own.drain(stream, engines=engines)
        assert server.url in str(refused.value)
        assert "\n" not in str(refused.value)
    server.start()
    own.drain(stream)
    assert own.counted(stream) == words_of([*first, *second])
    assert_numbered(own.ledger(stream))
    storage, root = own.landing(stream)
    assert storage.list_files(root) == []
    assert len(storage.list_files(f"/done/{name}")) == 2


@pytest.fixture
def tables_too(own: Place) -> Iterator[Stream]:
    """A stream with landing folder and table on this HDFS, and a batch in it, whose calls are given up after 2 s."""
    name = own.folder.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORDTIDE_HDFS_TIMEOUT", "2s")
        stream = own.folder_stream(landing=f"hdfs:///{name}", tables=f"hdfs:///tables/{name}")
        own.land(stream, "a.txt", b"one two\n")
        own.drain(stream)
        yield stream


def drains(own: Place, stream: Stream) -> bool:
    """Drain, unless calls that hang say that it would be in vain: they need a moment to return."""
    try:
        own.drain(stream)
    except WordtideError:
        return False
    return True


def none_hangs() -> bool:
    return not any(hdfs._abandoned for hdfs in limits._servers.values())


def command(own: Place, *arguments: str, timeout: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wordtide.cli.main", *arguments],
        env={**own.environment(), "WORDTIDE_HDFS_TIMEOUT": timeout},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_command_gives_a_silent_namenode_up_in_one_line(own: Place, server: OwnHdfs, tables_too: Stream) -> None:
    file = own.folder / "b.txt"
    file.write_text("three\n")
    name, landing = tables_too.name, f"hdfs:///{own.folder.name}"
    commands = [
        ("lag",),
        ("land", str(file), landing),
        ("ledger", name),
        ("replay", name, "--batch", "1"),
        ("resolve", name, f"{landing}/a.txt", "--as", "skip"),
        ("receive", "socket", "localhost:1", "--to", landing),
        ("doctor",),
    ]
    with server.frozen():
        running = [command(own, *arguments, timeout="2s") for arguments in commands]
        for arguments, process in zip(commands, running, strict=True):
            shown, said = process.communicate(timeout=4 * SECONDS)
            assert process.returncode == 1, (arguments, shown, said)
            assert server.url.removeprefix("hdfs://") in shown + said, (arguments, shown, said)
            assert "Traceback" not in said
            assert arguments == ("doctor",) or ("restart what hangs" in said and said.count("\n") == 1)
    assert own.drain(tables_too).last == 1


def test_a_ctrl_c_ends_what_waits_for_a_silent_namenode(own: Place, server: OwnHdfs, tables_too: Stream) -> None:
    file = own.folder / "b.txt"
    file.write_text("three\n")
    name, landing = tables_too.name, f"hdfs:///{own.folder.name}"
    # Of those without end, and those that stand for the others.
    commands = {
        ("lag",): 130,
        ("land", str(file), landing): 130,
        ("resolve", name, f"{landing}/a.txt", "--as", "skip"): 130,
        ("watch", name): 0,
        ("receive", "flume", "--port", "0", "--to", landing): 0,
    }

    def asks(process: subprocess.Popen[str]) -> bool:
        return any(c.raddr and c.raddr.port == server.port for c in psutil.Process(process.pid).net_connections())

    with server.frozen(), ExitStack() as stack:
        running = [command(own, *arguments, timeout="10m") for arguments in commands]
        for process in running:
            stack.callback(process.kill)
        for process in running:
            wait_until("it asks", lambda process=process: asks(process), 4 * SECONDS)
            process.send_signal(signal.SIGINT)
        for (arguments, code), process in zip(commands.items(), running, strict=True):
            said = process.communicate(timeout=SECONDS)[1]
            assert process.returncode == code, (arguments, said)
            assert "Traceback" not in said


def test_a_commit_whose_answer_is_late_is_settled_by_the_next_drain(
    own: Place, server: OwnHdfs, tables_too: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = DeltaTable.create_write_transaction
    silence = ExitStack()

    def into_silence(handle: DeltaTable, *given: Any, **named: Any) -> None:
        monkeypatch.undo()
        silence.enter_context(server.frozen())
        commit(handle, *given, **named)

    own.land(tables_too, "b.txt", b"three\n")
    monkeypatch.setattr(DeltaTable, "create_write_transaction", into_silence)
    with silence, pytest.raises(WordtideError, match="The next drain finds out whether batch 2 was published"):
        own.drain(tables_too)
    # The server goes on, and so does the commit, beside a drain that plans the same file.
    wait_until("HDFS goes on", lambda: drains(own, tables_too))
    wait_until("the late commit has ended", none_hangs)
    own.drain(tables_too)
    assert own.counted(tables_too) == words_of(["one two", "three"])
    assert_numbered(own.ledger(tables_too))


def test_a_commit_that_comes_after_the_next_drain_has_taken_the_same_is_refused(
    own: Place, tables_too: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = DeltaTable.create_write_transaction
    heard = Event()

    def late(handle: DeltaTable, *given: Any, **named: Any) -> None:
        monkeypatch.undo()
        assert heard.wait(SECONDS)
        commit(handle, *given, **named)

    own.land(tables_too, "b.txt", b"three\n")
    monkeypatch.setattr(DeltaTable, "create_write_transaction", late)
    with pytest.raises(WordtideError, match="whether batch 2 was published"):
        own.drain(tables_too)
    wait_until("HDFS is asked again", lambda: drains(own, tables_too))
    heard.set()
    wait_until("the late commit has ended", none_hangs)
    assert own.counted(tables_too) == words_of(["one two", "three"])
    assert_numbered(own.ledger(tables_too))

"""A NameNode in safe mode, gone in the middle of a batch, and back: on an HDFS of this module's own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.test_landing_faults import after_plan
from tests.support import Place, assert_numbered, some_lines, wait_until, words_of
from wordtide.embedded import hdfs
from wordtide.embedded.cluster import ClusterAddress
from wordtide.embedded.jars import server_jars
from wordtide.embedded.java import find_java
from wordtide.embedded.ports import Reservations
from wordtide.embedded.process import ProcessId, stop
from wordtide.errors import WordtideError


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

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cds
from wordtide.system.locks import exclusive
from wordtide.system.process import ProcessId, launch, stop, telling_line


def start(code: str, log: Path) -> ProcessId:
    process = launch([sys.executable, "-c", code], log=log, cwd=log.parent, environment=os.environ)
    deadline = time.monotonic() + 30
    while "up" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_server_shares_no_descriptor_and_no_session_with_us(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = start("import time; print('up', flush=True); time.sleep(60)", tmp_path / "log")
    try:
        os.close(writer)
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b""  # end of file: nobody else holds the pipe
        assert os.getsid(process.pid) == process.pid
    finally:
        os.close(reader)
        assert stop([process]) == [process]
    assert not process.alive()


def test_a_server_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = start(code, tmp_path / "log")
    assert stop([process], grace=0.2) == []
    assert not process.alive()


def test_a_zombie_does_not_count_as_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        process = ProcessId.of(child.pid)
        assert process is not None
        assert process.alive()
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive()
        assert ProcessId.of(child.pid) is None


def test_the_log_of_the_last_start_is_kept(tmp_path: Path) -> None:
    for word in ("up first", "up second"):
        stop([start(f"import time; print({word!r}, flush=True); time.sleep(60)", tmp_path / "log")])
    assert (tmp_path / "log").read_text() == "up second\n"
    assert (tmp_path / "log.1").read_text() == "up first\n"


def test_the_telling_line_is_the_last_error_and_no_stack_frame(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert telling_line(log) == "no log was written"
    log.write_text("")
    assert telling_line(log) == "the log is empty"
    log.write_text("one\ntwo\n\n")
    assert telling_line(log) == "two"
    log.write_text("ERROR start\njava.net.BindException: in use\n\tat x.Y.z(Y.java:1)\n\t... 3 more\nbye\n")
    assert telling_line(log) == "java.net.BindException: in use"


def test_a_lock_that_another_holds_is_not_waited_for_without_end(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        exclusive(lock, timeout=1, holder="test"),
        pytest.raises(EnvironmentProblem, match="another test has held"),
        exclusive(lock, timeout=0.1, holder="test"),
    ):
        pass
    with exclusive(lock, timeout=0.1, holder="test"):
        pass


def test_a_class_archive_is_used_once_a_clean_end_has_published_it(tmp_path: Path) -> None:
    java, jar, cache, home = tmp_path / "java", tmp_path / "a.jar", tmp_path / "cache", tmp_path / "home"
    java.touch()
    jar.touch()
    home.mkdir()

    def flag() -> str:
        return cds.flags("kafka", java, [jar], cache=cache, home=home)[0]

    written = Path(flag().removeprefix("-XX:ArchiveClassesAtExit="))
    written.write_text("half")
    assert flag() == f"-XX:ArchiveClassesAtExit={written}"
    assert not written.exists(), "what a killed server left must not be published later"
    written.write_text("whole")
    cds.publish(cache, home)
    assert not written.exists()
    published = Path(flag().removeprefix("-XX:SharedArchiveFile="))
    assert published.read_text() == "whole"
    jar.write_text("another jar")
    assert flag().startswith("-XX:ArchiveClassesAtExit=")

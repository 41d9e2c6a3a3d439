"""Server processes that outlive us: started apart from us, known by more than a pid, ended within a bound."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

STOP_GRACE = 30.0
"""Seconds a server has to end by itself before it is killed; its first stop also writes a class archive."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for all time: its pid, and when it was started, since the system gives a pid out again."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of the running process `pid`; None when there is none, or only its zombie."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return _started(self.pid) == self.started


def spawn(
    argv: Sequence[str], *, environment: Mapping[str, str], log: Path | None, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, which no Ctrl-C of ours reaches, with no descriptor of ours.

    Args:
        argv: The program and its arguments.
        environment: All its variables.
        log: The file that its output is appended to; None for our own stdout and stderr.
        cwd: Its working directory; default: ours.

    Raises:
        OSError: it cannot be started.
    """
    output: int | None = None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        # Private: the HDFS process first prints the secret of its (short-lived) control port.
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=dict(environment),
            start_new_session=True,
        )
    finally:
        if output is not None:
            os.close(output)


def rotate(log: Path) -> None:
    """Keep the log of the previous start as `<log>.1`."""
    with suppress(FileNotFoundError):
        log.replace(log.with_name(log.name + ".1"))


def launch(argv: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str]) -> ProcessId:
    """Start a process that outlives ours, its output in a new `log`.

    Raises:
        OSError: it cannot be started, or ended at once.
    """
    rotate(log)
    process = spawn(argv, environment=environment, log=log, cwd=cwd)
    identity = ProcessId.of(process.pid)
    # The object is dropped here on purpose: the process is not ours to wait for. `_reap` collects it if we outlive it.
    process.returncode = 0
    if identity is None:
        _reap(process.pid)
        raise ChildProcessError(f"{argv[0]} ended at once, see {log}")
    return identity


def stop(
    processes: Sequence[ProcessId], *, grace: float = STOP_GRACE, number: signal.Signals = signal.SIGTERM
) -> list[ProcessId]:
    """Ask all of them to end, wait, and kill those that do not.

    Args:
        processes: Those that still run are asked.
        grace: Seconds they have to end by themselves.
        number: The signal that asks them.

    Returns:
        Those that ended by themselves.
    """
    for process in processes:
        _send(process, number)
    polite = _wait(processes, grace)
    stubborn = [process for process in processes if process not in polite]
    for process in stubborn:
        _send(process, signal.SIGKILL)
    _wait(stubborn, 10.0)
    return polite


def members(group: int) -> list[psutil.Process]:
    """Return the processes of a group, zombies left out."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if os.getpgid(pid) == group and not _ended(process := psutil.Process(pid)):
                found.append(process)
    return found


def end_group(group: int, leader: subprocess.Popen[bytes] | None, seconds: float) -> None:
    """Wait for a group to empty itself, then kill what is left of it.

    Args:
        group: Its number.
        leader: The process that it is named after, if that is a child of ours.
        seconds: How long its processes have to end by themselves.
    """
    deadline = time.monotonic() + seconds
    # The leader ends last when all goes well; what outlives it (a run's process) has got its signal and some seconds.
    while members(group):
        if leader is not None and leader.poll() is not None:
            deadline = min(deadline, time.monotonic() + 3.0)
            leader = None
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            deadline = time.monotonic() + 5.0
            while members(group) and time.monotonic() < deadline:
                time.sleep(0.05)
            break
        time.sleep(0.1)
    if leader is not None:
        with suppress(subprocess.TimeoutExpired):
            leader.wait(5.0)


def telling_line(log: Path) -> str:
    """Return the line of a server's log that says most about its end: the last one with an error, else the last one."""
    try:
        text = log.read_text(errors="replace")[-200_000:]
    except FileNotFoundError:
        return "no log was written"
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not re.match(r"at \S+\(|\.\.\. \d+ more", line)]
    errors = [line for line in lines if re.search(r"Exception|Error|ERROR|FATAL", line)]
    return (errors or lines or ["the log is empty"])[-1][:300]


def _send(process: ProcessId, number: signal.Signals) -> None:
    if process.alive():
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait(processes: Sequence[ProcessId], seconds: float) -> list[ProcessId]:
    deadline = time.monotonic() + seconds
    while True:
        ended = [process for process in processes if not process.alive()]
        if len(ended) == len(processes) or time.monotonic() > deadline:
            for process in ended:
                _reap(process.pid)
            return ended
        time.sleep(0.02)


def _reap(pid: int) -> None:
    """Collect the zombie if the process was our child; it usually was another process's."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _ended(process: psutil.Process) -> bool:
    return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _started(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if _ended(process):
            return None
        # Since the machine's start, as the system counts it: the clock may be set while the process runs.
        seconds = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return None
    return f"{_boot()}-{round(seconds * os.sysconf('SC_CLK_TCK'))}"


@cache
def _boot() -> str:
    """Start times count from the machine's start, so they say nothing without it; psutil knows no name for that."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except FileNotFoundError:
        return "boot"

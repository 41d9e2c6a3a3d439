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


def launch(argv: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str]) -> ProcessId:
    """Start a process that shares nothing with ours: own session, no descriptor of ours, output to `log`.

    The previous log is kept as `<log>.1`.

    Raises:
        OSError: it cannot be started, or ended at once.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    # Private: the HDFS process first prints the secret of its (short-lived) control port.
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=cwd,
            env=dict(environment),
            close_fds=True,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    identity = ProcessId.of(process.pid)
    # The object is dropped here on purpose: the process is not ours to wait for. `_reap` collects it if we outlive it.
    process.returncode = 0
    if identity is None:
        _reap(process.pid)
        raise ChildProcessError(f"{argv[0]} ended at once, see {log}")
    return identity


def stop(processes: Sequence[ProcessId], *, grace: float = STOP_GRACE) -> list[ProcessId]:
    """Ask all of them to end, wait, and kill those that do not.

    Returns:
        Those that ended by themselves.
    """
    for process in processes:
        _send(process, signal.SIGTERM)
    polite = _wait(processes, grace)
    stubborn = [process for process in processes if process not in polite]
    for process in stubborn:
        _send(process, signal.SIGKILL)
    _wait(stubborn, 10.0)
    return polite


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started; zombies left out."""
    children: dict[int, list[int]] = {}
    for child, (parent, _) in _table().items():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for one in found:
        found += children.get(one, ())
    return found


def members(group: int) -> list[int]:
    """Return the processes of a group, zombies left out."""
    return [pid for pid, (_, its_group) in _table().items() if its_group == group]


def _table() -> dict[int, tuple[int, int]]:
    """Return parent and group of each process that is no zombie."""
    found: dict[int, tuple[int, int]] = {}
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    # The name, in parentheses, may hold anything; after it: state, parent, group.
                    state, parent, group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
                    if state not in "ZX":
                        found[int(entry.name)] = int(parent), int(group)
        return found
    listing = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, timeout=30, check=False
    )
    for pid, parent, group, state in (line.split() for line in listing.stdout.splitlines()):
        if not state.startswith("Z"):
            found[int(pid)] = int(parent), int(group)
    return found


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


def _started(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may hold anything; after it come the state (3rd field) and, as 22nd, the start.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else f"{_boot()}-{fields[19]}"
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - where it is differs by system
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


@cache
def _boot() -> str:
    """Start times count from the machine's start, so they say nothing without it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]

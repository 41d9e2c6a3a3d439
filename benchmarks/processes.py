"""Child processes of a benchmark: started, measured, and surely ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_LIMIT_SECONDS = 3600.0
_END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time of one process: its own, that of its children that were waited for, and who its parent is."""

    own: float
    children: float
    parent: int


Tree = Mapping[tuple[int, float], Cpu]
"""The processes of a tree by id and time of creation."""


def cpu_of_tree(pid: int) -> Tree:
    """Return the CPU time of a process and all its descendants."""
    tree: dict[tuple[int, float], Cpu] = {}
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            tree[process.pid, process.create_time()] = Cpu(
                times.user + times.system, times.children_user + times.children_system, process.ppid()
            )
    return tree


def spent(before: Tree, after: Tree) -> float:
    """Return the CPU-seconds between two looks at a tree.

    PySpark's daemon ignores SIGCHLD, so the time of a Python worker that ends when idle is in nobody's sum: what had
    been seen of it must not be subtracted.
    """
    total = sum(cpu.own + cpu.children for cpu in after.values())
    total -= sum(cpu.own + cpu.children for cpu in before.values())
    inherited = {key[0]: cpu.children - before[key].children for key, cpu in after.items() if key in before}
    for key, cpu in before.items():
        if key not in after:
            had = cpu.own + cpu.children
            if inherited.get(cpu.parent, 0.0) >= had:
                inherited[cpu.parent] -= had
            else:
                total += had
    return total


@contextmanager
def child(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside us; whatever happens it and its descendants end with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        # What it left behind is in its group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Watch:
    """Seconds and CPU-seconds of a process and its descendants, lap by lap."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid or os.getpid()
        self._begin()

    def _begin(self) -> None:
        self._tree = cpu_of_tree(self._pid)
        self._clock = time.perf_counter()

    def lap(self) -> tuple[float, float]:
        """Return (seconds, CPU-seconds) since the last lap, and begin the next one."""
        seconds = time.perf_counter() - self._clock
        before = self._tree
        self._begin()
        return seconds, spent(before, self._tree)


def run_child(module: str, arguments: Mapping[str, Any], folder: Path) -> Any:
    """Run a module of ours with arguments as JSON, and return the JSON it writes to the file named ``answer``.

    Raises:
        RuntimeError: It failed; with the end of its log.
    """
    log = folder / f"{module}.log"
    answer = folder / f"{module}.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", module, json.dumps({**arguments, "answer": str(answer)})]
    with child(command, log) as process:
        code = process.wait(_LIMIT_SECONDS)
    if code != 0 or not answer.exists():
        raise RuntimeError(f"{module} ended with {code}: {log.read_text(errors='replace')[-3000:]}")
    return json.loads(answer.read_text())


def arguments() -> dict[str, Any]:
    """In a child: return the arguments `run_child` was given."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given


def answer(given: Mapping[str, Any], what: object) -> None:
    """In a child: hand the result to `run_child`."""
    Path(given["answer"]).write_text(json.dumps(what))


def peak_rss_bytes() -> int:
    """Return the largest resident set this process ever had (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")

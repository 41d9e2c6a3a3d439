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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_LIMIT_SECONDS = 3600.0
_END_SECONDS = 20.0


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, user and system, the ended ones included."""
    total = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            # The last two are of children that have ended and were waited for.
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
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


@dataclass(slots=True)
class Watch:
    """Seconds and CPU-seconds of this process and its descendants, lap by lap."""

    _clock: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=lambda: tree_cpu_seconds(os.getpid()))

    def lap(self) -> tuple[float, float]:
        """Return (seconds, CPU-seconds) since the last lap, and begin the next one."""
        clock, cpu = time.perf_counter(), tree_cpu_seconds(os.getpid())
        taken = clock - self._clock, cpu - self._cpu
        self._clock, self._cpu = time.perf_counter(), tree_cpu_seconds(os.getpid())
        return taken


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

"""`dagster dev` as a child: started with storage of its own, ended with everything it started."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import psutil

from wordtide.cli.dagster_api import HTTP_SECONDS, PROBLEMS, DagsterApi, Standing
from wordtide.config import PROJECT_ROOT, home, streams_path
from wordtide.core.problems import EnvironmentProblem
from wordtide.system.process import ProcessId, end_group, members, rotate, spawn, telling_line

LOOPBACK = "127.0.0.1"
USUAL_PORT = 3000
_READY_SECONDS = 120.0
_RUNS_SECONDS = 13.0
"""A cancelled run may finish a batch that needs up to ten seconds."""
_STOP_SECONDS = 1.0
"""What it has to end by itself once its runs have ended; it loses nothing when it is killed."""
_STOP_HTTP_SECONDS = 2.0
"""How long its first answer is waited for then: one that says nothing must not hold up the end."""
_ANY_PORT_TRIES = 100

_MARK = "# Written by `wordtide dev`, which keeps it up to date. Without this line it is yours and stays as it is.\n"
INSTANCE = (
    _MARK
    + """\
telemetry: {enabled: false}
# No "Join the community" in front of the first page that somebody opens.
nux: {enabled: false}
# A run starts within the sensor's tick; the queue would add up to five seconds and buys nothing: a stream has one run.
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
# One slow source must not hold up the others' ticks.
sensors: {use_threads: true, num_workers: 8, num_submit_workers: 4}
run_monitoring: {enabled: true, poll_interval_seconds: 10}
retention:
  sensor: {purge_after_days: {skipped: 1, success: 7, failure: 30, started: 30}}
  schedule: {purge_after_days: {skipped: 1, success: 30, failure: 30, started: 30}}
  # Those of automation conditions.
  auto_materialize: {purge_after_days: {skipped: 1, success: 7, failure: 30, started: 30}}
"""
)


def write_instance(folder: Path) -> None:
    """Write `dagster.yaml` if it is missing or an older one of ours; one of the user's own is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dagster.yaml"
    present = path.read_text() if path.exists() else None
    if present is None or (present != INSTANCE and present.startswith(_MARK)):
        path.write_text(INSTANCE)


class HeldPort(NamedTuple):
    """A port for a web server that is being started, which no other `wordtide dev` chooses while the name is held.

    Attributes:
        port: Its number.
        name: Holds it until it is closed or its process has gone; None where the system has no such names.
    """

    port: int
    name: socket.socket | None

    def release(self) -> None:
        """Let others have it."""
        if self.name is not None:
            self.name.close()


def hold_port(wanted: int | None, host: str = LOOPBACK) -> HeldPort:
    """Return the wanted port, or the usual one if it is free, or any that is.

    Raises:
        EnvironmentProblem: The wanted port is taken or may not be used.
    """
    for port in (USUAL_PORT, *[0] * _ANY_PORT_TRIES) if wanted is None else (wanted,):
        try:
            return _held(port, host)
        except OSError as error:
            if wanted is not None:
                raise EnvironmentProblem(
                    f"port {wanted} on {host} is not available ({(error.strerror or str(error)).lower()});"
                    " choose another with --port, or leave --port out"
                ) from error
    raise EnvironmentProblem(f"no free port on {host}")


def _held(port: int, host: str) -> HeldPort:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        free: int = server.getsockname()[1]
        if sys.platform != "linux":
            # Who answers there is proven in any case.
            return HeldPort(free, None)
        # The web server binds the port itself, seconds later: until then only a name can keep others from it. One of
        # Linux's abstract names is known wherever the port is, and goes with its process.
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0wordtide-dev/{host}:{free}")
        except OSError:
            name.close()
            raise
        return HeldPort(free, name)


class DagsterDev:
    """`dagster dev` of this project, as a context manager: starts it, and ends it with all its descendants.

    Args:
        port: Of the web server; default: 3000 if it is free.
        host: Address it listens on.
        log: Where its output goes; default: to our own stdout and stderr.

    Entering raises EnvironmentProblem when the port is taken or Dagster already runs in this home.
    """

    def __init__(self, *, port: int | None = None, host: str = LOOPBACK, log: Path | None = None) -> None:
        self._home = home() / "dagster"
        self._wanted = port
        self._held: HeldPort | None = None
        self._host = host
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._servers: frozenset[str] = frozenset()
        self._predecessors: frozenset[str] = frozenset()

    @property
    def url(self) -> str:
        """Where people find it."""
        return f"http://{self._host}:{self._port}"

    @property
    def _port(self) -> int:
        return self._held.port if self._held else 0

    def __enter__(self) -> DagsterDev:
        self._claim()
        try:
            # After the claim: what a killed predecessor left running may hold the usual port.
            self._held = hold_port(self._wanted, self._host)
            self._servers = frozenset()
            write_instance(self._home)
            self._process = self._launch()
            self._remember()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def running(self) -> bool:
        """Return whether `dagster dev` itself still runs."""
        return self._process is not None and self._process.poll() is None

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until our own web server answers; then release streams that runs of a killed predecessor still hold.

        Raises:
            EnvironmentProblem: It ended, does not answer in time, or another server answers in its place.
        """
        deadline = time.monotonic() + seconds
        while (standing := self._ours()) is None:
            if not self.running():
                raise EnvironmentProblem(self._taken() or self.obituary())
            if time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"dagster dev did not answer on {self.url} within {seconds:.0f} s{self._see()}"
                )
            time.sleep(0.2)
        # Its processes ended when this home was claimed; what they left unfinished nobody finishes.
        orphans = standing.runs_of(self._predecessors)
        # If that fails they are taken for dead when they are older than `max_run`, or cancelled by the next start.
        with suppress(*PROBLEMS):
            if orphans:
                self._api().terminate(sorted(orphans), "MARK_AS_CANCELED_IMMEDIATELY")
            self._predecessors = frozenset()
        self._remember()

    def obituary(self) -> str:
        """Return one line about why `dagster dev` ended."""
        code = self._process.poll() if self._process else None
        why = f": {telling_line(self._log)}" if self._log else ""
        return f"dagster dev ended by itself (exit code {code}){why}{self._see()}"

    def stop(self) -> None:
        """Cancel runs, end `dagster dev`, and after a bounded wait kill what is left of it."""
        process = self._process
        if process is not None:
            if process.poll() is None:
                self._cancel_runs()
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT)
            self._process = None
            end_group(process.pid, process, _STOP_SECONDS)
        if self._lock is not None:
            # Where the web server had gone nobody could cancel our runs: the next start does.
            self._lock.seek(0)
            self._lock.truncate(0)
            json.dump({"servers": sorted(self._servers | self._predecessors)}, self._lock)
            self._lock.close()
            self._lock = None
        if self._held is not None:
            self._held.release()

    def _claim(self) -> None:
        """Be the only one in this home, and end what a killed predecessor left running."""
        self._home.mkdir(parents=True, exist_ok=True)
        self._lock = (self._home / "wordtide-dev.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _read_claim(self._lock)
            self._lock.close()
            self._lock = None
            raise EnvironmentProblem(
                f"Dagster already runs in {self._home} ({other.get('url', 'address unknown')});"
                " use that, end it, or set another WORDTIDE_HOME"
            ) from None
        left = _read_claim(self._lock)
        self._predecessors = frozenset(left.get("servers", ()))
        if "pid" in left:
            leader = ProcessId(int(left["pid"]), str(left["started"]))
            if leader.alive() or _belongs(leader.pid, self._home):
                end_group(leader.pid, None, 0.0)

    def _remember(self) -> None:
        assert self._lock is not None
        assert self._process is not None
        identity = ProcessId.of(self._process.pid)
        if identity is not None:
            self._lock.seek(0)
            self._lock.truncate(0)
            servers = sorted(self._servers | self._predecessors)
            claim = {"url": self.url, "pid": identity.pid, "started": identity.started, "servers": servers}
            json.dump(claim, self._lock)
            self._lock.flush()

    def _launch(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            # Absolute: children run in the project's folder, not in ours.
            "WORDTIDE_HOME": str(home()),
            "WORDTIDE_STREAMS": str(streams_path()),
            "DAGSTER_HOME": str(self._home),
        }
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
        command += ["--host", self._host, "--port", str(self._port), "--log-level", "warning"]
        if self._log is not None:
            rotate(self._log)
        return spawn(command, environment=environment, log=self._log, cwd=PROJECT_ROOT)

    def _see(self) -> str:
        return f"; see {self._log}" if self._log else "; what it printed says why"

    def _api(self, seconds: float = HTTP_SECONDS) -> DagsterApi:
        return DagsterApi(self._host, self._port, seconds)

    def _ours(self, seconds: float = HTTP_SECONDS) -> Standing | None:
        """Return what our web server shows; None where none answers, or one that is not ours."""
        try:
            standing = self._api(seconds).standing()
        except PROBLEMS:
            return None
        if self._process is not None and not self._servers:
            self._servers = standing.servers & _arguments(self._process.pid)
        return standing if standing.servers & self._servers else None

    def _taken(self) -> str | None:
        """Return that another server listens where ours, which has ended, was to, if one does."""
        if self._process is not None and members(self._process.pid):
            return None
        with socket.socket() as client:
            client.settimeout(1.0)
            if client.connect_ex((self._host, self._port)) != 0:
                return None
        return f"another server took port {self._port} on {self._host}; choose another with --port{self._see()}"

    def _cancel_runs(self) -> None:
        """Have runs finish their batch and end as cancelled, so that none holds its stream at the next start.

        Only runs that our own code servers started: others may share the storage, or answer in our place.
        """
        deadline = time.monotonic() + _RUNS_SECONDS
        asked: frozenset[str] = frozenset()
        # A web server that does not answer (still starting, already gone) has nothing to cancel.
        with suppress(*PROBLEMS):
            standing = self._ours(_STOP_HTTP_SECONDS)
            while standing is not None and time.monotonic() < deadline:
                runs = standing.runs_of(self._servers)
                if not runs:
                    return
                if fresh := runs - asked:
                    self._api().terminate(sorted(fresh), "SAFE_TERMINATE")
                    asked |= fresh
                time.sleep(0.2)
                standing = self._ours()


def _read_claim(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        claim = json.load(file)
    except ValueError:
        return {}
    return claim if isinstance(claim, dict) else {}


def _arguments(group: int) -> frozenset[str]:
    """Return the arguments that the processes of a group were started with."""
    found: set[str] = set()
    for process in members(group):
        with suppress(psutil.Error):
            found.update(process.cmdline())
    return frozenset(found)


def _belongs(group: int, dagster_home: Path) -> bool:
    """Return whether a group whose leader has died is one of this home: a group's number can be given out again."""
    for process in members(group):
        with suppress(psutil.Error):
            if process.environ().get("DAGSTER_HOME") == str(dagster_home):
                return True
    return False

"""The receivers of streams.yaml as child processes: started, started again when they end by themselves, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from wordtide.config import FlumeConfig, SocketConfig, Stream, home
from wordtide.receivers.backoff import Backoff
from wordtide.system.process import ProcessId, spawn, stop, telling_line

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_HEALTHY_SECONDS = 60.0
"""One that ran so long begins with short pauses again."""
_STOP_SECONDS = 12.0
"""After a Ctrl-C a receiver tries for ten seconds to land what it has."""


def arguments_of(stream: Stream) -> list[str]:
    """Return what `wordtide receive` is called with for a stream that names a receiver."""
    receiver, landing = stream.receiver, stream.landing
    assert receiver is not None
    assert landing is not None
    if isinstance(receiver, SocketConfig):
        arguments = ["socket", receiver.server, "--to", landing]
        arguments += ["--max-size", str(receiver.max_size), "--max-age", f"{receiver.max_age:.3f}s"]
        arguments += ["--tls"] if receiver.tls else []
        arguments += ["--ca", receiver.ca] if receiver.ca is not None else []
        return arguments + _metrics(receiver)
    arguments = ["flume", "--port", str(receiver.port), "--to", landing, "--listen", receiver.listen]
    arguments += ["--max-batch", str(receiver.max_batch), "--max-event", str(receiver.max_event)]
    if receiver.cert is not None and receiver.key is not None:
        arguments += ["--cert", receiver.cert, "--key", receiver.key]
    return arguments + _metrics(receiver)


def lock_of(name: str) -> Path:
    """Return what the receiver of a stream holds while it runs: two of one server would land every line twice."""
    return home() / "receivers" / f"{name}.lock"


def _metrics(receiver: SocketConfig | FlumeConfig) -> list[str]:
    return [] if receiver.metrics_port is None else ["--metrics-port", str(receiver.metrics_port)]


class Receivers:
    """One child for each stream that names a receiver, as a context manager that ends them all.

    Args:
        streams: Those without a receiver are left alone.
        say: Takes a line whenever one has ended by itself.
        logs: Folder for what they say, a file each; None: where we say things.
    """

    def __init__(self, streams: Iterable[Stream], say: Callable[[str], None], logs: Path | None = None) -> None:
        self._children = [
            _Child(stream.name, arguments_of(stream), say, logs and logs / f"receive-{stream.name}.log")
            for stream in streams
            if stream.receiver is not None
        ]
        self._say = say

    def __enter__(self) -> Receivers:
        self.watch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def watch(self) -> None:
        """Start what is to run and does not: to be called now and then."""
        for child in self._children:
            child.watch()

    def stop(self) -> None:
        """Have them land what they received and end, all at once; kill what does not within a bound."""
        running = {identity: child.name for child in self._children if (identity := child.running()) is not None}
        ended = stop(list(running), grace=_STOP_SECONDS, number=signal.SIGINT)
        for identity in running.keys() - set(ended):
            self._say(f"the receiver of {running[identity]} did not end and was killed")


class _Child:
    def __init__(self, name: str, arguments: list[str], say: Callable[[str], None], log: Path | None) -> None:
        self.name = name
        # It ends when we are gone, even if we were killed: two receivers of one server land everything twice.
        parent = ["--parent", str(os.getpid())]
        alone = ["--alone", str(lock_of(name))]
        self._command = [sys.executable, "-m", "wordtide.cli.main", "receive", *arguments, *parent, *alone]
        self._say = say
        self._log = log
        self._pauses = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = 0.0

    def watch(self) -> None:
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            if time.monotonic() - self._started > _HEALTHY_SECONDS:
                self._pauses.reset()
            pause = self._pauses.next()
            self._due = time.monotonic() + pause
            why = f": {telling_line(self._log).removeprefix('wordtide: ')}" if self._log else ""
            self._say(
                f"the receiver of {self.name} ended by itself (exit code {code}){why}; starting it in {pause:.0f} s"
            )
        if time.monotonic() >= self._due:
            self._process = self._launch()
            self._started = time.monotonic()

    def running(self) -> ProcessId | None:
        """Return its process if that still runs."""
        return None if self._process is None else ProcessId.of(self._process.pid)

    def _launch(self) -> subprocess.Popen[bytes]:
        # Absolute, wherever we were called from; hdfs:///… is looked up there. A Ctrl-C reaches us alone: receivers end
        # after what feeds on them.
        return spawn(self._command, environment={**os.environ, "WORDTIDE_HOME": str(home())}, log=self._log)

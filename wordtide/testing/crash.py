"""Drains in processes of their own, which are really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wordtide.config import Stream
from wordtide.drain.loop import Step
from wordtide.testing.child import Orders
from wordtide.testing.place import Place
from wordtide.testing.waiting import unique, wait_until


class Life:
    """A process that drains, from its start as a spare, which only waits for orders, to its end.

    Args:
        environment: Where it finds servers and streams; see `Place.environment`.
        output: Where its standard error goes.
        definitions: ``module:attribute`` of Dagster definitions, to drain through their jobs.
    """

    def __init__(self, environment: Mapping[str, str], output: Path, definitions: str | None = None) -> None:
        self.orders: Orders | None = None
        self._ready = False
        with output.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wordtide.testing.child", *((definitions,) if definitions else ())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                text=True,
            )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def ready(self) -> bool:
        """Return whether it has imported everything."""
        assert self.process.stdout is not None
        self._ready = self._ready or self.process.stdout.readline() == "ready\n"
        return self._ready

    def send(self, orders: Orders) -> None:
        """Let it begin."""
        self.orders = orders
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # dead already, which `process.poll` says
            self.process.stdin.write(orders.line())
            self.process.stdin.flush()

    def end(self) -> int:
        """Kill it unless it is dead, and return its exit code."""
        self.process.kill()
        code = self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        return code


def events_of(log: Path) -> list[dict[str, Any]]:
    """Return what children said, oldest first."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class CrashAt:
    """Kills a drain at a step of its batch: `crash_at(Step.WRITE, stream)`.

    Args:
        place: Whose streams they are.
        home: The home of the cluster, for definitions that look for the servers there.
    """

    def __init__(self, place: Place, home: Path) -> None:
        self._place = place
        self._home = home

    def __call__(
        self,
        step: Step,
        stream: Stream,
        *,
        occurrence: int = 1,
        definitions: str | None = None,
        seconds: float = 120.0,
    ) -> None:
        """Drain a stream in a process of its own that kills itself (SIGKILL); return once it is dead.

        Args:
            step: Where it dies. `READ`: everything is read, nothing written; `WRITE`: the count files are written;
                `COMMIT`: at any moment within the commit; `REPORT`: after it.
            stream: A stream of the place.
            occurrence: In which batch, 1 is the first with something to read.
            definitions: ``module:attribute`` of your Dagster definitions, to drain through the job
                ``<stream>_drain``; without it the drain runs without Dagster, with the local engine.
            seconds: How long that may take.

        Raises:
            AssertionError: It ended otherwise, or never got there, with what it said.
        """
        folder = self._place.folder / unique("crash")
        folder.mkdir()
        log, output = folder / "log.jsonl", folder / "stderr.txt"
        environment = {**self._place.environment(), "WORDTIDE_HOME": str(self._home), "DAGSTER_HOME": str(folder)}
        life = Life(environment, output, definitions)
        deadline = time.monotonic() + seconds
        try:
            wait_until("the drain has started", lambda: life.ready() or life.process.poll() is not None, seconds)
            life.send(Orders((stream.name,), str(log), step, occurrence, once=True, seed=time.time()))
            # Our own timeout is an answer as well: `life.end` tells the two apart by the log.
            with suppress(subprocess.TimeoutExpired):
                life.process.wait(max(0.1, deadline - time.monotonic()))
        finally:
            code = life.end()
        died = [event["step"] for event in events_of(log) if event["what"] == "kill"]
        if code != -signal.SIGKILL or died != [step]:
            said = [event for event in events_of(log) if event["what"] == "failed"]
            raise AssertionError(
                f"the drain of {stream.name} was to die at {step} and"
                f" {'never got there' if not died else f'died at {died}'} (exit code {code});"
                f" it said: {said or output.read_text()[-2000:] or 'nothing'}"
            )

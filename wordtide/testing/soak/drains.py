"""Two drains at a time, as processes that are killed one after the other."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from wordtide.drain.loop import Step
from wordtide.testing.child import Child, Orders
from wordtide.testing.soak.journal import Journal

SLOTS = ("left", "right")
LIFE_SECONDS = 20.0
"""So long a drain may wait for the step it is to die at; where nothing flows it is killed there."""

# From a process that has imported everything a life takes a moment to begin.
_FORKS = multiprocessing.get_context("forkserver")


def live(orders: Orders, environment: Mapping[str, str], output: str) -> None:
    """Drain in this process until it is killed, or until the soak is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_the_soak() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end_with_the_soak, daemon=True).start()
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    os.environ.update(environment)
    child = Child(orders)
    child.install()
    child.run(None)


@dataclass(slots=True)
class _Playing:
    process: ForkServerProcess
    orders: Orders
    began: float
    ends: float


class Drains:
    """Keeps two drains of the same streams running.

    Args:
        streams: Names of the streams; each process drains all of them.
        folder: For what the processes say.
        environment: Where they find servers and streams.
        chance: Decides.
        journal: Is told of each kill.
    """

    def __init__(
        self,
        streams: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        chance: random.Random,
        journal: Journal,
    ) -> None:
        _FORKS.set_forkserver_preload(["wordtide.testing.child"])
        self._streams = tuple(streams)
        self._log = folder / "drains.jsonl"
        self._log.touch()
        self._output = folder / "drains.txt"
        self._environment = dict(environment)
        self._chance = chance
        self._journal = journal
        self._playing: dict[str, _Playing] = {}
        self._deck: list[Step | None] = []
        self._lives = 0
        self._read = 0
        self._awake: set[int] = set()

    @property
    def awake(self) -> bool:
        """Whether one has taken a batch."""
        return bool(self._awake)

    def tend(self) -> None:
        """Start what is missing, kill whose time has come, bury the dead.

        Raises:
            AssertionError: A drain ended by itself: an error that no fault explains.
        """
        self._listen()
        for slot in SLOTS:
            if slot in self._playing:
                self._judge(slot, self._playing[slot])
            if slot not in self._playing:
                self._begin(slot)

    def _judge(self, slot: str, life: _Playing) -> None:
        now = time.monotonic()
        by_itself = not life.process.is_alive()
        if not by_itself:
            if life.orders.step is None and life.orders.life in self._awake:
                life.ends = min(life.ends, now + self._chance.uniform(0.0, 3.0))
            if now < life.ends:
                return
        life.process.kill()
        life.process.join(30)
        if life.process.exitcode != -signal.SIGKILL:
            self._listen()
            said = self._output.read_text()[-3000:] if self._output.exists() else ""
            raise AssertionError(f"a drain ended by itself (exit code {life.process.exitcode}):\n{said}")
        where = life.orders.step if by_itself else "from outside"
        self._journal.note(f"kill {where}", slot=slot, life=life.orders.life)
        del self._playing[slot]

    def _begin(self, slot: str) -> None:
        if not self._deck:
            self._deck = [*Step, None, None]
            self._chance.shuffle(self._deck)
        self._lives += 1
        orders = Orders(
            self._streams,
            str(self._log),
            self._deck.pop(),
            occurrence=self._chance.randrange(1, 10),
            seed=self._chance.random(),
            compact_every=3,
            slot=slot,
            life=self._lives,
        )
        process = _FORKS.Process(target=live, args=(orders, self._environment, str(self._output)))
        process.start()
        now = time.monotonic()
        self._playing[slot] = _Playing(process, orders, now, now + LIFE_SECONDS)

    def _listen(self) -> None:
        """Take in what the processes have said since."""
        with self._log.open() as log:
            log.seek(self._read)
            while (line := log.readline()).endswith("\n"):
                self._read = log.tell()
                self._hear(json.loads(line))

    def _hear(self, event: Mapping[str, Any]) -> None:
        match event["what"]:
            case "awake":
                self._awake.add(event["life"])
            case "compacted":
                self._journal.note("compaction", life=event["life"])
            case "unavailable":
                self._journal.note("a drain found no server", life=event["life"], error=event["error"])
            case "failed":
                raise AssertionError(f"a drain of {event['stream']} failed: {event['error']}")

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Stop all of them (SIGSTOP), wherever they are, for the length of a ``with`` block."""
        sleeping = [life.process for life in self._playing.values()]
        for process in sleeping:
            self._signal(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in sleeping:
                self._signal(process, signal.SIGCONT)

    @staticmethod
    def _signal(process: ForkServerProcess, number: signal.Signals) -> None:
        # One that has died may not have been buried yet.
        if process.is_alive() and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def close(self) -> None:
        """End every process."""
        for life in self._playing.values():
            life.process.kill()
            life.process.join(30)
        self._playing = {}
        self._listen()

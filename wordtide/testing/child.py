"""A process that drains streams, again and again, until it is killed: `python -m wordtide.testing.child [MODULE:NAME]`.

It imports everything, says `ready` and waits for one line of orders, so that a spare one hides the seconds that takes.
Then it drains, by the Dagster jobs of the definitions `MODULE:NAME` if it was given some. Orders may name a step and an
occurrence: there the process kills itself with SIGKILL. What it does goes to a log, a line at a time, which survives
the kill.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import wordtide.drain.loop as draining
from wordtide.config import EngineName, Stream, find_stream, load_streams
from wordtide.core.model import Batch, Committed, Counted
from wordtide.core.problems import ConfigError, SourceUnavailable
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain, Step
from wordtide.drain.pacing import Pace
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.maintain import compact_if_needed
from wordtide.wiring import open_source, open_table

FAILED = 3
"""Exit code after an error that no fault explains."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child is to do.

    Attributes:
        streams: Names of streams of the `streams.yaml` in use; each gets a drain.
        log: Where to write what happens.
        step: Where to die, a `Step`; None to live on.
        occurrence: The how many-th time it gets there, over all of its streams.
        once: Take what is there as a run by hand does, then end; else drain until killed.
        seed: For the moment within a commit at which it dies.
        compact_every: Batches between two compactions, if compaction is to come early.
        live_files: How many files are too many then.
        slot: Goes into the log.
        life: Goes into the log.
    """

    streams: tuple[str, ...]
    log: str
    step: str | None = None
    occurrence: int = 1
    once: bool = False
    seed: float = 0.0
    compact_every: int | None = None
    live_files: int = 8
    slot: str = ""
    life: int = 0

    def line(self) -> str:
        """Return what the child reads from its standard input."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def parse(cls, line: str) -> Orders:
        """Return what `line` wrote."""
        content = json.loads(line)
        return cls(**{**content, "streams": tuple(content["streams"])})


class Child:
    """One life, from its orders to its end."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._log = os.open(orders.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._chance = random.Random(orders.seed)  # noqa: S311 - no secret
        self._seen = 0
        self._awake = False
        self._commit_seconds = 0.008

    def say(self, what: str, **details: Any) -> None:
        """Write a line to the log; one write, so that two children may share it."""
        line = {"what": what, "slot": self._orders.slot, "life": self._orders.life, **details}
        os.write(self._log, (json.dumps(line) + "\n").encode())

    def die(self, step: str) -> None:
        """Kill this process."""
        self.say("kill", step=step)
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(self, step: Step) -> None:
        """Replace `wordtide.drain.loop.reached`."""
        if not self._awake:
            self._awake = True
            self.say("awake")
        if step != self._orders.step:
            return
        self._seen += 1
        if self._seen >= self._orders.occurrence and step is not Step.COMMIT:
            self.die(step)

    def install(self) -> None:
        """Put the hooks in: the steps, the kill inside a commit, and a compaction every few batches."""
        commit = WordCounts.commit

        def committing(
            table: WordCounts, snapshot: Snapshot, batch: Batch, counted: Counted | None, run_id: str
        ) -> Committed:
            if self._orders.step == Step.COMMIT and self._seen >= self._orders.occurrence:
                # Somewhere in what a commit lasts, writing the ledger row and the Rust that follows it, at the latest
                # at its end.
                delay = self._chance.uniform(0.0, self._commit_seconds)
                striker = threading.Timer(delay, self.die, (Step.COMMIT,))
                striker.start()
                try:
                    return commit(table, snapshot, batch, counted, run_id)
                finally:
                    self.die(Step.COMMIT)
            began = time.monotonic()
            committed = commit(table, snapshot, batch, counted, run_id)
            self._commit_seconds = time.monotonic() - began
            return committed

        def compact(table: WordCounts) -> bool:
            done = compact_if_needed(table, self._orders.live_files)
            if done:
                self.say("compacted")
            return done

        WordCounts.commit = committing  # type: ignore[assignment, method-assign]
        draining.reached = self.reached
        if self._orders.compact_every is not None:
            # Not by `draining.compact_if_needed`, which a type checker takes for somebody else's.
            vars(draining)["compact_if_needed"] = compact
            draining.COMPACT_EVERY = self._orders.compact_every

    def run(self, definitions: Any | None) -> None:
        """Drain the streams side by side until the process ends; an error that no fault explains ends it."""
        streams = load_streams()
        threads = [
            threading.Thread(target=self._drain, args=(find_stream(streams, name), definitions))
            for name in self._orders.streams
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _drain(self, stream: Stream, definitions: Any | None) -> None:
        while True:
            run_id = str(uuid.uuid4())
            self.say("run", run_id=run_id)
            try:
                if definitions is None:
                    self._plainly(stream, run_id)
                else:
                    self._through_dagster(stream, run_id, definitions)
            except SourceUnavailable as error:
                if self._orders.once or definitions is not None:
                    self._fail(stream, error)
                # Dagster's sensor would start another run as well.
                self.say("unavailable", stream=stream.name, error=str(error)[:1000])
                time.sleep(0.5)
            except BaseException as error:  # whatever it is, the test must see it
                self._fail(stream, error)
            if self._orders.once:
                return

    def _fail(self, stream: Stream, error: BaseException) -> None:
        self.say("failed", stream=stream.name, error=f"{type(error).__name__}: {error}"[:2000])
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(FAILED)

    def _plainly(self, stream: Stream, run_id: str) -> None:
        if stream.config.engine is EngineName.SPARK:
            raise ConfigError(
                f"stream {stream.name}: engine spark needs your Dagster definitions; else use auto or local"
            )
        source = open_source(stream)
        try:
            drain = Drain(
                stream,
                source,
                open_table(stream),
                {EngineName.LOCAL: LocalEngine()},
                run_id=run_id,
                on_commit=lambda _committed: None,
            )
            drain.run(Pace.of(stream.config, by_hand=self._orders.once))
        finally:
            source.close()

    def _through_dagster(self, stream: Stream, run_id: str, definitions: Any) -> None:
        import dagster as dg

        definitions.resolve_job_def(f"{stream.name}_drain").execute_in_process(
            instance=dg.DagsterInstance.get(),
            tags={} if self._orders.once else {"wordtide/follow": "true"},
            run_id=run_id,
        )


def load_definitions(name: str) -> Any:
    """Return Dagster definitions by ``module:attribute``; what is callable there is called."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute or "defs")
    return found() if callable(found) else found


def end_with_the_test() -> None:
    """End this process when the test, which holds the other end, is gone."""
    sys.stdin.read()
    os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Wait for orders, then obey them."""
    definitions = load_definitions(arguments[0]) if arguments else None
    print("ready", flush=True)  # noqa: T201 - to the test
    line = sys.stdin.readline()
    if not line:
        return
    orders = Orders.parse(line)
    threading.Thread(target=end_with_the_test, daemon=True).start()
    child = Child(orders)
    child.install()
    child.run(definitions)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A process that drains streams through Dagster, again and again, until it is killed; run by `test_kill.py`.

It imports everything, says `ready` and waits for one line of orders, so that a spare one hides the seconds that takes.
Then it runs the stream's drain job as a sensor's run would, and again when that ends. Orders may name a step and an
occurrence: there the process kills itself with SIGKILL. What it does goes to a log, a line at a time, which survives
the kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from typing import Any

import dagster as dg

import wordtide.drain
from platform_defs.definitions import build_definitions
from wordtide.drain import Step
from wordtide.table.commit import WordCounts
from wordtide.table.maintain import compact_if_needed

COMPACT_EVERY = 3
LIVE_FILES = 8


class Child:
    """One life, from its orders to its end."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._log = os.open(orders["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._chance = random.Random(orders["seed"])
        self._seen = 0
        self._awake = False
        self._commit_seconds = 0.008

    def say(self, what: str, **details: Any) -> None:
        """Write a line to the log; one write, so that two children may share it."""
        line = {"what": what, "slot": self._orders["slot"], "life": self._orders["life"], **details}
        os.write(self._log, (json.dumps(line) + "\n").encode())

    def die(self, step: str) -> None:
        """Kill this process."""
        self.say("kill", step=step)
        os.kill(os.getpid(), signal.SIGKILL)

    def reached(self, step: Step) -> None:
        """Replace `wordtide.drain.reached`."""
        if not self._awake:
            self._awake = True
            self.say("awake")
        if step != self._orders["step"]:
            return
        self._seen += 1
        if self._seen >= self._orders["occurrence"] and step is not Step.COMMIT:
            self.die(step)

    def install(self) -> None:
        """Put the hooks in: the steps, the kill inside a commit, and a compaction every few batches."""
        commit = WordCounts.commit

        def committing(table: WordCounts, *arguments: Any) -> Any:
            began = time.monotonic()
            if self._orders["step"] != Step.COMMIT or self._seen < self._orders["occurrence"]:
                committed = commit(table, *arguments)
                self._commit_seconds = time.monotonic() - began
                return committed
            returned = threading.Event()
            # Somewhere in what a commit lasts: writing the ledger row, and the Rust that follows it. If it is over
            # before, the next one is tried.
            delay = self._chance.uniform(0.0, self._commit_seconds)

            def strike() -> None:
                if not returned.wait(delay):
                    self.die(Step.COMMIT)

            striker = threading.Thread(target=strike)
            striker.start()
            try:
                return commit(table, *arguments)
            finally:
                returned.set()
                striker.join()

        def compact(table: WordCounts) -> bool:
            done = compact_if_needed(table, LIVE_FILES)
            if done:
                self.say("compacted")
            return done

        WordCounts.commit = committing  # type: ignore[method-assign]
        wordtide.drain.reached = self.reached
        wordtide.drain.compact_if_needed = compact
        wordtide.drain.COMPACT_EVERY = COMPACT_EVERY

    def drain_for_ever(self, definitions: dg.Definitions, stream: str) -> None:
        """Run the stream's job until the process ends; a failing run ends it."""
        try:
            while True:
                run_id = str(uuid.uuid4())
                self.say("run", run_id=run_id)
                definitions.resolve_job_def(f"{stream}_drain").execute_in_process(
                    instance=dg.DagsterInstance.get(), tags={"wordtide/follow": "true"}, run_id=run_id
                )
        except BaseException as error:  # whatever it is, the test must see it
            self.say("failed", error=f"{type(error).__name__}: {error}"[:2000])
            os._exit(3)


def end_with_the_test() -> None:
    """End this process when the test, which holds the other end, is gone."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Wait for orders, then obey them."""
    definitions = build_definitions()
    print("ready", flush=True)
    line = sys.stdin.readline()
    if not line:
        return
    orders = json.loads(line)
    threading.Thread(target=end_with_the_test, daemon=True).start()
    child = Child(orders)
    child.install()
    child.drain_for_ever(definitions, orders["stream"])


if __name__ == "__main__":
    main()

"""What child processes of `test_process_faults.py` do: short lives that end in the middle of a batch."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import wordtide.drain.loop
from wordtide.config import EngineName, Stream, load_streams
from wordtide.core.model import Split, SplitProof
from wordtide.core.problems import WordtideError
from wordtide.core.source import SplitReader
from wordtide.core.text import Text
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain, Step
from wordtide.drain.pacing import Pace
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.wiring import open_source, open_table

HELD_SECONDS = 30.0
"""Who is held at a step and gets neither signal nor leave goes on after this, so that its test fails and ends."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a drain in a process of its own shall do.

    Attributes:
        streams: The `streams.yaml`; its stream is drained.
        kafka: The broker.
        home: What the process takes for its home: another host's.
        run_id: Goes into the ledger.
        step: Where to be held, at its second batch; None: nowhere.
        follow: Take what arrives, too, until killed.
    """

    streams: str
    kafka: str
    home: str
    run_id: str
    step: Step | None = None
    follow: bool = False


def hold_at(held_step: Step | None, hold: Callable[[], object]) -> None:
    """Have the drain of this process do something at a step of its second batch."""
    seen = 0

    def reached(step: Step) -> None:
        nonlocal seen
        if step is held_step:
            seen += 1
            if seen == 2:
                hold()

    wordtide.drain.loop.reached = reached


def drain_of(stream: Stream, kafka: str, run_id: str) -> Drain:
    """Return a drain that counts in the process."""
    return Drain(
        stream,
        open_source(stream, KafkaConnection(kafka)),
        open_table(stream),
        {EngineName.LOCAL: LocalEngine()},
        run_id=run_id,
        on_commit=lambda _committed: None,
    )


def live(orders: Orders, held: Event, leave: Event) -> None:
    """Drain a stream in this process's main thread, where signals arrive."""

    def hold() -> None:
        held.set()
        leave.wait(HELD_SECONDS)

    os.environ["WORDTIDE_HOME"] = orders.home
    (stream,) = load_streams(Path(orders.streams)).values()
    hold_at(orders.step, hold)
    pace = Pace(interval=0.05, linger=120.0, max_run=120.0) if orders.follow else Pace.of(stream.config, by_hand=True)
    drain_of(stream, orders.kafka, orders.run_id).run(pace)


def materialize() -> None:
    """Run `dagster asset materialize` for a stream called s, held at its second batch until a file says to go on."""
    from dagster._cli import main

    folder = Path(sys.argv[1])

    def hold() -> None:
        (folder / "held").touch()
        deadline = time.monotonic() + HELD_SECONDS
        while not (folder / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    hold_at(Step.WRITE, hold)
    sys.argv[1:] = ["asset", "materialize", "--select", "s/word_counts", "-m", "wordtide.dagster.definitions"]
    main()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Death:
    """Who dies in the middle of a task, and how.

    Attributes:
        marker: A file that the first death leaves.
        ever: Die again in each retry of the task.
        victim: Kill this process instead of the Python worker.
        megabytes: Run out of memory instead, at this much more than is used.
    """

    marker: str
    ever: bool = False
    victim: int = 0
    megabytes: int = 0

    def come(self) -> None:
        """Die now, unless that has happened."""
        if not self.ever:
            try:
                Path(self.marker).touch(exist_ok=False)
            except FileExistsError:
                return
        if self.megabytes:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + (self.megabytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            bytearray(2 * self.megabytes << 20)
        # As the kernel does when memory is short.
        os.kill(self.victim or os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class DyingReader:
    """A reader that dies in the middle of each task, if its death is still to come."""

    reader: SplitReader
    death: Death

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """See `SplitReader`."""
        return self.reader.cut(splits, tasks)

    def settle(self, splits: Sequence[Split], pieces: Sequence[SplitProof]) -> None:
        """See `SplitReader`."""
        self.reader.settle(splits, pieces)

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """See `SplitReader`."""
        texts = self.reader.read(splits)
        yield next(texts)
        self.death.come()
        return (yield from texts)


def dying(reader: Callable[[int], SplitReader], death: Death) -> Callable[[int], SplitReader]:
    """Return what makes readers that die."""
    return lambda latest_ms: DyingReader(reader(latest_ms), death)


def spark_deaths(streams: str, kafka: str, said: str) -> None:
    """Drain three streams on one Spark session, each with a death of its own; write down how each ended."""
    from resources import SparkResource
    from wordtide.counting.spark import SparkEngine

    spark = SparkResource(master="local[2,3]", parallelism=2)
    jvm: int = spark.spark_context._gateway.proc.pid
    folder = Path(said).parent
    deaths = {
        "retried": Death(str(folder / "retried")),
        "starved": Death("", ever=True, megabytes=64),
        "cut": Death(str(folder / "cut"), victim=jvm),
    }
    ends: dict[str, str] = {}
    for name, stream in load_streams(Path(streams)).items():
        source = open_source(stream, KafkaConnection(kafka))
        original = source.reader
        source.reader = dying(original, deaths[name])  # type: ignore[method-assign, assignment]
        engines = {EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks())}
        drain = Drain(stream, source, open_table(stream), engines, run_id=name, on_commit=lambda _committed: None)
        try:
            drain.run(Pace.of(stream.config, by_hand=True))
            ends[name] = "counted"
        except WordtideError as error:
            ends[name] = f"{type(error).__name__}: {error}"
        if name == "starved":
            # The session has survived it.
            source.reader = original  # type: ignore[method-assign]
            drain.run(Pace.of(stream.config, by_hand=True))
    Path(said).write_text(json.dumps(ends))
    # Not through py4j's farewell to a JVM that is gone.
    os._exit(0)

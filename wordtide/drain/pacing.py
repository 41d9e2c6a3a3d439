"""When the next batch is taken, when a drain ends, and which engine counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wordtide.config import EngineName, Stream, StreamConfig
from wordtide.core.model import FileSplit, Split

LOCAL_RECORDS = 200_000
LOCAL_BYTES = 32_000_000
"""Up to here, unless a stream names other limits, no JVM is started: it would take longer to start."""

# Measured (DESIGN §8): what a batch costs in this process, and on Spark.
RECORD_SECONDS = 2.2e-6
FILE_SECONDS = 0.3e-3
BYTE_SECONDS = 1 / 70e6
SPARK_SECONDS = 0.35
SPARK_FACTOR = 2.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How a drain goes on. All times are in seconds.

    Attributes:
        interval: From the start of one batch to the start of the next.
        linger: How long a quiet source is watched before the drain ends.
        max_run: When a drain ends whatever waits; the next run goes on.
        by_hand: A run by hand: take what was there at its start, then end.
        grace: How long to wait, once, for files that are too young: by hand, or beyond ``linger``.
    """

    interval: float
    linger: float
    max_run: float
    by_hand: bool = False
    grace: float = 0.0

    @classmethod
    def of(cls, config: StreamConfig, *, by_hand: bool) -> Pace:
        """Return the pace a stream's configuration asks for."""
        young = config.landing.min_age if config.landing else 0.0
        return cls(config.interval, config.linger, config.max_run, by_hand, young + min(1.0, young / 2))


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a drain stands after a look at its source. Times are seconds of one monotonic clock.

    Attributes:
        now: This moment.
        began: When the drain began.
        batch_began: When the last batch, or look, began.
        last_data: When a batch was last taken; the drain's begin before any.
        took: Whether this look led to a batch.
        behind: Whether caps left something out of it.
        waiting: Whether files wait that are too young or unfinished.
        due: When the first of those that are too young may be complete, if there is one.
        held: Whether something cannot move for the moment and this is not recorded yet.
    """

    now: float
    began: float
    batch_began: float
    last_data: float
    took: bool
    behind: bool
    waiting: bool
    held: bool = False
    due: float | None = None


def next_wait(pace: Pace, moment: Moment) -> float | None:
    """Return the seconds to sleep before the next look, or None to end the drain."""
    if pace.by_hand:
        # max_run does not end a run by hand: its ends are fixed, so it ends by itself.
        if moment.behind or moment.took:
            return 0.0
        ends = moment.began + pace.grace
        # However long a look takes: what it saw first gets the second one that it waits for.
        second = moment.due is not None and moment.batch_began < moment.due <= ends
        if not moment.waiting or (moment.now >= ends and not second):
            return None
        return min(0.5, pace.grace)
    if moment.now - moment.began >= pace.max_run:
        return None
    if moment.behind:
        return 0.0
    # Files seen once are worth a second look, or the next run would have to begin with the first again.
    patience = pace.linger if moment.due is None else pace.linger + pace.interval + 2 * pace.grace
    if moment.now - moment.last_data >= patience and not moment.took and not moment.held:
        return None
    regular = moment.batch_began + pace.interval
    return max(0.0, (regular if moment.due is None else min(regular, moment.due)) - moment.now)


def is_extra(pace: Pace, moment: Moment) -> bool:
    """Return whether the next poll comes between two regular ones: the interval still counts from the last of those."""
    early = moment.due is not None and moment.due < moment.batch_began + pace.interval
    return early and not pace.by_hand and not moment.behind


def spark_objection(stream: Stream, own_cores: int | None) -> str | None:
    """Return why a stream asks for a Spark that cannot reach its files, if it does.

    Executors on another machine would write the counts to a disk that no reader of the table sees.

    Args:
        stream: The stream.
        own_cores: Cores of this machine that Spark would use; None if it runs elsewhere.
    """
    config = stream.config
    asked = config.engine is EngineName.SPARK or (
        config.engine is EngineName.AUTO and (config.local_records is not None or config.local_bytes is not None)
    )
    if not asked or own_cores is not None or not stream.unshared_paths:
        return None
    return (
        f"stream {stream.name}: Spark runs on other machines, which cannot see {' and '.join(stream.unshared_paths)} on"
        " this one; use hdfs://, or set shared_paths: true if every worker mounts the same folders at the same paths"
    )


def choose_engine(
    config: StreamConfig, splits: Sequence[Split], own_cores: int | None, *, reachable: bool = True
) -> EngineName:
    """Return the engine for a batch: small ones are counted in the process, where no JVM is needed.

    Limits that the stream names are obeyed. Without them a batch above the usual ones goes to a Spark cluster; to Spark
    on this machine only if that is sooner, for it shares the cores that the process would use.

    Args:
        config: The stream's.
        splits: The batch's.
        own_cores: Cores of this machine that Spark would use; None if it runs elsewhere.
        reachable: Whether other machines see the stream's table and landing folder.
    """
    if config.engine is not EngineName.AUTO:
        return config.engine
    if own_cores is None and not reachable:
        return EngineName.LOCAL
    if config.kafka is not None:
        size, named, usual = sum(split.end - split.start for split in splits), config.local_records, LOCAL_RECORDS
        work = _Work(small=size * RECORD_SECONDS)
    else:
        files = [split for split in splits if isinstance(split, FileSplit)]
        size, named, usual = sum(file.length for file in files), config.local_bytes, LOCAL_BYTES
        work = _Work(small=len(files) * FILE_SECONDS, large=size * BYTE_SECONDS)
    if named is not None:
        return EngineName.LOCAL if size <= named else EngineName.SPARK
    pays = size > usual and (own_cores is None or work.on_spark(own_cores) < work.here)
    return EngineName.SPARK if pays else EngineName.LOCAL


@dataclass(frozen=True, slots=True)
class _Work:
    """What a batch costs in this process, in CPU-seconds.

    Attributes:
        small: For records and files, each by itself: Spark's Python workers need `SPARK_FACTOR` times as much.
        large: For bytes, which cost the same everywhere.
    """

    small: float
    large: float = 0.0

    @property
    def here(self) -> float:
        """Seconds in this process: one thread."""
        return self.small + self.large

    def on_spark(self, cores: int) -> float:
        """Seconds on Spark with so many cores."""
        return SPARK_SECONDS + (SPARK_FACTOR * self.small + self.large) / cores

"""What the live view shows of a stream: read from its table and its source, a little more at each look."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import quantiles

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from wordtide.config import SocketConfig, Stream
from wordtide.core.problems import WordtideError
from wordtide.demo.feed import Arrivals
from wordtide.status.lag import lag_of
from wordtide.table.ledger import Ledger
from wordtide.table.record import LedgerRow
from wordtide.table.scan import newest_counts, newest_rows
from wordtide.wiring import open_source, open_table

TOP = 40
_RECENT_SECONDS = 30.0
"""Latency and rate are those of the last half minute: what happens now, not how the start was."""
HISTORY = 40


@dataclass(frozen=True, slots=True)
class StreamView:
    """One look at a stream. Times are in seconds; None where nothing is known yet.

    Attributes:
        name: The stream's name.
        source: Topic or folder, or who fills the folder.
        lines: Lines counted so far.
        words: Words counted so far.
        distinct: Distinct words.
        top: The most frequent words, highest first, ties by word.
        lag: Records or files that wait.
        unit: ``records`` or ``files``.
        batch: Number of the last batch.
        engine: Where it was counted.
        batch_seconds: From looking at the source to the commit.
        latency: Median and 95th percentile from arrival to commit, of the last half minute.
        rate: Words a second over the last half minute.
        history: Words of each of the last seconds, oldest first.
        problem: Why there is no newer look.
    """

    name: str
    source: str
    lines: int = 0
    words: int = 0
    distinct: int = 0
    top: tuple[tuple[str, int], ...] = ()
    lag: int | None = None
    unit: str = "records"
    batch: int | None = None
    engine: str | None = None
    batch_seconds: float | None = None
    latency: tuple[float, float] | None = None
    rate: float = 0.0
    history: tuple[int, ...] = ()
    problem: str | None = None


class StreamWatch:
    """Looks at one stream again and again; reads only what is new."""

    def __init__(self, stream: Stream, arrivals: Arrivals) -> None:
        self._stream = stream
        self._arrivals = arrivals
        self._table = open_table(stream)
        self._source = open_source(stream)
        self._handle: DeltaTable | None = None
        self._ledger: Ledger | None = None
        self._version = -1
        self._sums: Counter[str] = Counter()
        self._lines = 0
        self._words = 0
        self._last: LedgerRow | None = None
        self._latencies: deque[tuple[float, float]] = deque()
        self._taken: deque[tuple[float, int]] = deque()
        self._began = time.time()
        self._view = StreamView(stream.name, source_of(stream))

    def look(self) -> StreamView:
        """Return the stream as it is now; with a problem named, as it was last seen."""
        try:
            self._read()
            lag = lag_of(self._stream, self._source, self._handle, self._ledger)
        except (WordtideError, DeltaError, OSError) as error:
            # A server that hiccups must not end the demonstration; the next look is a second away.
            return replace(self._view, problem=" ".join(str(error).split()))
        self._forget()
        last = self._last
        self._view = StreamView(
            name=self._view.name,
            source=self._view.source,
            lines=self._lines,
            words=self._words,
            distinct=len(self._sums),
            top=tuple(sorted(self._sums.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]),
            lag=lag.lag,
            unit=lag.unit,
            batch=last.batch if last else None,
            engine=last.engine if last else None,
            batch_seconds=last.batch_seconds if last else None,
            latency=_percentiles([seconds for _, seconds in self._latencies]),
            rate=self._rate(),
            history=self._history(),
            problem=lag.problem,
        )
        return self._view

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _read(self) -> None:
        # Anew each time: the log between an older handle and now may be gone.
        self._handle = self._table.open()
        if self._handle is None:
            return
        if self._ledger is None:
            self._ledger = Ledger(str(self._handle.metadata().id))
        if self._handle.version() == self._version:
            return
        files = self._table.storage, self._table.root, self._handle
        rows = newest_rows(*files, self._ledger.last)
        counts = newest_counts(*files, self._ledger.last)
        self._version = self._handle.version()
        if not rows:
            return
        self._ledger.apply(rows)
        self._ledger.last = rows[-1].batch
        for word, count in zip(counts["word"].to_pylist(), counts["count"].to_pylist(), strict=True):
            self._sums[word] += count
        for row in rows:
            self._take(row)

    def _take(self, row: LedgerRow) -> None:
        self._lines += row.lines
        self._words += row.words
        committed = row.committed_at.timestamp()
        self._taken.append((committed, row.words))
        self._latencies.extend((committed, seconds) for seconds in self._arrivals.latencies(row))
        if row.engine is not None:
            self._last = row

    def _forget(self) -> None:
        now = time.time()
        for samples, seconds in ((self._latencies, _RECENT_SECONDS), (self._taken, max(HISTORY, _RECENT_SECONDS))):
            while samples and samples[0][0] < now - seconds:
                samples.popleft()

    def _rate(self) -> float:
        now = time.time()
        recent = sum(words for at, words in self._taken if at >= now - _RECENT_SECONDS)
        return recent / min(_RECENT_SECONDS, max(1.0, now - self._began))

    def _history(self) -> tuple[int, ...]:
        now = int(time.time())
        bins = [0] * HISTORY
        for at, words in self._taken:
            age = now - int(at)
            if 0 <= age < HISTORY:
                bins[HISTORY - 1 - age] += words
        return tuple(bins)


def source_of(stream: Stream) -> str:
    """Return in a few words where a stream's lines come from."""
    if isinstance(stream.receiver, SocketConfig):
        return f"socket {stream.receiver.server}"
    if stream.receiver is not None:
        return f"Flume, port {stream.receiver.port}"
    topic = stream.config.kafka
    return f"topic {topic.topic}" if topic else stream.landing or ""


def _percentiles(samples: Sequence[float]) -> tuple[float, float] | None:
    if len(samples) < 2:
        return (samples[0], samples[0]) if samples else None
    cuts = quantiles(samples, n=20, method="inclusive")
    return cuts[9], cuts[18]

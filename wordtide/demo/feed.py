"""Puts text into what streams read, and remembers when, so that latency can be told."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from confluent_kafka import Message

from wordtide.cli.produce import PARTITIONS, Sender, ensure_topic
from wordtide.config import Stream
from wordtide.core.problems import WordtideError
from wordtide.demo.text import endless
from wordtide.sources.files.names import is_candidate
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import Storage
from wordtide.table.record import LedgerEntry, SplitRecord

_BEAT_SECONDS = 0.05
_FILE_SECONDS = 3.0
_FILE_LINES = 120
_REMEMBERED = 100_000
"""Samples kept of what is not committed yet; a longer backlog is measured by its newer end."""


class Arrivals:
    """When what was put in became visible to readers; asked once for each batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, deque[tuple[int, float]]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self._files: dict[str, float] = {}
        self._lines: dict[str, deque[tuple[int, float | None]]] = {}
        self._earlier: set[str] = set()

    def record(self, message: Message) -> None:
        """Remember a message's own timestamp, which is when it was sent."""
        with self._lock:
            samples = self._records[f"{message.topic()}/{message.partition()}"]
            samples.append((message.offset() or 0, message.timestamp()[1] / 1000))

    def file(self, path: str) -> None:
        """Remember that a file was landed just now."""
        with self._lock:
            self._files[path] = time.time()

    def expect(self, root: str, earlier: set[str]) -> None:
        """Tell that lines will land in a folder, beside the files that are there."""
        with self._lock:
            self._lines[f"{root}/"] = deque(maxlen=_REMEMBERED)
            self._earlier |= earlier

    def lines(self, root: str, count: int, at: float | None) -> None:
        """Remember that lines were sent which will land in this folder, in this order; None: nobody knows when."""
        with self._lock:
            if count > 0:
                self._lines[f"{root}/"].append((count, at))

    def latencies(self, entry: LedgerEntry) -> list[float]:
        """Return the seconds from arrival to commit of what a ledger row took, and forget it."""
        committed = entry.committed_at.timestamp()
        with self._lock:
            return [committed - at for split in entry.splits for at in self._taken(split)]

    def _taken(self, split: SplitRecord) -> Iterator[float]:
        if split.path is not None:
            if (landed := self._files.pop(split.path, None)) is not None:
                yield landed
            elif split.path not in self._earlier:
                yield from self._sent(split.path, split.lines or 0)
            return
        samples = self._records[split.name]
        while samples and samples[0][0] < (split.end or 0):
            yield samples.popleft()[1]

    def _sent(self, path: str, lines: int) -> Iterator[float]:
        """Yield when the lines of a received file were sent: as many as it has, the oldest first."""
        sent = next((sent for root, sent in self._lines.items() if path.startswith(root)), None)
        while sent and lines > 0:
            count, at = sent.popleft()
            if count > lines:
                sent.appendleft((count - lines, at))
            lines -= count
            if at is not None:
                yield at


def paced(stop: threading.Event, rate: int) -> Iterator[int]:
    """Yield, every few hundredths of a second until told to stop, how many lines are due at a steady rate."""
    began, sent = time.monotonic(), 0
    while not stop.wait(_BEAT_SECONDS):
        due = int((time.monotonic() - began) * rate)
        # After a stall (a suspended machine) the rate counts, not the sum: no burst.
        due = min(due, sent + rate)
        yield max(0, due - sent)
        sent = max(sent, due)


class Feed:
    """Feeds one stream from a thread of its own until it is told to stop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem: WordtideError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with everything that was begun put in."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(60.0)

    def _run(self) -> None:
        try:
            self._feed()
        except WordtideError as error:
            self.problem = error

    def _feed(self) -> None:
        raise NotImplementedError


class TopicFeed(Feed):
    """Sends lines to a topic at a steady rate; creates the topic if it is missing."""

    def __init__(self, stream: Stream, connection: KafkaConnection, rate: int, arrivals: Arrivals) -> None:
        super().__init__(stream.name)
        assert stream.config.kafka is not None
        topic = stream.config.kafka.topic
        ensure_topic(connection, topic, PARTITIONS)
        self._sender = Sender(connection, topic, arrivals.record)
        self._rate = rate

    def _feed(self) -> None:
        lines = endless()
        for due in paced(self._stop, self._rate):
            for line in islice(lines, due):
                self._sender.send(line)
            self._sender.poll()
        self._sender.finish()


class FolderFeed(Feed):
    """Lands a file of some lines every few seconds; makes the folder if it is missing."""

    def __init__(self, stream: Stream, storage: Storage, root: str, arrivals: Arrivals) -> None:
        super().__init__(stream.name)
        assert stream.config.landing is not None
        self._glob = stream.config.landing.glob
        self._storage = storage
        self._root = root
        self._arrivals = arrivals
        storage.mkdirs(root)

    def _feed(self) -> None:
        lines = endless()
        while not self._stop.is_set():
            name = name_for(self._glob, datetime.now(UTC))
            if name is None:
                return
            path = f"{self._root}/{name}"
            self._storage.write_durably(path, [b"".join(line + b"\n" for line in islice(lines, _FILE_LINES))])
            self._arrivals.file(path)
            self._stop.wait(_FILE_SECONDS)


def name_for(glob: str, now: datetime) -> str | None:
    """Return a new name that a stream's glob takes, below a folder of the day if it may be; None if neither fits."""
    name = f"{now:%H%M%S-%f}.txt"
    for candidate in (f"{now:%Y-%m-%d}/{name}", name):
        if is_candidate(candidate, glob):
            return candidate
    return None

"""What a receiver has done so far, to be read from any thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A receiver's figures at one moment, since it was started.

    Attributes:
        received_bytes: Taken from the network.
        waiting_bytes: In memory now, not landed yet.
        landed_bytes: In files that are there whole and durably.
        events: Landed lines or events.
        files: Landed files.
        reconnects: Connections after the first.
        lost_bytes: Of unfinished lines whose connection broke.
        cuts: Places where a line too long for memory was cut.
        dropped_repeats: Events that were left out: their bodies had been taken from their places.
        doubtful: Landed events that may be repeats.
        last_landed_at: When the last file had landed, in UTC.
    """

    received_bytes: int = 0
    waiting_bytes: int = 0
    landed_bytes: int = 0
    events: int = 0
    files: int = 0
    reconnects: int = 0
    lost_bytes: int = 0
    cuts: int = 0
    dropped_repeats: int = 0
    doubtful: int = 0
    last_landed_at: datetime | None = None


class Metrics:
    """Counts; any thread may add and any thread may look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Snapshot()

    def snapshot(self) -> Snapshot:
        """Return the figures of this moment; they belong together."""
        return self._now

    def add(
        self,
        *,
        received_bytes: int = 0,
        waiting_bytes: int = 0,
        reconnects: int = 0,
        lost_bytes: int = 0,
        cuts: int = 0,
        dropped_repeats: int = 0,
        doubtful: int = 0,
    ) -> None:
        """Add to what is named."""
        with self._lock:
            was = self._now
            self._now = replace(
                was,
                received_bytes=was.received_bytes + received_bytes,
                waiting_bytes=was.waiting_bytes + waiting_bytes,
                reconnects=was.reconnects + reconnects,
                lost_bytes=was.lost_bytes + lost_bytes,
                cuts=was.cuts + cuts,
                dropped_repeats=was.dropped_repeats + dropped_repeats,
                doubtful=was.doubtful + doubtful,
            )

    def landed(self, size: int, events: int, at: datetime) -> None:
        """Count a file that has landed: its bytes wait no more."""
        with self._lock:
            was = self._now
            self._now = replace(
                was,
                waiting_bytes=was.waiting_bytes - size,
                landed_bytes=was.landed_bytes + size,
                events=was.events + events,
                files=was.files + 1,
                last_landed_at=at,
            )

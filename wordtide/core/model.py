"""What flows between the steps of a batch: frozen values, no behaviour beyond arithmetic.

``Split`` (planned) → ``SplitProof`` (read) → ``Proof`` (all splits of a batch) → ``Commit`` (what the table took).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from wordtide.core.position import Position


@dataclass(frozen=True, slots=True, order=True)
class KafkaSplit:
    """The records of one partition with offsets in ``[start, end)``."""

    topic: str
    partition: int
    start: int
    end: int

    @property
    def what(self) -> str:
        """The name by which the ledger and `wordtide parked` know this partition."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True, order=True)
class FileSplit:
    """The lines of one landed file that begin at a byte in ``[start, end)``.

    ``path`` is absolute and holds neither host nor port; ``length`` (bytes) and ``mtime`` (ms since the epoch) are
    those of the listing and, with the path, the identity of the file. ``as_text``: an operator said that it is text,
    whatever it begins with. ``file_id`` (see `wordtide.storage.fileid`) and ``digest``, the CRC-32 of its stored bytes
    where it is known already, are no part of the identity: two splits with different ones are equal. ``freed``: it was
    put away since, so that its path is not its own any more.
    """

    path: str
    length: int
    mtime: int
    start: int
    end: int
    as_text: bool = False
    file_id: int = field(default=0, compare=False)
    digest: int | None = field(default=None, compare=False)
    freed: bool = field(default=False, compare=False)

    @property
    def what(self) -> str:
        """The name by which the ledger and `wordtide parked` know this file."""
        return self.path


Split = KafkaSplit | FileSplit


_DIGEST_BITS = 32
MARK_SHIFT = _DIGEST_BITS + 1
"""Where in a `Taken.mark` the file id begins."""


class Taken(NamedTuple):
    """What the ledger knows of a landed file that was taken. There is one for each, so it is small: 40 bytes are 4 MB.

    Attributes:
        length: Bytes.
        mtime: Last modification, ms since the epoch.
        mark: `file_id` and `digest` in one integer.
    """

    length: int
    mtime: int
    mark: int = 0

    @classmethod
    def of(cls, length: int, mtime: int, file_id: int = 0, digest: int | None = None) -> Taken:
        """Return what is known of a file; see `file_id` and `digest`."""
        known = 0 if digest is None else digest << 1 | 1
        return cls(length, mtime, file_id << MARK_SHIFT | known)

    @property
    def file_id(self) -> int:
        """What its file system knows it by, see `wordtide.storage.fileid`; 0 if unknown."""
        return self.mark >> MARK_SHIFT

    @property
    def digest(self) -> int | None:
        """CRC-32 of its stored bytes; None where they were never counted, or by a Wordtide that kept none."""
        return self.mark >> 1 & (1 << _DIGEST_BITS) - 1 if self.mark & 1 else None


@dataclass(frozen=True, slots=True, order=True)
class Aside:
    """Records that were put aside instead of counted.

    Attributes:
        split: Offsets ``[start, end)``, or the bytes ``[start, end)`` of a file's text (of the decompressed one).
        reason: Why.
    """

    split: Split
    reason: str


class Halt(StrEnum):
    """Why reading of a partition ended before its range did."""

    FULL = "full"
    """The batch has its bytes."""
    UNSEEN = "unseen"
    """For long nothing but records that are not to be seen (aborted, compacted): what was passed is kept."""
    SILENT = "silent"
    """Nothing came."""
    UNREADABLE = "unreadable"
    """What follows cannot be decoded."""
    NOT_TEXT = "not text"
    """What follows seems to be no text."""
    TOO_LONG = "too long"
    """A value follows that holds more without a space than is counted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where reading of a partition ended early, and why.

    Attributes:
        halt: What kind of end it was.
        rest: What of the range was not read.
        reason: One line, without the names.
    """

    halt: Halt
    rest: KafkaSplit
    reason: str


@dataclass(frozen=True, slots=True)
class SplitProof:
    """What reading one split showed.

    Attributes:
        split: What was read: what was planned, or of a partition the part before its stop.
        lines: Lines counted; for Kafka the values that are not tombstones.
        records: Kafka records seen, tombstones included; 0 for files.
        gaps: Offsets of the range that held no visible record (control, aborted, compacted).
        bytes: Bytes of values, or of the file's range (compressed files: of the file).
        clamped: Records whose timestamp was absurd and was clamped.
        aside: Records that were put aside, in order.
        oldest: The earliest believable timestamp (ms since the epoch), of records or of the file; None without one.
        digest: The CRC-32 of a file's stored bytes ``[start, end)``; None for Kafka.
        sampled: Kafka values that were tried as JSON.
        json_objects: How many of those are JSON objects.
        stop: Why less than planned was read, if it was.
        content_as: The path of another counted file of the same length and digest, if there is one.
    """

    split: Split
    lines: int
    records: int = 0
    gaps: int = 0
    bytes: int = 0
    clamped: int = 0
    aside: tuple[Aside, ...] = ()
    oldest: int | None = field(default=None, compare=False)
    digest: int | None = field(default=None, compare=False)
    sampled: int = field(default=0, compare=False)
    json_objects: int = field(default=0, compare=False)
    stop: Stop | None = None
    content_as: str | None = field(default=None, compare=False)


class Mark(StrEnum):
    """What the ledger must know of a range beside its reason."""

    NOT_TEXT = "not_text"
    """It is parked because its values are no text."""
    AS_TEXT = "as_text"
    """An operator said that the topic's values are text, from this range on."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A partition, topic or file that waits for an operator's decision.

    Attributes:
        what: ``topic``, ``topic/partition`` or the file's path.
        reason: One line; for a retention loss it names the lost range ``[start, end)``.
        split: The affected range or file identity, where there is one.
        mark: What else the ledger must know of it.
        detail: What else the ledger is to hold of it.
    """

    what: str
    reason: str
    split: Split | None = None
    mark: Mark | None = None
    detail: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def line(self) -> str:
        """What and why, for a person."""
        return f"{self.what}: {self.reason}"


class Status(StrEnum):
    """What a ledger row records."""

    FOUNDED = "founded"
    PUBLISHED = "published"
    PARKED = "parked"
    """Something waits for an operator; its data is left alone from here on."""
    STALLED = "stalled"
    """Something has not moved for long; nothing is decided, and it goes on by itself when it moves."""
    RESOLVED = "resolved"
    """An operator's decision about what was parked."""
    SETTLED = "settled"
    """Files that were in doubt are, by their content, what was counted: as they are now, they are taken."""
    PUT_AWAY = "put away"
    """Counted files that `landing.after` takes away: their paths are free for others."""
    CORRECTION = "correction"
    """Signed differences between what a batch published and what its source holds now."""


class Verdict(StrEnum):
    """What an operator decided."""

    SKIP = "skip"
    RECOUNT = "recount"
    TEXT = "text"
    FROM_EARLIEST = "from-earliest"
    REPLAY = "replay"
    IMPORT = "import-offsets"


@dataclass(frozen=True, slots=True)
class Decision:
    """An operator's decision: what, who (a user of the system) and why (one line, may be empty)."""

    verdict: Verdict
    who: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One Delta ``txn`` of a commit: the next value of an application's version, and the one it must replace."""

    app_id: str
    before: int | None
    after: int


@dataclass(frozen=True, slots=True)
class Founding:
    """What batch 0 records of a source.

    Attributes:
        identity: What positions belong to (cluster, topic id, namespace …); plain strings.
        transactions: One for each Kafka partition at its resolved start.
        splits: The same for the ledger row, as empty ranges.
        decision: The operator's, if one said where to begin.
    """

    identity: Mapping[str, str]
    transactions: tuple[Transaction, ...]
    splits: tuple[Split, ...]
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A planned batch: what the next commit shall take.

    Attributes:
        stream: The stream's name.
        number: 1, 2, 3 …; batch 0 founds the table.
        attempt: A uuid; identifies this attempt in the ledger.
        planned_at: When it was planned (UTC); also the upper bound for believable timestamps.
        table_version: The Delta version the plan was made from.
        splits: What to read; empty for a ledger-only batch.
        parked: What this batch records as parked, stalled, resolved, settled or put away.
        transactions: Compare-and-set pairs, one for each Kafka partition and one for the batch number.
        backlog: Records or files known to wait beyond this batch.
        position: What the table will have taken with this batch.
        status: What its ledger row records.
        decision: The operator's, if it is one.
        replaces: The batch that a correction is about.
        identity: What positions belong to from this batch on, if that changes.
    """

    stream: str
    number: int
    attempt: str
    planned_at: datetime
    table_version: int
    splits: tuple[Split, ...]
    transactions: tuple[Transaction, ...]
    parked: tuple[Parked, ...] = ()
    backlog: int = 0
    position: Position | None = None
    status: Status = Status.PUBLISHED
    decision: Decision | None = None
    replaces: int | None = None
    identity: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file that is written, synced and checked, but not yet part of the table.

    Attributes:
        path: Relative to the table's root.
        size: Bytes.
        partition: Values of the partition columns.
        stats: Delta statistics (``numRecords``, ``minValues`` …) as JSON.
    """

    path: str
    size: int
    partition: dict[str, str]
    stats: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A batch read and counted, its files written beside the table.

    Attributes:
        files: Count files, sorted by window and word.
        proofs: One for each split.
        words: Sum of counts.
        distinct: Rows, i.e. distinct (window, word) pairs.
        invalid: U+FFFD characters that stand for invalid UTF-8.
        engine: ``local`` or ``spark``.
        seconds: Seconds per step.
    """

    files: tuple[DataFile, ...]
    proofs: tuple[SplitProof, ...]
    words: int
    distinct: int
    invalid: int
    engine: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that the table has taken: what reports, tests and people look at.

    Attributes:
        batch: The plan.
        counted: What was counted; None for a ledger-only batch.
        committed_at: UTC.
    """

    batch: Batch
    counted: Counted | None
    committed_at: datetime

"""What waits to be counted: for sensors, people and metrics, without taking or founding anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from wordtide.config import FlumeConfig, Stream, is_url
from wordtide.core.model import FileSplit, KafkaSplit
from wordtide.core.problems import TableRefused, WordtideError
from wordtide.core.retries import Retries
from wordtide.core.source import Source, SourcePlan
from wordtide.core.stalls import Blockers
from wordtide.receivers.flume_journal import doubts_of
from wordtide.sources.files.source import LandingFolder
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.plan import TopicSnapshot
from wordtide.sources.kafka.source import KafkaTopic, identity_of
from wordtide.storage import HdfsAddress, storage_for
from wordtide.table.catch_up import catch_up
from wordtide.table.commit import BATCH_APP, WordCounts
from wordtide.table.ledger import Ledger, ParkedSince
from wordtide.table.scan import Scan
from wordtide.table.splits import json_share
from wordtide.wiring import hdfs_address, open_source, open_table

MOST = 0.5
"""Above this share of its values a topic is said to be one of JSON."""

LOOK_PROBLEMS = (WordtideError, DeltaError, OSError, pa.ArrowException)
"""What a look at one stream may end with, and must not keep from looking at the next."""

_known: dict[str, Ledger] = {}
"""Ledgers by table, so that a tick reads only what is new. A hint: `snapshot` checks it against the table."""
_retries = Retries(60.0, 600.0)
"""When a run is due, by table, only to try again what could not be read. A hint: without it there is one run more."""

_SHOWN_REASONS = 3


def problem_line(error: Exception) -> str:
    """Return as one line what ended a look at one stream; with its type, if nobody has foreseen it."""
    said = " ".join(str(error).split())
    return said if isinstance(error, LOOK_PROBLEMS) else f"{type(error).__name__}: {said}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a stream's source offers beyond its table.

    Attributes:
        founded: Whether there is a table; if not, a drain must found it (`start: latest` is resolved then).
        something: Whether a batch could be taken, or a loss, a stall or a settled doubt recorded.
        unfinished: Files that are too young or still being written.
        blockers: What is parked or recorded as stalled.
    """

    founded: bool
    something: bool
    unfinished: int
    blockers: Blockers = field(default_factory=Blockers)


def look(
    stream: Stream,
    table: WordCounts,
    kafka: Callable[[], KafkaConnection],
    hdfs: Callable[[], HdfsAddress | None],
) -> Waiting:
    """Return what waits for a stream.

    Raises:
        WordtideError: The source or the table cannot be looked at.
    """
    try:
        snapshot = table.snapshot(_known.get(table.uri))
    except TableRefused:
        # What is remembered may be what is wrong: the next look reads the ledger afresh.
        _known.pop(table.uri, None)
        raise
    source = open_source(stream, kafka() if stream.config.kafka else None, hdfs())
    try:
        if snapshot is None:
            # Looked at all the same: a run that could not found the table would only fail, every few seconds.
            source.found()
            return Waiting(founded=False, something=True, unfinished=0)
        _known[table.uri] = snapshot.ledger
        plan = source.look().plan(snapshot.ledger, snapshot.position)
    finally:
        source.close()
    blockers = Blockers.recorded(snapshot.ledger.parked, plan.held, plan.left_out.line)
    return Waiting(True, _worth_a_run(table.uri, plan), plan.waiting, blockers)


def _worth_a_run(uri: str, plan: SourcePlan) -> bool:
    """Return whether a run has something to do now."""
    now = time.monotonic()
    again = plan.retried or plan.reread
    retry = again and _retries.due(uri, now)
    if retry:
        _retries.failed(uri, now)
    elif not again:
        _retries.waits.pop(uri, None)
    # What is held is watched by a run, which records it if it lasts. What looks complete needs a run's second look.
    unrecorded = any(not one.recorded or one.changed for one in plan.held)
    fresh = bool(plan.splits) and not plan.retried
    doubt = bool(plan.settled or plan.doubtful)
    return fresh or plan.behind or bool(plan.parked) or unrecorded or doubt or plan.ripe > 0 or retry


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far one partition is taken. A null lag: the topic is not the one the position belongs to."""

    partition: int
    position: int | None
    end: int
    lag: int | None
    parked: bool


@dataclass(frozen=True, slots=True)
class StreamLag:
    """What a stream's source holds beyond its table, in records or files.

    Attributes:
        stream: Its name.
        source: Topic or folder.
        unit: ``records`` (offsets) or ``files``.
        position: Taken so far; files: how many. Null where it has no meaning.
        end: What there is, parked partitions left out.
        lag: Their difference.
        founded: Whether there is a table yet; if not, positions are where its first batch will start.
        partitions: One for each partition; empty for a folder.
        bytes: Of the files that are complete; None for a topic.
        parked: How many partitions or files wait for a decision.
        doubtful: Landed lines that a Flume agent may have sent twice; None: no Flume receiver lands here.
        stalled: How many files or folders cannot be read at this moment; they are tried again by themselves.
        stalled_why: Some of them, each with why; null without any.
        in_doubt: How many files may not be what was counted, or may be that under another name: a drain compares them.
        in_doubt_why: Some of them, each with why; null without any.
        repeated: How many counted files have length and digest of one that was counted before; both are counted.
        repeated_why: Some of them, each with the other; null without any.
        left_out: How many files of a folder are left out by their names, or are no files.
        left_out_since: Modification time of the oldest of them (UTC); null without any.
        left_out_why: Which, for a person; null without any.
        problem: Why there are no figures.
        json_share: Which share of the last batch's values are JSON objects, by a sample, if most are.
    """

    stream: str
    source: str
    unit: str
    position: int | None
    end: int | None
    lag: int | None
    founded: bool
    partitions: tuple[PartitionLag, ...] = ()
    problem: str | None = None
    bytes: int | None = None
    parked: int = 0
    json_share: float | None = None
    doubtful: int | None = None
    stalled: int = 0
    stalled_why: str | None = None
    in_doubt: int = 0
    in_doubt_why: str | None = None
    repeated: int = 0
    repeated_why: str | None = None
    left_out: int = 0
    left_out_since: datetime | None = None
    left_out_why: str | None = None


def mostly_json(handle: DeltaTable) -> float | None:
    """Return which share of the newest batch's values are JSON objects, by its sample, if most are."""
    row = Scan(handle).newest_published(handle.transaction_version(BATCH_APP) or 0)
    share = json_share(row) if row is not None else None
    return share if share is not None and share > MOST else None


def json_line(name: str, share: float) -> str:
    """Return what there is to say of a stream that counts JSON."""
    return f"{name}: {share:.0%} of the last batch's values are JSON objects; wordtide counts them as text"


def ledger_of(handle: DeltaTable) -> Ledger:
    """Return the whole ledger of a table."""
    ledger = Ledger(str(handle.metadata().id))
    catch_up(handle, ledger, handle.transaction_version(BATCH_APP) or 0)
    return ledger


def still_stalled(handle: DeltaTable, ledger: Ledger) -> list[ParkedSince]:
    """Return what is recorded as stalled and has not moved since."""
    return [one for one in ledger.stalled.values() if one.what not in ledger.parked and _unmoved(handle, ledger, one)]


def _unmoved(handle: DeltaTable, ledger: Ledger, stalled: ParkedSince) -> bool:
    if isinstance(stalled.split, KafkaSplit):
        app_id = identity_of(ledger).app_id(stalled.split.partition)
        return handle.transaction_version(app_id) == stalled.split.start
    # Of a file that was taken since, the ledger has no stall any more.
    return True


def seen_stalled(stream: Stream, handle: DeltaTable, ledger: Ledger) -> list[ParkedSince]:
    """Return the same, less the files that a look at their folder shows gone or changed."""
    unread = _still_unread(stream, ledger)
    stalled = still_stalled(handle, ledger)
    return [one for one in stalled if one.what in unread or not isinstance(one.split, FileSplit)]


def _still_unread(stream: Stream, ledger: Ledger) -> set[str]:
    """Return which files of those recorded as unreadable still are; all, where their folder cannot be looked at."""
    recorded = set(ledger.unreadable)
    if not recorded:
        return recorded
    try:
        source = open_source(stream)
        try:
            held = source.look().plan(ledger, lambda _app_id: None).held
        finally:
            source.close()
    except LOOK_PROBLEMS:
        return recorded
    return recorded & {one.parked.what for one in held if one.recorded}


def stream_lag(stream: Stream) -> StreamLag:
    """Look at a stream's source and table.

    Raises:
        WordtideError: Either does not answer.
    """
    handle = open_table(stream).open()
    source = open_source(stream)
    try:
        found = lag_of(stream, source, handle, ledger_of(handle) if handle is not None else None)
    finally:
        source.close()
    return replace(found, doubtful=_doubtful(stream))


def _doubtful(stream: Stream) -> int | None:
    if not isinstance(stream.receiver, FlumeConfig) or stream.landing is None:
        return None
    return doubts_of(*storage_for(stream.landing, hdfs_address() if is_url(stream.landing) else None)).lines


def lag_of(stream: Stream, source: Source, handle: DeltaTable | None, ledger: Ledger | None) -> StreamLag:
    """Return what an open source holds beyond a table and its ledger, None where there is no table yet."""
    if isinstance(source, KafkaTopic):
        return _topic_lag(stream, source, handle, ledger)
    known = ledger or Ledger("")
    if isinstance(source, LandingFolder):
        plan = source.examine(known)
    else:
        plan = source.look().plan(known, lambda _app_id: None)
    lag = len(plan.splits) + plan.backlog + plan.waiting
    taken = ledger.taken if ledger else 0
    out = plan.left_out
    return StreamLag(
        stream.name,
        stream.landing or "",
        "files",
        taken,
        taken + lag,
        lag,
        ledger is not None,
        bytes=plan.bytes,
        parked=len(ledger.parked) if ledger else 0,
        stalled=len(plan.held),
        stalled_why=lines_of([one.line for one in plan.held]) or None,
        in_doubt=len(plan.doubtful),
        in_doubt_why=lines_of(plan.doubtful) or None,
        repeated=len(known.repeats),
        repeated_why=_repeats(known.repeats),
        left_out=out.files + out.odds,
        left_out_since=out.since,
        left_out_why=out.line or None,
    )


def _repeats(repeats: dict[str, str]) -> str | None:
    """Return the latest of the files that were counted with the content of another one, for a person."""
    latest = [f"{path} as {repeats[path]}" for path in islice(reversed(repeats), _SHOWN_REASONS)]
    if not latest:
        return None
    more = f" (and {len(repeats) - len(latest):,} more)" if len(repeats) > len(latest) else ""
    return f"counted with length and checksum of another counted file: {'; '.join(latest)}{more}"


def lines_of(reasons: Sequence[str]) -> str:
    """Return some of many reasons as one line."""
    more = f" (and {len(reasons) - _SHOWN_REASONS:,} more)" if len(reasons) > _SHOWN_REASONS else ""
    return "; ".join(reasons[:_SHOWN_REASONS]) + more


def _topic_lag(stream: Stream, source: KafkaTopic, handle: DeltaTable | None, ledger: Ledger | None) -> StreamLag:
    seen = source.snapshot()
    topic = seen.identity.topic
    positions: dict[int, int | None]
    if handle is None or ledger is None:
        starts = {txn.app_id: txn.after for txn in source.found().transactions}
        positions = {p: starts.get(seen.identity.app_id(p)) for p in seen.partitions}
        rows = _partitions(seen, positions, frozenset())
    elif seen.identity != identity_of(ledger):
        rows = tuple(PartitionLag(p, None, at.end, None, True) for p, at in sorted(seen.partitions.items()))
        problem = "the topic is not the one the positions belong to (recreated, or another cluster)"
        return StreamLag(stream.name, topic, "records", None, None, None, True, rows, problem)
    else:
        positions = {p: handle.transaction_version(seen.identity.app_id(p)) for p in seen.partitions}
        rows = _partitions(seen, positions, frozenset(ledger.parked))
    flowing = [row for row in rows if not row.parked]
    return StreamLag(
        stream.name,
        topic,
        "records",
        sum(row.position or 0 for row in flowing),
        sum(row.end for row in flowing),
        sum(row.lag or 0 for row in flowing),
        ledger is not None,
        rows,
        parked=sum(row.parked for row in rows),
        json_share=mostly_json(handle) if handle is not None else None,
    )


def _partitions(
    seen: TopicSnapshot, positions: Mapping[int, int | None], parked: frozenset[str]
) -> tuple[PartitionLag, ...]:
    rows = []
    for partition, offered in sorted(seen.partitions.items()):
        stored = positions.get(partition)
        # One that the table has no position of is new and starts at its beginning.
        position = offered.begin if stored is None else stored
        waits = seen.identity.topic in parked or f"{seen.identity.topic}/{partition}" in parked
        rows.append(PartitionLag(partition, position, offered.end, max(0, offered.end - position), waits))
    return tuple(rows)

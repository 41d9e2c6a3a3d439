"""Carries out an operator's decision: one numbered, ledger-only batch through the same compare-and-set as any other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from wordtide.config import Stream
from wordtide.core.model import Batch, Committed, Decision, FileSplit, KafkaSplit, Status, Verdict
from wordtide.core.problems import DecisionRefused, PlanAgain, SourceUnavailable
from wordtide.core.source import Source
from wordtide.repair.decisions import Resolution, resolve_as_text, resolve_file, resolve_partition, resolve_topic
from wordtide.repair.recount import Difference, publish, recount_file
from wordtide.sources.files.source import LandingFolder
from wordtide.sources.kafka.source import KafkaTopic, identity_of
from wordtide.storage import fileid
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.files import utc_now
from wordtide.table.ledger import Ledger, ParkedSince

ATTEMPTS = 50
"""Lost races against drains before a decision is given up."""


def resolve(stream: Stream, source: Source, table: WordCounts, what: str, decision: Decision) -> Committed:
    """Decide about something parked.

    Args:
        stream: The stream.
        source: Its topic or folder.
        table: Its table.
        what: As `wordtide parked` names it.
        decision: The operator's.

    Raises:
        DecisionRefused: It is not parked (any more), or the verdict does not fit. Nothing was changed.
        WordtideError: Source or table cannot be reached.
    """
    if isinstance(source, LandingFolder) and decision.verdict in (Verdict.RECOUNT, Verdict.TEXT):
        snapshot = existing(table)
        waiting = _waiting(snapshot, stream, what)
        difference = recount_file(stream, source, snapshot, what, as_text=decision.verdict is Verdict.TEXT)
        _refuse_counted(snapshot.ledger, waiting, difference)
        return until_committed(lambda: publish(table, source, difference, decision))

    # Once, and before any attempt: a large file takes a while.
    skipped = _skipped(source, _waiting(existing(table), stream, what), decision.verdict)

    def attempt() -> Committed:
        snapshot = existing(table)
        waiting = _waiting(snapshot, stream, what)
        if skipped is not None and waiting.split == skipped:
            waiting = replace(waiting, split=skipped)
        resolution = _resolution(source, snapshot, waiting, decision.verdict)
        batch = Batch(
            stream.name,
            snapshot.next_batch,
            uuid.uuid4().hex,
            utc_now(),
            snapshot.version,
            (),
            (snapshot.batch_transaction(), *resolution.transactions),
            resolution.resolved,
            status=Status.RESOLVED,
            decision=decision,
            identity=resolution.identity,
        )
        return table.commit(snapshot, batch, None, decision.who)

    return until_committed(attempt)


def _refuse_counted(ledger: Ledger, waiting: ParkedSince, difference: Difference) -> None:
    """Refuse to count a file that turns out to be one that was counted under another path: a link to it, or moved."""
    for proof in difference.proofs:
        if not isinstance(proof.split, FileSplit) or proof.split.what != waiting.what:
            continue
        unread = waiting.split if isinstance(waiting.split, FileSplit) else None
        other = waiting.may_be if unread is not None and proof.digest == unread.digest else None
        other = other or _counted_elsewhere(ledger, proof.split, proof.digest)
        if other is not None:
            raise DecisionRefused(
                f"{waiting.what} has the content of {other}, which is counted, and is that file or a link to it."
                " Nothing was changed; use skip, or leave it to the next drain if it is stalled"
            )


def _counted_elsewhere(ledger: Ledger, file: FileSplit, digest: int | None) -> str | None:
    """Return another path under which the same file, by node and content, was counted."""
    for path, taken in ledger.with_nodes([file.file_id]):
        same = fileid.same_node(taken.file_id, file.file_id) and taken[:2] == (file.length, file.mtime)
        left_out = path in ledger.links or path in ledger.skipped
        if same and path != file.path and not left_out and digest is not None and taken.digest == digest:
            return path
    return None


def _skipped(source: Source, waiting: ParkedSince, verdict: Verdict) -> FileSplit | None:
    """Return a file that is to be skipped with what its content is known by: touched or moved, it is still skipped."""
    if verdict is Verdict.SKIP and isinstance(source, LandingFolder) and isinstance(waiting.split, FileSplit):
        return source.with_content(waiting.split)
    return None


def _waiting(snapshot: Snapshot, stream: Stream, what: str) -> ParkedSince:
    """Return what is known of something parked, or of a file that cannot be read."""
    waiting = snapshot.ledger.waiting(what)
    if waiting is None:
        raise DecisionRefused(
            f"stream {stream.name}: {what} is not parked, or not any more; wordtide parked {stream.name} lists what is"
        )
    return waiting


def existing(table: WordCounts) -> Snapshot:
    """Return the table's snapshot.

    Raises:
        DecisionRefused: There is no table yet.
    """
    snapshot = table.snapshot()
    if snapshot is None:
        raise DecisionRefused(f"there is no table {table.uri} yet; nothing has been counted")
    return snapshot


def until_committed(attempt: Callable[[], Committed]) -> Committed:
    """Try until no drain is faster, with a bound."""
    for wait in range(ATTEMPTS):
        try:
            return attempt()
        except PlanAgain as problem:
            reason = problem
            time.sleep(min(0.02 * wait, 0.5))
    raise SourceUnavailable(f"given up after {ATTEMPTS} attempts, nothing was changed; the last: {reason}")


def _resolution(source: Source, snapshot: Snapshot, waiting: ParkedSince, verdict: Verdict) -> Resolution:
    ledger, what = snapshot.ledger, waiting.what
    if not isinstance(source, KafkaTopic):
        split = None if isinstance(waiting.split, KafkaSplit) else waiting.split
        return resolve_file(verdict, what, split)
    seen, founded = source.snapshot(), identity_of(ledger)
    if verdict is Verdict.TEXT and waiting.split is not None:
        odd = [one.split for one in ledger.parked.values() if one.not_text and isinstance(one.split, KafkaSplit)]
        return resolve_as_text(what, odd, seen, founded)
    if isinstance(waiting.split, KafkaSplit):
        position = snapshot.position(founded.app_id(waiting.split.partition))
        return resolve_partition(verdict, waiting.split, seen, founded, position)
    return resolve_topic(verdict, seen, founded, snapshot.position, ledger.parked.keys())

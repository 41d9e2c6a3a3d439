"""Re-reads what a batch published, compares, and publishes the signed difference: nothing is ever rewritten."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from wordtide.config import Stream
from wordtide.core.model import (
    Aside,
    Batch,
    Committed,
    Counted,
    Decision,
    FileSplit,
    KafkaSplit,
    Split,
    SplitProof,
    Status,
)
from wordtide.core.problems import DecisionRefused, PlanAgain
from wordtide.core.source import Source
from wordtide.counting.accumulate import RESULT_SCHEMA, Accumulator
from wordtide.counting.local import Target, count_splits
from wordtide.drain.loop import FUTURE_SECONDS
from wordtide.repair.moves import entries_that_free, names_in_time, paths_of
from wordtide.sources.files.source import LandingFolder
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.files import utc_now, write_counts
from wordtide.table.ledger import Ledger
from wordtide.table.record import LedgerEntry, LedgerRow, SplitRecord
from wordtide.table.scan import Scan, batches_in, counts_in
from wordtide.table.splits import paths_freed_by, split_of

CHANGES = pa.schema([("word", pa.string()), ("was", pa.int64()), ("now", pa.int64())])
"""What `Difference.changes` holds."""


@dataclass(frozen=True, slots=True)
class Published:
    """A batch as the ledger and its corrections tell it.

    Attributes:
        number: The batch; -1 for files that no batch has held.
        corrections: Numbers of the corrections of it.
        planned_at: When it was planned.
        splits: What it holds, files as they were when last counted.
        aside: Records of it that are put aside.
    """

    number: int
    corrections: tuple[int, ...]
    planned_at: datetime
    splits: tuple[Split, ...]
    aside: tuple[Aside, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What a batch's sources hold now against what it published. Held in memory: a batch has its caps.

    Attributes:
        published: The batch.
        splits: What was read now.
        proofs: One for each.
        rows: (window_start, word, count) to be added; sorted, no zeros.
        changes: (word, was, now) of each word whose total differs.
        invalid: U+FFFD that stand for invalid UTF-8.
        seconds: Seconds per step.
    """

    published: Published
    splits: tuple[Split, ...]
    proofs: tuple[SplitProof, ...]
    rows: pa.Table
    changes: pa.Table
    invalid: int
    seconds: dict[str, float]


def find_published(handle: DeltaTable, wanted: Callable[[LedgerRow], bool]) -> list[Published]:
    """Return the batches of the ledger whose rows are wanted, oldest first.

    Args:
        handle: The table.
        wanted: Says of a ledger row whether its batch is asked for. Corrections name the same
            files or ranges as the batch they are about.
    """
    counted = ds.field("status").isin([Status.PUBLISHED.value, Status.CORRECTION.value])
    found: list[LedgerRow] = []
    corrected: dict[int, list[LedgerRow]] = {}
    for row in Scan(handle).stream(batches_in() & counted):
        if row.replaces is not None:
            corrected.setdefault(row.replaces, []).append(row)
        elif wanted(row):
            found.append(row)
    return [_published(row, corrected.get(row.batch, [])) for row in sorted(found, key=lambda row: row.batch)]


def _published(row: LedgerRow, corrections: Sequence[LedgerRow]) -> Published:
    latest = max(corrections, key=lambda one: one.batch, default=row)
    splits = tuple(split for record in latest.splits if (split := split_of(record)) is not None)
    numbers = tuple(sorted(one.batch for one in corrections))
    identities = {split.path: split for split in splits if isinstance(split, FileSplit)}
    aside = tuple(_aside(record, identities) for record in latest.quarantined)
    return Published(row.batch, numbers, row.planned_at, splits, aside)


def _aside(record: SplitRecord, files: Mapping[str, FileSplit]) -> Aside:
    start, end = record.start or 0, record.end or 0
    reason = record.reason or ""
    if record.path is not None:
        return Aside(replace(files[record.path], start=start, end=end), reason)
    return Aside(KafkaSplit(record.topic or "", record.partition or 0, start, end), reason)


def recount(
    stream: Stream,
    source: Source,
    snapshot: Snapshot,
    published: Published,
    *,
    whole: bool = False,
    as_text: str | None = None,
    in_place: str | None = None,
) -> Difference:
    """Read a batch's splits again and compare.

    Args:
        stream: The stream.
        source: Its topic or folder.
        snapshot: Its table.
        published: The batch.
        whole: Put nothing aside: what had been is counted as well.
        as_text: A file that is text from now on, whatever it begins with.
        in_place: A file that is under its path, whatever became of others that had it.

    Raises:
        DecisionRefused: A file is gone, or offsets are no longer held. Nothing was changed.
        WordtideError: A file cannot be read, or the source does not answer.
    """
    if 0 <= published.number < snapshot.ledger.identity_since:
        raise DecisionRefused(f"batch {published.number} was read from a topic that is gone; nothing was changed")
    freed = freed_paths(snapshot.handle, published.splits)
    if in_place is not None:
        freed.pop(in_place, None)
    splits = _as_they_are(source, snapshot.ledger, published, freed, as_text)
    # A file that was replaced since may well be younger than the batch.
    latest = published.planned_at.timestamp() if splits == published.splits else time.time()
    reader = source.reader(int((latest + FUTURE_SECONDS) * 1000), whole=whole)
    # First: reading may take longer than the files of a snapshot are kept.
    was = _published_counts(snapshot.handle, published)
    with Accumulator() as now, Accumulator() as difference:
        try:
            # Before it is read as well: from a topic made anew with fewer partitions nothing would come for long.
            source.verify(snapshot.ledger, splits)
            tally = count_splits(reader, _as_counted(splits, published), stream.config.tokenizer, now)
            reader.settle(splits, tally.proofs)
            source.verify(snapshot.ledger, splits)
        except PlanAgain as problem:
            raise DecisionRefused(
                f"batch {published.number} cannot be read again: {problem}; nothing was changed"
            ) from None
        is_now = pa.Table.from_batches(list(now.result()), schema=RESULT_SCHEMA)
        difference.add_table(_windowed(is_now, 1))
        difference.add_table(_windowed(was, -1))
        rows = pa.Table.from_batches(list(difference.result()), schema=RESULT_SCHEMA)
    rows = rows.filter(pc.not_equal(rows.column("count"), 0))
    return Difference(
        published,
        splits,
        tuple(replace(proof, split=split) for split, proof in zip(splits, tally.proofs, strict=True)),
        rows,
        _changes(was, is_now),
        tally.invalid,
        {"read": tally.read_seconds, "count": tally.count_seconds},
    )


def publish(table: WordCounts, source: Source, difference: Difference, decision: Decision) -> Committed:
    """Commit a difference as a numbered batch of signed rows.

    Raises:
        PlanAgain: Another writer was first; the difference still holds unless that was a correction of the same batch.
        DecisionRefused: The batch was corrected by somebody else since it was read.
    """
    snapshot = table.snapshot()
    assert snapshot is not None
    published = difference.published
    if published.number >= 0:
        now = find_published(snapshot.handle, lambda row: row.batch == published.number)
        if not now or now[0].corrections != published.corrections:
            raise DecisionRefused(f"batch {published.number} was corrected by somebody else meanwhile; look again")
    elif any(snapshot.ledger.waiting(split.what) is None for split in difference.splits):
        raise DecisionRefused("somebody else has decided meanwhile; look again")
    batch = Batch(
        table.stream.name,
        snapshot.next_batch,
        uuid.uuid4().hex,
        utc_now(),
        snapshot.version,
        difference.splits,
        (snapshot.batch_transaction(),),
        status=Status.CORRECTION,
        decision=decision,
        replaces=published.number if published.number >= 0 else None,
    )
    target = Target.of(batch, table.storage, table.root)
    batches = difference.rows.to_batches()
    files = tuple(write_counts(target.storage, target.root, target.number, target.attempt, target.day, batches))
    words = int(pc.sum(difference.rows.column("count")).as_py() or 0)
    counted = Counted(
        files, difference.proofs, words, len(difference.rows), difference.invalid, "local", difference.seconds
    )
    try:
        source.verify(snapshot.ledger, difference.splits)
    except PlanAgain as problem:
        raise DecisionRefused(f"{problem}; nothing was changed") from None
    return table.commit(snapshot, batch, counted, decision.who)


def recount_file(stream: Stream, source: Source, snapshot: Snapshot, what: str, *, as_text: bool = False) -> Difference:
    """Return what the batch that held a parked file would count now; all of its files are read as they are.

    A file that no batch has held is compared with nothing. With ``as_text`` it is text, whatever it begins with.
    """
    text = what if as_text else None
    waiting = snapshot.ledger.waiting(what)
    assert waiting is not None
    assert isinstance(waiting.split, FileSplit)
    # Of a name that is used again and again, those before were other files, and stay counted.
    names = names_in_time(snapshot.handle, what)

    def held_it(entry: LedgerEntry) -> bool:
        return not paths_of(names, entry.batch).isdisjoint(record.path for record in entry.splits)

    held = find_published(snapshot.handle, held_it)
    if held:
        published = _renamed(held[-1], paths_of(names, held[-1].number), what)
        return recount(stream, source, snapshot, published, as_text=text, in_place=what)
    return recount(stream, source, snapshot, Published(-1, (), utc_now(), (waiting.split,)), as_text=text)


def _renamed(published: Published, paths: Collection[str], path: str) -> Published:
    """Return a batch as if a file in it had had its present path then."""
    splits = (
        replace(split, path=path, freed=False) if isinstance(split, FileSplit) and split.path in paths else split
        for split in published.splits
    )
    return replace(published, splits=tuple(splits))


def freed_paths(handle: DeltaTable, splits: Iterable[Split]) -> dict[str, int]:
    """Return, of files, the newest batch after which their path was another's: they were put away, or moved."""
    paths = {split.path for split in splits if isinstance(split, FileSplit)}
    freed: dict[str, int] = {}
    if not paths:
        return freed
    for entry in entries_that_free(handle):
        for path in paths_freed_by(entry):
            if path in paths:
                freed[path] = max(entry.batch, freed.get(path, -1))
    return freed


def _as_they_are(
    source: Source, ledger: Ledger, published: Published, freed: Mapping[str, int], as_text: str | None
) -> tuple[Split, ...]:
    """Return the splits with the present identity of files; one of them as text, if that was decided."""
    splits = published.splits
    if not isinstance(source, LandingFolder):
        return splits

    # Files are as the last correction found them; those that were freed before it are marked in it.
    counted = max((published.number, *published.corrections))

    def gone(file: FileSplit) -> bool:
        return file.freed or 0 <= counted < freed.get(file.path, -1)

    files = (source.as_it_is(split, ledger, freed=gone(split)) for split in splits if isinstance(split, FileSplit))
    return tuple(replace(file, as_text=file.as_text or file.path == as_text) for file in files)


def _as_counted(splits: Sequence[Split], published: Published) -> tuple[Split, ...]:
    """Return what is to be read, files that a batch has counted and that are unchanged as text: as they were counted.

    An older Wordtide took some for text that are none, and they must not keep the others from being read again.
    """
    counted = frozenset(published.splits if published.number >= 0 else ())
    return tuple(
        replace(split, as_text=True) if isinstance(split, FileSplit) and split in counted else split for split in splits
    )


def _published_counts(handle: DeltaTable, published: Published) -> pa.Table:
    numbers = [published.number, *published.corrections]
    rows = Scan(handle).counts(RESULT_SCHEMA.names, counts_in() & ds.field("batch").isin(numbers))
    return pa.Table.from_batches(rows, schema=RESULT_SCHEMA)


def _windowed(rows: pa.Table, sign: int) -> pa.Table:
    window = rows.column("window_start").cast(pa.int64())
    count = pc.multiply(rows.column("count"), sign)
    return pa.table({"window": window, "word": rows.column("word"), "count": count})


def _changes(was: pa.Table, now: pa.Table) -> pa.Table:
    before, after = (
        side.group_by("word").aggregate([("count", "sum")]).rename_columns({"count_sum": name})
        for side, name in ((was, "was"), (now, "now"))
    )
    both = before.join(after, "word", join_type="full outer")
    filled = pa.table([both.column("word"), *(pc.fill_null(both.column(name), 0) for name in ("was", "now"))], CHANGES)
    return filled.filter(pc.not_equal(filled.column("was"), filled.column("now"))).sort_by("word")

"""The commit protocol (DESIGN §2): compare and set, doubt settled by identity, nothing deleted once commit began."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from wordtide.config import Stream, is_url
from wordtide.core.model import Batch, Committed, Counted, Founding, Status
from wordtide.core.model import Transaction as Txn
from wordtide.core.problems import EnvironmentProblem, PlanAgain, SourceUnavailable, TableRefused, WordtideError
from wordtide.storage import FileInfo, Storage
from wordtide.storage.local import NO_ROOM
from wordtide.system.limits import NoAnswer
from wordtide.table.ages import AGES, SNAPSHOT_AGE, STALE_PLAN
from wordtide.table.catch_up import catch_up
from wordtide.table.files import utc_now, write_batch_row
from wordtide.table.fingerprint import describe, fingerprint
from wordtide.table.handles import open_handle, within_limit
from wordtide.table.ledger import Ledger
from wordtide.table.panics import DeltaRsPanicked, panics_as_errors
from wordtide.table.replaced import write_lists
from wordtide.table.rows import batch_row, founding_row
from wordtide.table.scan import Scan
from wordtide.table.schema import FORMAT, PARTITION_BY, SCHEMA
from wordtide.table.upgrade import dead_files, missing_columns, outdated_properties

log = logging.getLogger("wordtide")

BATCH_APP = "wordtide/batch"
"""The ``txn`` id whose version is the last batch number."""
COMMIT_RETRIES = 15
"""Rebases of an append over commits that share no ``txn`` with it, such as a compaction."""
OPENINGS = 3
"""Attempts at a table whose log is replaced under delta-rs's eyes."""
_FULL = re.compile(rf"No space left|os error ({'|'.join(map(str, sorted(NO_ROOM)))})\b")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_GONE = re.compile(r"file ?not ?found|no such file|object at location \S+ not found", re.IGNORECASE)

CHECKPOINT_EVERY = 20
"""Versions from one checkpoint to the next."""

CONFIGURATION = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Statistics of the other columns are of no use to anyone, and every reader parses them for every live file.
    "delta.dataSkippingStatsColumns": "batch,window_start,word,count",
    **AGES,
}


class SnapshotGone(SourceUnavailable):
    """A snapshot was read that is older than what is kept; a new one can be."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The table at the version a plan is made from. Its handle is private to one batch and never updated.

    Attributes:
        entry: Its version's file in the log: a table that is deleted and founded anew has another one.
    """

    handle: DeltaTable
    ledger: Ledger
    entry: FileInfo | None

    @property
    def version(self) -> int:
        """The Delta version."""
        return self.handle.version()

    @property
    def next_batch(self) -> int:
        """The number the next batch gets."""
        return self.ledger.last + 1

    def position(self, app_id: str) -> int | None:
        """Return the stored version of a ``txn`` id.

        Raises:
            SnapshotGone: The log was cleaned up under the handle.
            SourceUnavailable: The table's file system does not answer.
        """
        try:
            with panics_as_errors():
                return self.handle.transaction_version(app_id)
        except NoAnswer:
            raise
        except (DeltaError, OSError) as error:
            detail = " ".join(_COLOUR.sub("", str(error)).split())[:300]
            if _GONE.search(detail):
                raise _gone(self.handle.table_uri, detail) from error
            raise SourceUnavailable(f"table {self.handle.table_uri}: {detail}; is its file system up?") from error

    def batch_transaction(self) -> Txn:
        """Return the compare-and-set pair of the batch number."""
        return Txn(BATCH_APP, self.ledger.last, self.next_batch)


class WordCounts:
    """The `word_counts` table of one stream.

    Args:
        stream: Its stream.
        uri: What delta-rs opens: a local path or a complete URL.
        storage: The file system it is on.
        root: Its folder on that file system.
    """

    def __init__(self, stream: Stream, uri: str, storage: Storage, root: str) -> None:
        self.stream = stream
        self.uri = uri
        self.storage = storage
        self.root = root
        self._up_to_date: str | None = None

    def snapshot(self, known: Ledger | None = None) -> Snapshot | None:
        """Open the table at its newest version, or return None where there is none.

        Args:
            known: A ledger read earlier; it is caught up rather than read again.

        Raises:
            TableRefused: Rolled back by RESTORE, other fingerprint, deleted under us, or written by a newer Wordtide.
            SourceUnavailable: The table's file system does not answer.
        """
        handle = self.open()
        if handle is None:
            if known is not None:
                raise self._deleted()
            return None
        metadata = handle.metadata()
        if metadata.description != FORMAT:
            raise TableRefused(f"table {self.uri} {_foreign(metadata.description)}")
        ledger = known if known is not None and known.table_id == str(metadata.id) else Ledger(str(metadata.id))
        with self.answers():
            # Asks the log, and so does `Snapshot.position`.
            stored = handle.transaction_version(BATCH_APP)
        if stored is None:
            raise TableRefused(f"table {self.uri} has no {BATCH_APP} in its log; it was not founded by Wordtide")
        with self.answers():
            if stored != ledger.last:
                catch_up(handle, ledger, stored)
            elif handle.version() != ledger.version and not Scan(handle).rows(after=ledger.last - 1):
                # Somebody else's version: a compaction, or a RESTORE, which takes rows back but not `txn`s.
                raise TableRefused(f"table {self.uri}: batch {ledger.last} is gone from it; was it RESTOREd?")
        ledger.version = handle.version()
        self._check_meaning(ledger)
        return Snapshot(handle, ledger, self.entry(handle.version()))

    def open(self) -> DeltaTable | None:
        """Return a fresh handle, or None if there is no table."""
        for attempt in range(1, OPENINGS + 1):
            try:
                with panics_as_errors():
                    return open_handle(self.uri)
            except TableNotFoundError:
                break
            except (DeltaError, OSError) as error:
                passing = isinstance(error, DeltaRsPanicked) or _GONE.search(str(error))
                if not passing or attempt == OPENINGS:
                    raise self._unreachable(error) from error
        return None

    def entry(self, version: int) -> FileInfo | None:
        """Return a version's file in the log, or None where there is none."""
        try:
            return self.storage.stat(f"{self.root}/_delta_log/{version:020d}.json")
        except FileNotFoundError:
            return None

    def _check_meaning(self, ledger: Ledger) -> None:
        if ledger.fingerprint != fingerprint(self.stream, ledger.identity):
            raise TableRefused(
                f"table {self.uri} was founded with another source, tokenizer or window than streams.yaml now says"
                f" for {self.stream.name} ({describe(self.stream)}); put it back, or name a new stream"
            )

    def found(self, founding: Founding, attempt: str, run_id: str) -> bool:
        """Create the table with batch 0 in one commit. Losing the race to another founder is no error.

        Returns:
            Whether it was this attempt that created it.
        """
        now = utc_now()
        row = founding_row(self.stream, founding, attempt, run_id, now)
        full = {**dict.fromkeys(SCHEMA.names), **row.as_dict(), "kind": "batch", "day": now.date()}
        transactions = [Transaction(txn.app_id, txn.after) for txn in founding.transactions]
        try:
            self.storage.mkdirs(self.root)
            with panics_as_errors():
                within_limit(
                    self.uri,
                    lambda: write_deltalake(
                        self.uri,
                        pa.Table.from_pylist([full], schema=SCHEMA),
                        mode="error",
                        partition_by=PARTITION_BY,
                        description=FORMAT,
                        configuration=CONFIGURATION,
                        commit_properties=CommitProperties(
                            app_transactions=[*transactions, Transaction(BATCH_APP, 0)], max_commit_retries=0
                        ),
                    ),
                )
        except (DeltaError, OSError) as error:
            handle = self.open()
            if handle is None:
                raise self._unreachable(error) from error
            with self.answers():
                founders = [row.attempt for row in Scan(handle).rows(before=1)]
        else:
            founders = [attempt]
        self.sync_log(0)
        return founders == [attempt]

    def bring_up_to_date(self, snapshot: Snapshot) -> bool:
        """Give a table of an older Wordtide what it lacks: columns, and the present ages.

        Returns:
            Whether the snapshot is outdated by that.

        Raises:
            WordtideError: The commit failed.
        """
        if self._up_to_date == snapshot.ledger.table_id:
            return False
        version = snapshot.version
        try:
            with panics_as_errors():
                missing, outdated = missing_columns(snapshot.handle), outdated_properties(snapshot.handle)
                if missing:
                    snapshot.handle.alter.add_columns(missing)
                if outdated:
                    # The next checkpoint forgets them, and then nothing but a vacuum would find them.
                    write_lists(self.storage, self.root, version, (), dead_files(snapshot.handle), uuid.uuid4().hex)
                    snapshot.handle.alter.set_table_properties(outdated)
        except CommitFailedError as error:
            # Another writer's change of metadata, most likely the same one: the next snapshot shows it.
            log.info("table %s was not brought up to date: %s", self.uri, error)
            return True
        except (DeltaError, OSError) as error:
            raise self._unreachable(error) from error
        self._up_to_date = snapshot.ledger.table_id
        changed = bool(missing or outdated)
        if changed:
            # The handle has moved on with these commits.
            self.sync_log(version + 1)
            log.info("table %s: brought up to date with this Wordtide", self.uri)
        return changed

    def commit(self, snapshot: Snapshot, batch: Batch, counted: Counted | None, run_id: str) -> Committed:
        """Publish a batch: counts, ledger row and positions in one Delta version.

        Args:
            snapshot: The one the batch was planned from.
            batch: The plan.
            counted: Its counts, already written; None for a ledger-only batch.
            run_id: Whose run this is.

        Raises:
            PlanAgain: Another writer was first, or the plan is too old. Nothing was published.
            WordtideError: The commit failed and nothing was published.
        """
        handle = snapshot.handle
        if handle.version() != batch.table_version:
            # delta-rs checks for rivals from the handle's version on: on a handle that has moved it would see none.
            raise PlanAgain(f"planned from version {batch.table_version}, the handle is at {handle.version()}")
        for txn in batch.transactions:
            # Back goes only what an operator decided.
            if txn.before is not None and txn.after <= txn.before and batch.status is not Status.RESOLVED:
                raise ValueError(f"{txn.app_id} would go back from {txn.before} to {txn.after}")
        committed_at = utc_now()
        if not timedelta(0) <= committed_at - batch.planned_at < STALE_PLAN:
            raise PlanAgain(f"batch {batch.number} was planned at {batch.planned_at}, too long ago")
        if self.bring_up_to_date(snapshot):
            # Delta would accept the files, and what the table has no columns for would be lost.
            raise PlanAgain(f"table {self.uri} was written by an older Wordtide; it is up to date now")
        row = batch_row(batch, counted, run_id, committed_at)
        ledger_file = write_batch_row(self.storage, self.root, row, batch.planned_at.date())
        files = [*(counted.files if counted else ()), ledger_file]
        now_ms = int(committed_at.timestamp() * 1000)
        if not self._is_there(snapshot):
            # Versions of a table founded anew are numbered alike, and Delta would accept the commit.
            raise PlanAgain(
                f"table {self.uri} was deleted or founded anew, or its log cleaned up, after batch {batch.number} was"
                " planned"
            )
        try:
            with panics_as_errors():
                handle.create_write_transaction(
                    [AddAction(file.path, file.size, file.partition, now_ms, True, file.stats) for file in files],
                    "append",
                    SCHEMA,
                    PARTITION_BY,
                    commit_properties=CommitProperties(
                        custom_metadata={"wordtide.core.model": str(batch.number), "wordtide.run": run_id},
                        max_commit_retries=COMMIT_RETRIES,
                        app_transactions=[Transaction(txn.app_id, txn.after) for txn in batch.transactions],
                    ),
                    post_commithook_properties=after_commit(snapshot.version + 1),
                )
        except (DeltaError, OSError) as error:
            self._settle(batch, error)
        self.sync_log(snapshot.version + 1)
        snapshot.ledger.apply([row])
        snapshot.ledger.last = batch.number
        snapshot.ledger.version = snapshot.version + 1
        return Committed(batch, counted, committed_at)

    def _is_there(self, snapshot: Snapshot) -> bool:
        """Return whether the table's log still holds a snapshot's version."""
        entry = self.entry(snapshot.version)
        if entry is None or entry == snapshot.entry:
            return entry is not None
        # A backup that was put back gives files other times.
        handle = self.open()
        if handle is None or str(handle.metadata().id) != snapshot.ledger.table_id:
            return False
        with self.answers():
            return handle.transaction_version(BATCH_APP) == snapshot.ledger.last

    def _settle(self, batch: Batch, error: Exception) -> None:
        """Return if the attempt's commit happened after all; raise if it did not.

        Equal ``txn`` values prove nothing (a rival on the same plan writes the same ones): only the attempt's uuid in
        the ledger does.
        """
        try:
            handle = self.open()
        except SourceUnavailable as unknown:
            raise self._in_doubt(batch, unknown) from error
        if handle is None:
            raise self._deleted() from error
        with self.answers():
            last = handle.transaction_version(BATCH_APP)
        if last is None or last < batch.number:
            if isinstance(error, CommitFailedError):
                raise PlanAgain(f"batch {batch.number} met another commit: {error}") from error
            if isinstance(error, DeltaRsPanicked):
                # Nothing is going on any more that might still commit it.
                raise PlanAgain(f"batch {batch.number} was not published: {error}") from error
            if isinstance(error, NoAnswer):
                # It may still happen: compare-and-set settles it with whoever plans from here.
                raise self._in_doubt(batch, self._unreachable(error)) from error
            if self.entry(batch.table_version) is None:
                # delta-rs compares with what was committed since, and cannot read that any more.
                raise PlanAgain(f"version {batch.table_version} of table {self.uri} is gone from its log") from error
            raise self._unreachable(error) from error
        with self.answers():
            winners = Scan(handle).rows(after=batch.number - 1, before=batch.number + 1)
        if [row.attempt for row in winners] != [batch.attempt]:
            raise PlanAgain(f"batch {batch.number} was committed by another drain") from error

    def _in_doubt(self, batch: Batch, problem: WordtideError) -> SourceUnavailable:
        return SourceUnavailable(f"{problem}. The next drain finds out whether batch {batch.number} was published")

    def sync_log(self, version: int) -> None:
        """Make log entries from ``version`` on survive a power cut; delta-rs links them without fsync."""
        if is_url(self.uri):
            return
        log = Path(self.uri) / "_delta_log"
        while (entry := log / f"{version:020d}.json").exists():
            _fsync(entry)
            version += 1
        _fsync(log)

    def _deleted(self) -> TableRefused:
        return TableRefused(
            f"table {self.uri} was deleted while it was in use; put it back, or run again to count everything anew"
        )

    @contextmanager
    def answers(self) -> Iterator[None]:
        """Make an error of the table's file system, or a panic of delta-rs, the one line for it."""
        try:
            with panics_as_errors():
                yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> WordtideError:
        if isinstance(error, NoAnswer):
            return SourceUnavailable(f"table {self.uri}: {error}")
        detail = " ".join(_COLOUR.sub("", str(error)).split())
        if getattr(error, "errno", None) in NO_ROOM or _FULL.search(detail):
            return EnvironmentProblem(f"table {self.uri}: the disk is full; free some space, nothing was published")
        if _GONE.search(detail):
            return _gone(self.uri, detail)
        if "ermission denied" in detail or "AccessControlException" in detail:
            return SourceUnavailable(f"table {self.uri}: permission denied; check who owns the folder ({detail[:200]})")
        return SourceUnavailable(f"table {self.uri}: {detail[:300]}; is its file system up?")


def after_commit(version: int) -> PostCommitHookProperties:
    """Return what delta-rs does after a commit: left to itself it looks for old log entries after each one.

    That takes a third of the commit where there are hundreds of them; only a checkpoint makes more of them needless.
    """
    return PostCommitHookProperties(cleanup_expired_logs=None if (version + 1) % CHECKPOINT_EVERY == 0 else False)


def _gone(uri: str, detail: str) -> SnapshotGone:
    minutes = SNAPSHOT_AGE.seconds // 60
    return SnapshotGone(
        f"table {uri}: the snapshot in use is older than {minutes} minutes and gone; try again ({detail[:200]})"
    )


def _foreign(description: str | None) -> str:
    """Return what is wrong with a table that does not have our description."""
    kind, _, ours = FORMAT.rpartition(" ")
    its_kind, _, its = (description or "").rpartition(" ")
    if its_kind != kind or not its.isdecimal():
        return f"was not founded by Wordtide (its description is {description!r}); name another folder"
    if int(its) > int(ours):
        return f"was written by a newer Wordtide (format {its}, this one knows {ours}); upgrade Wordtide"
    return (
        f"was written by an older Wordtide (format {its}, this one writes {ours}); keep to that one, or name another"
        " folder to count everything anew"
    )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

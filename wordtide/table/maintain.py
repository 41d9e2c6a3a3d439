"""Keeps the table cheap: compaction between batches, vacuum as a job. What ages is `wordtide.table.upkeep`'s."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from wordtide.core.model import DataFile
from wordtide.core.problems import SourceUnavailable, WordtideError
from wordtide.table.ages import STALE_PLAN
from wordtide.table.commit import WordCounts
from wordtide.table.files import ROWS_A_FILE, utc_now, write_merged
from wordtide.table.panics import panics_as_errors
from wordtide.table.replaced import write_lists
from wordtide.table.schema import BATCH_SCHEMA, COUNT_SCHEMA, PARTITION_BY, SCHEMA
from wordtide.table.upkeep import full_vacuum

log = logging.getLogger("wordtide")

LIVE_FILES = 200
"""Above, small files are merged: at 5,000 live ones a commit costs twice, and each checkpoint names them all."""
LARGE_ROWS = 1 << 14
"""Smaller files are always merged; see `worth_merging`."""
TARGET_BYTES = 64 << 20
"""Files of half this size are left alone, so that a day's counts are not rewritten again and again."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A file of the table as its log describes it."""

    kind: str
    day: str
    path: str
    size: int
    rows: int

    @property
    def partition(self) -> dict[str, str]:
        """Values of the partition columns."""
        return {"kind": self.kind, "day": self.day}


def compact_if_needed(table: WordCounts, live_files: int = LIVE_FILES) -> bool:
    """Merge small files when there are more than ``live_files``; return whether it did.

    Losing against another writer is no error: the next look tries again.
    """
    try:
        with panics_as_errors():
            return _compact(table, live_files)
    except (DeltaError, OSError, WordtideError, pa.ArrowException) as error:
        log.info("compaction of %s left for later: %s", table.uri, error)
        return False


def _compact(table: WordCounts, live_files: int) -> bool:
    handle = table.open()
    if handle is None or len(handle.file_uris()) <= live_files:
        return False
    groups = plan_compaction(worth_merging(_live_files(handle)))
    if not groups:
        return False
    planned_at, version = utc_now(), handle.version() + 1
    merged = _merge(table, handle, groups)
    old = [file for group in groups for file in group]
    write_lists(table.storage, table.root, version, [f.path for f in merged], [f.path for f in old], uuid.uuid4().hex)
    now = utc_now()
    if not timedelta(0) <= now - planned_at < STALE_PLAN:
        # As with a batch: the merged files may be deleted by now as nobody's.
        raise SourceUnavailable(f"planned at {planned_at}, too long ago")
    _replace(handle, old, merged, now)
    table.sync_log(version)
    return True


def worth_merging(files: Sequence[LiveFile]) -> list[LiveFile]:
    """Return the files but for those that are large and hold more rows than all smaller ones of their partition.

    Those wait until as much has come. So each row is merged a few times a day only, and little of a table is dead.
    """
    chosen: list[LiveFile] = []
    for _, partition in groupby(sorted(files, key=lambda f: (f.kind, f.day, f.rows)), key=lambda f: (f.kind, f.day)):
        waiting: list[LiveFile] = []
        smaller = 0
        for file in partition:
            waiting.append(file)
            if file.rows < LARGE_ROWS or file.rows <= smaller:
                chosen += waiting
                waiting.clear()
            smaller += file.rows
    return chosen


def plan_compaction(
    files: Sequence[LiveFile], rows: int = ROWS_A_FILE, size: int = TARGET_BYTES
) -> list[list[LiveFile]]:
    """Return which files become one: small ones of one partition, up to ``rows`` rows and ``size`` bytes together."""
    small = sorted(
        (f for f in files if f.rows < rows // 2 and f.size < size // 2), key=lambda f: (f.kind, f.day, f.path)
    )
    groups: list[list[LiveFile]] = []
    for _, partition in groupby(small, key=lambda f: (f.kind, f.day)):
        held_rows = held_size = 0
        groups.append([])
        for file in partition:
            held_rows, held_size = held_rows + file.rows, held_size + file.size
            if groups[-1] and (held_rows > rows or held_size > size):
                groups.append([])
                held_rows, held_size = file.rows, file.size
            groups[-1].append(file)
    return [group for group in groups if len(group) > 1]


def _live_files(handle: DeltaTable) -> list[LiveFile]:
    columns = ["partition.kind", "partition.day", "path", "size_bytes", "num_records"]
    actions = pa.table(handle.get_add_actions(flatten=True)).select(columns).to_pylist()
    return [
        LiveFile(kind, day.isoformat() if isinstance(day, date) else str(day), path, size, rows)
        for kind, day, path, size, rows in (tuple(action[name] for name in columns) for action in actions)
    ]


def _merge(table: WordCounts, handle: DeltaTable, groups: Sequence[Sequence[LiveFile]]) -> list[DataFile]:
    dataset = handle.to_pyarrow_dataset()
    fragments = {fragment.path: fragment for fragment in dataset.get_fragments()}
    merged: list[DataFile] = []
    for group in groups:
        schema = COUNT_SCHEMA if group[0].kind == "count" else BATCH_SCHEMA
        chosen = [fragments[file.path] for file in group]
        rows = ds.FileSystemDataset(chosen, schema, dataset.format, dataset.filesystem).to_table()
        merged.append(write_merged(table.storage, table.root, group[0].partition, rows))
    return merged


def _replace(handle: DeltaTable, old: Sequence[LiveFile], new: Sequence[DataFile], now: datetime) -> None:
    # Not `optimize.compact`: whatever its retries, it catches up with the log just before it commits, and then removes
    # files that somebody else has replaced meanwhile: two at the same time double every row.
    now_ms = int(now.timestamp() * 1000)
    handle.create_write_transaction(
        [
            *(AddAction(f.path, f.size, f.partition, now_ms, False, f.stats) for f in new),
            *(RemoveAction(f.path, False, now_ms, f.size, dict(f.partition)) for f in old),
        ],
        "append",
        SCHEMA,
        PARTITION_BY,
        # Nor may this commit be rebased, for the same reason: any other commit since the handle was opened refuses it.
        commit_properties=CommitProperties(custom_metadata={"wordtide.merged": str(len(old))}, max_commit_retries=0),
    )


def vacuum(uri: str) -> int:
    """Delete files that no version of the last two days, or of a longer retention, names; return how many."""
    return len(full_vacuum(uri, dry_run=False))

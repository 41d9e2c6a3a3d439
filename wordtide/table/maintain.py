"""Keeps the table cheap: compaction between batches, vacuum as a job."""

from __future__ import annotations

import logging

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError

from wordtide.table.commit import RETENTION

log = logging.getLogger("wordtide")

LIVE_FILES = 800
"""Compaction keeps the table below 1,000 live files: at 5,000 a commit costs twice, at 50,000 ten times as much."""
TARGET_BYTES = 128 << 20
"""Files of this size are left alone, so that a day's counts are not rewritten again and again."""


def compact_if_needed(uri: str, live_files: int = LIVE_FILES) -> bool:
    """Merge small files when there are more than ``live_files``; return whether it did.

    Losing against another writer is no error: the next look tries again.
    """
    try:
        handle = DeltaTable(uri)
        if len(handle.file_uris()) <= live_files:
            return False
        # A rebase would accept the removal of files that somebody else has replaced (doubling their rows): no retries.
        handle.optimize.compact(target_size=TARGET_BYTES, commit_properties=CommitProperties(max_commit_retries=0))
    except (DeltaError, OSError) as error:
        log.info("compaction of %s left for later: %s", uri, error)
        return False
    return True


def vacuum(uri: str) -> int:
    """Delete files no version of the last two days names, orphans of killed attempts included; return how many."""
    hours = int(RETENTION.total_seconds() // 3600)
    # The default, lite, reads the log only and never finds an orphan.
    return len(DeltaTable(uri).vacuum(hours, dry_run=False, full=True))

"""The three ages of a table: of its log and snapshots, of replaced files, of files that no commit named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

SNAPSHOT_AGE = timedelta(minutes=10)
"""Up to this age a snapshot can be read: log entries, tombstones and files that compaction replaced are kept."""
LOG_OVERDUE = 2 * SNAPSHOT_AGE
"""delta-rs deletes old log entries, by mtime, when it writes a checkpoint. Older ones it cannot, or nobody commits."""
RETENTION = timedelta(days=2)
"""Files that no commit has named are left alone for this long: a batch in hand may be about to name them."""
STALE_PLAN = RETENTION / 4
"""A commit may name files that were deleted as nobody's, and Delta would accept it: older plans are made again."""

LOG_RETENTION = "delta.logRetentionDuration"
FILE_RETENTION = "delta.deletedFileRetentionDuration"
LOG_CLEANUP = "delta.enableExpiredLogCleanup"
AGES = {
    LOG_RETENTION: f"interval {SNAPSHOT_AGE.seconds // 60} minutes",
    FILE_RETENTION: f"interval {SNAPSHOT_AGE.seconds // 60} minutes",
}
"""The first as properties of the table: delta-rs goes by them at each checkpoint."""
FORMER_AGE = "interval 2 days"
"""What Wordtide 0.1.0 founded tables with. Any other value is somebody's choice, and stays."""
FOREVER = timedelta(days=36_500)
"""For what must not be deleted: a property that cannot be read might ask for any age."""

_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds")
_INTERVAL = re.compile(rf"(?:interval)?((?:\s*\d+\s*(?:{'|'.join(f'{unit}?' for unit in _UNITS)})\b)+)", re.IGNORECASE)
_PART = re.compile(r"(\d+)\s*([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ages:
    """What is younger than these is not deleted. A longer retention that somebody chose for the table holds.

    Attributes:
        log: Log entries.
        replaced: Files that a commit removed, from that commit on.
        unnamed: Files that no commit named.
    """

    log: timedelta
    replaced: timedelta
    unnamed: timedelta


def ages_of(properties: Mapping[str, str]) -> Ages:
    """Return the ages of a table with these properties."""
    log, files = _chosen(properties, LOG_RETENTION), _chosen(properties, FILE_RETENTION)
    keeps_log = properties.get(LOG_CLEANUP, "").strip().lower() == "false"
    return Ages(
        log=FOREVER if keeps_log else max(LOG_OVERDUE, log),
        replaced=max(SNAPSHOT_AGE, files),
        unnamed=max(RETENTION, files),
    )


def _chosen(properties: Mapping[str, str], name: str) -> timedelta:
    match = _INTERVAL.fullmatch(properties.get(name, AGES[name]).strip())
    if match is None:
        return FOREVER
    parts = {f"{unit.lower().removesuffix('s')}s": int(number) for number, unit in _PART.findall(match[1])}
    try:
        return min(FOREVER, timedelta(**parts))
    except OverflowError:
        return FOREVER

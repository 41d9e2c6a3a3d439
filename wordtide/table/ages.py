"""The three ages of a table: of its log and snapshots, of replaced files, of files that no commit named."""

from __future__ import annotations

from datetime import timedelta

SNAPSHOT_AGE = timedelta(minutes=10)
"""Up to this age a snapshot can be read: log entries, tombstones and files that compaction replaced are kept."""
LOG_OVERDUE = 2 * SNAPSHOT_AGE
"""delta-rs deletes old log entries, by mtime, when it writes a checkpoint. Older ones it cannot, or nobody commits."""
RETENTION = timedelta(days=2)
"""Files that no commit has named are left alone for this long: a batch in hand may be about to name them."""
STALE_PLAN = RETENTION / 4
"""A commit may name files that were deleted as nobody's, and Delta would accept it: older plans are made again."""

AGES = {
    "delta.logRetentionDuration": f"interval {SNAPSHOT_AGE.seconds // 60} minutes",
    "delta.deletedFileRetentionDuration": f"interval {SNAPSHOT_AGE.seconds // 60} minutes",
}
"""The first as properties of the table: delta-rs goes by them at each checkpoint."""
FORMER_AGE = "interval 2 days"
"""What Wordtide 0.1.0 founded tables with. Any other value is somebody's choice, and stays."""

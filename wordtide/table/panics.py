"""delta-rs panics where it did not expect something, and a panic is no Exception: here it becomes an error like others.

Seen on HDFS: another drain replaces `_last_checkpoint` by a shorter one between the two looks that reading it takes
("Cannot read past end of the file"; 4 of 500 openings while it is replaced all the time). A second try succeeds. Where
that happens in a thread of delta-rs's own, all that is left of it is "TokioMultiThreadExecutor has crashed".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DeltaRsPanicked(OSError):
    """A call of delta-rs ended in a panic."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise `DeltaRsPanicked` in place of a panic. Whether a commit happened before it the ledger says."""
    try:
        yield
    except BaseException as panic:
        # Each Rust library has a class of its own for them, which none exports.
        if type(panic).__name__ != "PanicException":
            raise
        raise DeltaRsPanicked(f"delta-rs panicked: {panic}") from panic

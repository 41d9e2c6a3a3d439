"""Locks between processes: whoever dies lets go, and nobody waits for ever."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordtide.core.problems import EnvironmentProblem


@contextmanager
def exclusive(path: Path, *, timeout: float, holder: str) -> Iterator[int]:
    """Hold the lock file `path`, alone among all processes and threads of this machine.

    Args:
        path: the lock file; created, and left in place (removing it would let two holders in).
        timeout: seconds to wait for another holder.
        holder: who the other one can be, for the error's text, e.g. "`wordtide up` or `down`".

    Yields:
        Its descriptor; a child that inherits it holds the lock on when its parent has died.

    Raises:
        EnvironmentProblem: another holder did not finish in time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EnvironmentProblem(
                        f"another {holder} has held {path} for {timeout:.0f} s: wait for it or end it, then try again"
                    ) from None
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)

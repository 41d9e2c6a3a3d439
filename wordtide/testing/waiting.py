"""Bounded waiting, and names nobody else uses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

SECONDS = 30.0
"""No wait for a server lasts longer."""


def unique(prefix: str) -> str:
    """Return a name nobody else uses on the servers."""
    return f"{prefix}_{uuid.uuid4().hex[:10]}"


def wait_until(what: str, happened: Callable[[], Any], seconds: float = SECONDS, every: float = 0.02) -> Any:
    """Return what ``happened`` returns once that is true.

    Args:
        what: What is waited for, for the error's text.
        happened: Asked again and again.
        seconds: The limit.
        every: Seconds between two questions; more where they would keep what is waited for from getting on.

    Raises:
        AssertionError: It was not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds:.0f} s: {what}")
        time.sleep(every)
    return found

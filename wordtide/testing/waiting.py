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


def wait_until(what: str, happened: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Return what ``happened`` returns once that is true.

    Raises:
        AssertionError: It was not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return found

"""What a soak has done: a line each, flushed at once, and how often."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any


class Journal:
    """A JSON line for everything that was done, in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        """How often each thing was done."""
        self._began = time.monotonic()

    def note(self, what: str, /, **details: Any) -> None:
        """Write down and count that something was done."""
        self.counts[what] += 1
        self.remark(what, **details)

    def remark(self, what: str, /, **details: Any) -> None:
        """Write something down without counting it."""
        line = {"s": round(time.monotonic() - self._began, 3), "what": what, **details}
        with self.path.open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")

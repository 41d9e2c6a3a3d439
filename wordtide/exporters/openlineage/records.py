"""What is told already, kept in `$WORDTIDE_HOME/lineage/<stream>`: a hint. Without it, batches are told again."""

from __future__ import annotations

import json
import logging
import os
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

log = logging.getLogger("wordtide")

KEPT_RUNS = 1000
"""Drain runs that wait to be told; beyond that the oldest are forgotten. Batches wait in the ledger, without limit."""


@dataclass(frozen=True, slots=True)
class End:
    """How a drain run ended.

    Attributes:
        state: COMPLETE, FAIL or ABORT.
        at: When (UTC).
        message: Why, if it failed.
        stack: Where, if nobody foresaw it.
    """

    state: str
    at: datetime
    message: str | None = None
    stack: str | None = None


@dataclass(frozen=True, slots=True)
class DrainRun:
    """A drain run that is not told to its end.

    Attributes:
        run_id: Dagster's.
        started: When (UTC).
        told: Whether its START is.
        end: How it ended; None while it goes on, or when it was killed.
    """

    run_id: str
    started: datetime
    told: bool = False
    end: End | None = None


class Records:
    """The records of one stream.

    Args:
        folder: Where they are; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = folder / "runs"
        self._cursor = folder / "told.json"

    def last_told(self, table_id: str | None, backend: str) -> int | None:
        """Return the last batch of a table that a backend has taken, -1 for none; None if nothing is known."""
        told = _read(self._cursor)
        if told is None or told.get("backend") != backend:
            return None
        # Another table is one that was founded since.
        return int(told["batch"]) if told.get("table") == table_id else -1

    def tell(self, table_id: str | None, backend: str, batch: int) -> None:
        """Record that a backend has taken everything up to a batch; without a table, nothing of one to come."""
        _write(self._cursor, {"table": table_id, "backend": backend, "batch": batch})

    def keep(self, run: DrainRun) -> None:
        """Record a run as it is now."""
        end = run.end
        _write(
            self._runs / f"{run.run_id}.json",
            {
                "started": run.started.isoformat(),
                "told": run.told,
                "end": end
                and {"state": end.state, "at": end.at.isoformat(), "message": end.message, "stack": end.stack},
            },
        )

    def forget(self, run: DrainRun) -> None:
        """Remove the record of a run that is told to its end."""
        (self._runs / f"{run.run_id}.json").unlink(missing_ok=True)

    def runs(self) -> list[DrainRun]:
        """Return the runs that are not told to their end, oldest first."""
        found = []
        for path in self._runs.glob("*.json"):
            content = _read(path)
            if content is not None:
                found.append(_run(path.stem, content))
        found.sort(key=lambda run: (run.started, run.run_id))
        for old in found[:-KEPT_RUNS]:
            log.warning("lineage: run %s was never told and is forgotten: more than %d wait", old.run_id, KEPT_RUNS)
            self.forget(old)
        return found[-KEPT_RUNS:]


def _run(run_id: str, content: dict[str, Any]) -> DrainRun:
    end = content["end"]
    return DrainRun(
        run_id,
        datetime.fromisoformat(content["started"]),
        content["told"],
        end and End(end["state"], datetime.fromisoformat(end["at"]), end["message"], end["stack"]),
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        # Cut short by a power cut: as if it had never been written.
        return None
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two runs of a stream may write at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, path)

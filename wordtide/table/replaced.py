"""What compactions replaced: a list for each, written before it commits, by which the files are deleted later.

A compaction is never rebased, so the version that it commits is known before: the list is named by it. Whether it was
this compaction that committed that version is decided when the list is read, so that a process may die anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from wordtide.storage import Storage
from wordtide.table.ages import Ages
from wordtide.table.deltalog import DeltaLog

FOLDER = "_upkeep"
"""In the table's folder; no reader of Delta or Parquet looks into folders that begin like this."""
FILES_A_LIST = 500
"""So many are deleted at once at most."""
_NAME = re.compile(r"(\d{20})-[0-9a-f]{32}-\d+\.json")


@dataclass(frozen=True, slots=True)
class ReplacedFiles:
    """One list. Paths are relative to the table.

    Attributes:
        version: The version that removes the files.
        added: The files that the same commit adds, by which it is recognised; empty where it is known to be there.
        removed: The files that nobody needs once the commit is old enough.
        written_ms: When the list was written, right before the commit (ms since the epoch).
        readable: Whether the list is whole; nothing but its version is known else.
    """

    version: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    written_ms: int
    readable: bool = True


class _List(BaseModel):
    """What a list holds."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


class Fate(StrEnum):
    """What becomes of a list."""

    OPEN = "open"
    """Its commit is not old enough: it waits."""
    DUE = "due"
    """Its commit is older than any snapshot: the removed files are deleted, but for those that live again."""
    VOID = "void"
    """Another commit has the version: what was to be added never will be, and is deleted."""
    UNKNOWN = "unknown"
    """Nothing shows any more whose commit it was, or it is cut off: it goes, its files are left to the vacuum."""


def write_lists(
    storage: Storage, root: str, version: int, added: Sequence[str], removed: Sequence[str], token: str
) -> None:
    """Write down what the commit of a version is going to add and remove.

    Args:
        storage: Where the table lives.
        root: The table's folder.
        version: The only version that the commit can get.
        added: See `ReplacedFiles`.
        removed: See `ReplacedFiles`.
        token: 32 hexadecimal digits that no other commit has.
    """
    for number, start in enumerate(range(0, len(removed), FILES_A_LIST)):
        part = {"added": list(added), "removed": list(removed[start : start + FILES_A_LIST])}
        path = f"{root}/{FOLDER}/{version:020d}-{token}-{number}.json"
        storage.write_durably(path, [json.dumps(part).encode()])


def read_lists(storage: Storage, root: str) -> Iterator[tuple[str, ReplacedFiles]]:
    """Yield the path and the content of each list, oldest version first; one deleted meanwhile is left out."""
    folder = f"{root}/{FOLDER}"
    if not storage.exists(folder):
        return
    found = sorted(
        (file.path, file.length, int(match[1]), file.mtime_ms)
        for file in storage.list_files(folder)
        if (match := _NAME.fullmatch(file.path.rpartition("/")[2]))
    )
    contents = storage.read_small([(path, length) for path, length, _, _ in found])
    for (path, _, version, written_ms), content in zip(found, contents, strict=True):
        if isinstance(content, bytes):
            try:
                part = _List.model_validate_json(content)
            except ValueError:
                yield path, ReplacedFiles(version, (), (), written_ms, readable=False)
                continue
            yield path, ReplacedFiles(version, part.added, part.removed, written_ms)


def is_young(one: ReplacedFiles, log: DeltaLog, now: datetime, ages: Ages) -> bool:
    """Return whether a list waits, whoever's commit its version is."""
    if one.version > log.newest:
        return True
    # An entry that left the log shows no age, for files may be kept for longer; the list was written right before it.
    return log.ages.get(one.version, one.written_ms) > _bound_ms(now, ages.replaced)


def fate(
    one: ReplacedFiles, actions: Sequence[Mapping[str, Any]] | None, known: Collection[str], now: datetime, ages: Ages
) -> Fate:
    """Return what becomes of a list that is not young.

    Args:
        one: The list.
        actions: Those of the version's entry in the log; None where there is no such entry any more.
        known: Paths that were committed for sure: live files, and what other lists remove.
        now: The time (UTC).
        ages: The table's.
    """
    if not one.readable:
        return Fate.UNKNOWN
    ours = not one.added or any(path in known for path in one.added)
    if actions is None:
        # An entry leaves the log once it is older than any snapshot; see `is_young`.
        return Fate.DUE if ours else Fate.UNKNOWN
    if not ours and not any(unquote(action.get("add", {}).get("path", "")) in one.added for action in actions):
        return Fate.VOID
    removed_ms = (action["remove"].get("deletionTimestamp") or 0 for action in actions if "remove" in action)
    return Fate.OPEN if max(removed_ms, default=0) > _bound_ms(now, ages.replaced) else Fate.DUE


def _bound_ms(now: datetime, age: timedelta) -> float:
    return (now - age).timestamp() * 1000

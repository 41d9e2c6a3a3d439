"""Which landed files to take next: pure decisions over a listing and what the table has taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from wordtide.core.model import FileSplit, Parked, Taken
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.names import speakable
from wordtide.storage.base import FileInfo

RESTLESS_SECONDS = 1.0
"""A file that changed under several plans in a row must have been left alone for at least this long."""
_RESTLESS_TIMES = 10


@dataclass(frozen=True, slots=True)
class LandingPlan:
    """What one look at a landing folder leads to.

    Attributes:
        splits: Whole files to take now, oldest first.
        parked: Files that wait for an operator from now on.
        waiting: Files that are too young or still being written: look again.
        young: Which of them are too young.
        backlog_files: Complete files not taken yet, those in ``splits`` included.
        backlog_bytes: Their length in all.
        behind: The caps left complete files out.
    """

    splits: tuple[FileSplit, ...]
    parked: tuple[Parked, ...]
    waiting: int
    backlog_files: int
    backlog_bytes: int
    behind: bool
    young: tuple[FileInfo, ...] = ()


def plan_landing(
    listing: Iterable[FileInfo],
    taken: Mapping[str, Taken],
    parked: Collection[str],
    *,
    stillness: Stillness,
    max_files: int,
    max_bytes: int,
    under_construction: Callable[[str], bool],
    suspects: Mapping[str, int] = MappingProxyType({}),
    replaced: Mapping[str, str] = MappingProxyType({}),
) -> LandingPlan:
    """Decide what to take.

    When a file is complete is for `wordtide.sources.files.complete`. On HDFS it must not be open either. That question
    costs a request each, so it is put only for lengths that let an open file pass for a complete one: 0 and whole
    blocks. Of any other open file the reader gets fewer bytes than planned (hdfs-native ignores an unfinished block)
    and refuses it; the next plan gets it as a suspect. (Not seen: a writer between two blocks that it ended early, by
    `hsync` with END_BLOCK. What it adds later has another identity and is parked.)

    Args:
        listing: The candidates among the files below the landing folder; see `wordtide.sources.files.names`.
        taken: What the table has, by path.
        parked: What waits for an operator; skipped.
        stillness: Decides which young files are complete.
        max_files: At most so many files; at least one is taken.
        max_bytes: At most so many bytes; a single larger file is taken alone.
        under_construction: Whether a writer has the file open.
        suspects: Paths to ask about whatever their length, and how often they were not as planned. One that never
            keeps still waits, so that the others can be taken.
        replaced: Paths whose content is not what was taken, and why, whatever their length and mtime say.

    Returns:
        The plan. 10,000 unknown files take some tens of ms.
    """
    young_after, now_ms = stillness.young_after_ms, stillness.clock_ms
    waiting = 0
    young: list[FileInfo] = []
    complete: list[tuple[int, str, int, int, int]] = []
    to_park: list[Parked] = []
    for file in listing:
        path, length, mtime, block_size, file_id = file
        known = taken.get(path)
        if known is not None and known[:2] == (length, mtime) and path not in replaced:
            continue
        what, reason = _objection(path, length, mtime, known)
        if what in parked or (what != path and what in taken and taken[what][:2] == (length, mtime)):
            continue
        reason = replaced.get(path, reason)
        restless = suspects.get(path, 0) >= _RESTLESS_TIMES and abs(now_ms - mtime) < RESTLESS_SECONDS * 1000
        if restless:
            waiting += 1
        elif mtime > young_after and not stillness.is_complete(file):
            young.append(file)
        elif reason is not None:
            to_park.append(Parked(what, reason, FileSplit(what, length, mtime, 0, length, file_id=file_id)))
        else:
            complete.append((mtime, path, length, block_size, file_id))
    complete.sort()
    splits: list[FileSplit] = []
    planned_bytes = 0
    unfinished_bytes = unfinished = 0
    for mtime, path, length, block_size, file_id in complete:
        if splits and (len(splits) >= max_files or planned_bytes + length > max_bytes):
            break
        doubtful = length == 0 or (block_size > 0 and length % block_size == 0) or path in suspects
        if doubtful and under_construction(path):
            unfinished += 1
            unfinished_bytes += length
            continue
        splits.append(FileSplit(path, length, mtime, 0, length, file_id=file_id))
        planned_bytes += length
    backlog_files = len(complete) - unfinished
    return LandingPlan(
        splits=tuple(splits),
        parked=tuple(sorted(to_park, key=lambda entry: entry.what)),
        waiting=waiting + len(young) + unfinished,
        backlog_files=backlog_files,
        backlog_bytes=sum(entry[2] for entry in complete) - unfinished_bytes,
        behind=backlog_files > len(splits),
        young=tuple(young),
    )


def cut(split: FileSplit, size: int) -> list[FileSplit]:
    """Return a plain text file as byte ranges of at most ``size`` bytes for readers side by side."""
    if split.end - split.start <= size:
        return [split]
    starts = range(split.start, split.end, size)
    return [replace(split, start=start, end=min(start + size, split.end)) for start in starts]


def _objection(path: str, length: int, mtime: int, known: Taken | None) -> tuple[str, str | None]:
    """Return the name by which a file is parked, and why it must be, if it must."""
    name = speakable(path)
    if name != path:
        return name, "its name is not UTF-8; rename it"
    if known is not None:
        was, now = _identity(known.length, known.mtime), _identity(length, mtime)
        # The same bytes under another time cannot be known for that.
        undigested = known.digest is None and known.length == length
        unproven = " without a digest (skipped, or counted by an older Wordtide)" if undigested else ""
        return path, f"replaced or appended to: taken as {was}{unproven}, now {now}"
    return path, None


def _identity(length: int, mtime: int) -> str:
    """Return a file's length and time for people."""
    try:
        moment = datetime.fromtimestamp(mtime / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        moment = f"{mtime} ms since 1970"
    return f"{length} bytes of {moment}"

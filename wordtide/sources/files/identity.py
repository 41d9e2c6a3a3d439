"""Which landed files may not be what their path and the ledger say, and what their content decides. Pure.

A file that was taken is known by path, length and mtime. What its file system knows it by, or an mtime alone, raises a
doubt, which only the content settles: the CRC-32 of the bytes that were counted against that of the bytes there now.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from wordtide.core.model import MARK_SHIFT, FileSplit, Parked, Taken
from wordtide.storage import fileid
from wordtide.storage.base import FileInfo


@dataclass(frozen=True, slots=True)
class Doubt:
    """A file whose content has to say whether it is one that was taken.

    Attributes:
        file: As it is listed.
        taken: What the ledger knows of the one it may be.
        name: The path under which that one was taken; mostly the file's own.
    """

    file: FileInfo
    taken: Taken
    name: str

    @property
    def of_another(self) -> bool:
        """Whether it may be what was taken under another path."""
        return self.name != self.file.path

    @property
    def of_id_alone(self) -> bool:
        """Whether length and time are those of what was taken under this path."""
        return not self.of_another and self.file.mtime_ms == self.taken.mtime


class Unreadable(str):
    """Why a file's content cannot be compared, in place of its digest."""

    __slots__ = ()


Found = int | Unreadable | None
"""The CRC-32 of a file's content as it is now; why there is none; None: not known yet."""


def is_taken(file: FileInfo, known: Taken | None) -> bool:
    """Return whether a listed file is, beyond doubt, what the ledger has under its path."""
    # By place, not by name: this runs for each file of the folder at each look.
    return (
        known is not None
        and known[0] == file[1]
        and known[1] == file[2]
        and (known[2] >> MARK_SHIFT == file[4] or not fileid.raises_doubt(known[2] >> MARK_SHIFT, file[4]))
    )


def doubt_of(file: FileInfo, known: Taken | None) -> Doubt | None:
    """Return the doubt about a file that `is_taken` does not hold for; None where its content could not settle it.

    Of another length it is another file; without a digest, as older Wordtides left it, nothing is to compare with.
    """
    if known is None or known.digest is None or known.length != file.length:
        return None
    return Doubt(file, known, file.path)


def settled(doubt: Doubt, found: Found, *, still_there: bool = False) -> Parked | None:
    """Return what the ledger is to record of a file that is, by its content, what was taken; None if it is not.

    Args:
        doubt: The doubt.
        found: Its content's digest.
        still_there: Whether what it may be is still there under its own path.
    """
    if found != doubt.taken.digest or isinstance(found, Unreadable):
        return None
    file = doubt.file
    detail = None
    if doubt.of_another and still_there:
        reason, detail = f"same file as {doubt.name}, which was counted: a link", {"same_as": doubt.name}
    elif doubt.of_another:
        reason, detail = f"same file as {doubt.name}, which was counted: it was moved", {"moved_from": doubt.name}
    elif file.mtime_ms != doubt.taken.mtime:
        reason = "same bytes as counted; only its time has changed"
    else:
        reason = "same bytes as counted; only its inode, file id or change time is another"
    identity = (file.path, file.length, file.mtime_ms, 0, file.length)
    split = FileSplit(*identity, file_id=file.file_id, digest=doubt.taken.digest)
    return Parked(file.path, reason, split, detail=detail)


def replaced(doubt: Doubt, found: Found) -> str | None:
    """Return why a file that keeps its length is not what was taken; None where its length or time says so already."""
    if isinstance(found, Unreadable):
        return f"changed since it was counted, and cannot be compared with what was: {found}"
    if found is None or found == doubt.taken.digest or doubt.file.mtime_ms != doubt.taken.mtime:
        return None
    return f"replaced: its {doubt.file.length} bytes are others than those counted, of the same length and time"


def first_names(files: Iterable[FileInfo], known: Container[str]) -> dict[str, str]:
    """Return, for each path that is a further name of a file listed under another one, that other one.

    One listing shows one moment: two paths with one id, ctime included, are links to each other. The first name is one
    that the ledger does not know, if there is one: a known path that leads to another file now is a link set anew.

    Args:
        files: Listed files that are not taken.
        known: Paths that the ledger knows.
    """
    seen: dict[int, str] = {}
    linked: dict[int, list[str]] = {}
    for file in files:
        if file.file_id and seen.setdefault(file.file_id, file.path) != file.path:
            linked.setdefault(file.file_id, [seen[file.file_id]]).append(file.path)
    found: dict[str, str] = {}
    for paths in linked.values():
        first = min(paths, key=lambda path: (path in known, path))
        found |= dict.fromkeys((path for path in paths if path != first), first)
    return found


def namesake(file: FileInfo, candidates: Iterable[tuple[str, Taken]]) -> Doubt | None:
    """Return the doubt whether a file is one that was taken under another path: a link to it, or moved.

    Args:
        file: As it is listed.
        candidates: Path and entry of files that were taken.
    """
    alike = (
        Doubt(file, taken, path)
        for path, taken in candidates
        if path != file.path
        and fileid.same_node(taken.file_id, file.file_id)
        and (taken.length, taken.mtime) == (file.length, file.mtime_ms)
        and taken.digest is not None
    )
    return min(alike, key=lambda doubt: doubt.name, default=None)


def in_order(settlements: Mapping[str, tuple[Doubt, Parked]], pending: set[str]) -> list[tuple[Doubt, Parked]]:
    """Return what may be recorded now, in one batch: no path is given to another file before its own has a new one.

    Args:
        settlements: What is settled, by path.
        pending: Paths whose counted file may be elsewhere, which is not known yet.
    """
    waiting, left = set(pending), dict(settlements)
    while blocked := left.keys() & waiting:
        for path in blocked:
            doubt, _ = left.pop(path)
            waiting.discard(path)
            if doubt.of_another:
                waiting.add(doubt.name)
    return list(left.values())

"""Which landed files may not be what their path and the ledger say, and what their content decides. Pure.

A file that was taken is known by path, length and mtime. What its file system knows it by, or an mtime alone, raises a
doubt, which only the content settles: the CRC-32 of the bytes that were counted against that of the bytes there now.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wordtide.core.model import MARK_SHIFT, FileSplit, Parked, Taken
from wordtide.sources.files.names import speakable
from wordtide.storage import fileid
from wordtide.storage.base import FileInfo


@dataclass(frozen=True, slots=True)
class Doubt:
    """A file whose content has to say whether it is one that was taken.

    Attributes:
        file: As it is listed.
        taken: What the ledger knows of the one it may be.
        name: The path under which that one was taken; mostly the file's own.
        skipped: Whether that one was left out by an operator, not counted.
        stalled_as: The path under which the ledger has it recorded as one that cannot be read, and is not taken any
            more under the other; None: it is taken.
    """

    file: FileInfo
    taken: Taken
    name: str
    skipped: bool = False
    stalled_as: str | None = None

    @property
    def of_another(self) -> bool:
        """Whether it may be what was taken under another path."""
        return self.name != self.file.path or self.stalled_as is not None

    @property
    def origin(self) -> str | None:
        """The other path that is not free for another file before this is settled; None if none is."""
        return self.name if self.of_another and self.stalled_as is None else None

    @property
    def line(self) -> str:
        """The file and what is doubtful, for a person."""
        was = "skipped" if self.skipped else "counted"
        if self.of_another:
            return f"{self.file.path}: may be {self.name}, which was {was}, under another name"
        if self.of_id_alone:
            return f"{self.file.path}: its inode, file id or change time is not that of the file {was}"
        return f"{self.file.path}: of the same length as the file {was}, and of another time"

    @property
    def of_id_alone(self) -> bool:
        """Whether length and time are those of what was taken under this path."""
        return not self.of_another and self.file.mtime_ms == self.taken.mtime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that was taken.

    Attributes:
        path: Under which.
        taken: Its entry.
        skipped, stalled_as: See `Doubt`.
    """

    path: str
    taken: Taken
    skipped: bool = False
    stalled_as: str | None = None


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


def doubts_of(file: FileInfo, known: Taken | None, candidates: Iterable[Candidate], *, skipped: bool) -> list[Doubt]:
    """Return what a file that `is_taken` does not hold for may be, the likeliest first; empty if it is another file.

    Of another length it is another file; without a digest, as older Wordtides left it, nothing is to compare with.

    Args:
        file: As it is listed.
        known: What was taken under its path.
        candidates: What was taken under any path and has the node of one of the files listed.
        skipped: Whether an operator left out what was taken under its path.
    """
    doubts = []
    if known is not None and known.digest is not None and known.length == file.length:
        doubts.append(Doubt(file, known, file.path, skipped))
    moved = _namesake(file, candidates)
    if moved is not None:
        # What changed names with others shows its own inode: it is likelier to be that than what had its path before.
        same = known is not None and fileid.same_node(known.file_id, file.file_id)
        doubts.insert(len(doubts) if same else 0, moved)
    return doubts


def decided(doubts: Sequence[Doubt], found: Found) -> Doubt:
    """Return, of the doubts about one file, the one that its content holds for; else the one to be spoken of."""
    if found is None or isinstance(found, Unreadable):
        return doubts[0]
    holds = (doubt for doubt in doubts if doubt.taken.digest == found)
    of_its_own = (doubt for doubt in doubts if not doubt.of_another)
    return next(holds, next(of_its_own, doubts[0]))


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
    was = "skipped" if doubt.skipped else "counted"
    detail = None
    if doubt.stalled_as is not None:
        moved = f"same file as {doubt.name}, which was {was}: it was moved"
        reason = f"{moved if doubt.name != file.path else f'same file as was {was}'}, and can be read again"
        detail = {"stalled_as": doubt.stalled_as, "was": doubt.name}
    elif doubt.of_another and still_there:
        reason, detail = f"same file as {doubt.name}, which was {was}: a link", {"same_as": doubt.name}
    elif doubt.of_another:
        reason, detail = f"same file as {doubt.name}, which was {was}: it was moved", {"moved_from": doubt.name}
    elif file.mtime_ms != doubt.taken.mtime:
        reason = f"same bytes as {was}; only its time has changed"
    else:
        reason = f"same bytes as {was}; only its inode, file id or change time is another"
    identity = (file.path, file.length, file.mtime_ms, 0, file.length)
    split = FileSplit(*identity, file_id=file.file_id, digest=doubt.taken.digest)
    return Parked(file.path, reason, split, detail=detail)


def replaced(doubt: Doubt, found: Found) -> str | None:
    """Return why a file that keeps its length is not what was taken; None where its length or time says so already."""
    if not isinstance(found, int) or found == doubt.taken.digest or doubt.file.mtime_ms != doubt.taken.mtime:
        return None
    was = "skipped" if doubt.skipped else "counted"
    return f"replaced: its {doubt.file.length} bytes are others than those {was}, of the same length and time"


def first_names(files: Iterable[FileInfo], known: Container[str], parked: Container[str]) -> dict[str, str]:
    """Return, for each path that is a further name of a file listed under another one, that other one.

    One listing shows one moment: two paths with one id, ctime included, are links to each other. The first name is one
    that waits for a decision, so that there is one decision; else one that the ledger does not know, if there is one: a
    known path that leads to another file now is a link set anew. A name that no table can hold is the last choice.

    Args:
        files: Listed files that are not taken.
        known: Paths that the ledger knows.
        parked: Paths that wait for a decision.
    """
    seen: dict[int, str] = {}
    linked: dict[int, list[str]] = {}
    for file in files:
        if file.file_id and seen.setdefault(file.file_id, file.path) != file.path:
            linked.setdefault(file.file_id, [seen[file.file_id]]).append(file.path)
    found: dict[str, str] = {}
    for paths in linked.values():
        first = min(paths, key=lambda path: (speakable(path) != path, path not in parked, path in known, path))
        found |= dict.fromkeys((path for path in paths if path != first), first)
    return found


def _namesake(file: FileInfo, candidates: Iterable[Candidate]) -> Doubt | None:
    """Return the doubt whether a file is one that was taken under another path: a link to it, or moved."""
    if speakable(file.path) != file.path:
        # It is parked for its name. As long as it has that one, nothing can be recorded of it.
        return None
    alike = (
        Doubt(file, one.taken, one.path, one.skipped, one.stalled_as)
        for one in candidates
        if (one.path != file.path or one.stalled_as is not None)
        and fileid.same_node(one.taken.file_id, file.file_id)
        and (one.taken.length, one.taken.mtime) == (file.length, file.mtime_ms)
        and one.taken.digest is not None
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
            if doubt.origin is not None:
                waiting.add(doubt.origin)
    return list(left.values())

"""What of a landing folder cannot be read at this moment: left out by name, tried again, and never in anybody's way.

A bad sector, a block without a sound copy, a missing key or permission may mend by themselves or by somebody's hand,
and nothing tells when: so such files are tried again, ever more rarely, and counted when they can be read. Pure: what
was seen, and monotonic times, come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from wordtide.core.model import FileSplit, Parked
from wordtide.core.retries import Retries
from wordtide.core.stalls import CONFIRM_SECONDS, Held
from wordtide.sources.files.identity import Doubt, Found, Unreadable
from wordtide.sources.files.names import Names, Verdict, speakable
from wordtide.storage.base import FileInfo
from wordtide.storage.survey import Closed, Odd
from wordtide.table.ledger import Ledger
from wordtide.table.splits import MAY_BE, STALLED_AS

LONGEST_PAUSE_SECONDS = 600.0
"""Between two tries at most."""
_AGAIN = "retried automatically"

Key = tuple[str, int, int]
"""Path, length and mtime."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """The new files of one poll.

    Attributes:
        fresh: Those that nothing is known against.
        again: Those that could not be read and are to be tried now.
        held: Those that wait, and all that are recorded as unreadable.
    """

    fresh: Sequence[FileInfo]
    again: Sequence[FileInfo] = ()
    held: tuple[Held, ...] = ()


@dataclass(slots=True)
class Unreadables:
    """Remembers, within one run, which files could not be read.

    Attributes:
        reasons: Why, by file.
        retries: When each is due again.
    """

    reasons: dict[Key, str] = field(default_factory=dict)
    retries: Retries = field(default_factory=lambda: Retries(CONFIRM_SECONDS, LONGEST_PAUSE_SECONDS))

    def failed(self, file: FileSplit, reason: str, now: float) -> None:
        """Take in that a file could not be read."""
        key = (file.path, file.length, file.mtime)
        self.reasons[key] = f"{reason} ({_AGAIN})"
        self.retries.failed(key, now)

    def sort(self, files: Sequence[FileInfo], ledger: Ledger, now: float) -> Sorted:
        """Tell the files that could not be read from the others.

        Args:
            files: Those not taken yet.
            ledger: What the table has recorded as stalled.
            now: Monotonic seconds.
        """
        if not self.reasons and not ledger.stalled:
            return Sorted(files)
        fresh: list[FileInfo] = []
        again: list[FileInfo] = []
        held: list[Held] = []
        known: set[Key] = set()
        for file in files:
            key = (file.path, file.length, file.mtime_ms)
            reason = self.reasons.get(key)
            recorded = recorded_reason(ledger, *key)
            if reason is None and recorded is None:
                fresh.append(file)
                continue
            known.add(key)
            due = self.retries.due(key, now)
            if due:
                again.append(file)
            if recorded is not None or not due:
                split = FileSplit(file.path, file.length, file.mtime_ms, 0, file.length, file_id=file.file_id)
                held.append(_held(file.path, reason, recorded, split))
        self.reasons = {key: reason for key, reason in self.reasons.items() if key in known}
        self.retries.keep(known)
        return Sorted(fresh, again, tuple(held))


def recorded_reason(ledger: Ledger, path: str, length: int, mtime: int) -> str | None:
    """Return why the ledger has this file recorded as unreadable, if it has."""
    recorded = ledger.stalled.get(path)
    if recorded is None or not isinstance(recorded.split, FileSplit):
        return None
    same = (recorded.split.length, recorded.split.mtime) == (length, mtime)
    return recorded.reason if same else None


def closed_entries(closed: Sequence[Closed], names: Names, skip: int, ledger: Ledger) -> tuple[Held, ...]:
    """Return what cannot be looked at, of what the glob may mean.

    Args:
        closed: What a listing could not look at.
        names: Decides whether it, or anything in it, can be meant.
        skip: Characters of the landing folder's path, its slash included.
        ledger: What the table has. A file that it has counted, or somebody has decided about, needs no look.
    """
    held = []
    for entry in closed:
        relative = entry.path[skip:]
        if not (names.may_hold(relative) if entry.folder else names.verdict(relative) is Verdict.WANTED):
            continue
        what = speakable(entry.path)
        if what in ledger.files or what in ledger.parked:
            continue
        below = "; nothing in it is counted" if entry.folder else ""
        reason = f"{entry.problem.reason}{below} ({_AGAIN})"
        # No length and no mtime: nothing is known of it but its name.
        held.append(_held(what, reason, recorded_reason(ledger, what, 0, 0), FileSplit(what, 0, 0, 0, 0)))
    return tuple(held)


def _held(what: str, reason: str | None, recorded: str | None, split: FileSplit) -> Held:
    changed = reason is not None and recorded is not None and not recorded.startswith(reason)
    said = reason if changed or recorded is None else recorded
    assert said is not None
    return Held(Parked(what, said, split), False, recorded is not None, CONFIRM_SECONDS, changed)


def held_unproven(doubt: Doubt, found: Found, ledger: Ledger, *, still_there: bool) -> Held | None:
    """Return that a file cannot be compared with what it may be; None if that is not known.

    It is settled once it can be read. If it may be what was counted under another path, that is recorded with it: then
    its former path is free for another file.

    Args:
        doubt: The doubt about it.
        found: Why it cannot be read; None: it is not tried yet, in this run.
        ledger: What is recorded.
        still_there: Whether what it may be is still there under its own path, which stays its own.
    """
    file = doubt.file
    split = FileSplit(file.path, file.length, file.mtime_ms, 0, file.length, file_id=file.file_id)
    recorded = recorded_reason(ledger, file.path, file.length, file.mtime_ms)
    was = "skipped" if doubt.skipped else "counted"
    moved = f"same inode or file id as {doubt.name}, which was {was}"
    known = moved if doubt.of_another else f"changed since it was {was}"
    reason = f"{found}; {known} ({_AGAIN})" if isinstance(found, Unreadable) else None
    if recorded is None and reason is None:
        return None
    if still_there or not doubt.of_another:
        return _held(file.path, reason, recorded, split)
    one = _held(file.path, reason, recorded, replace(split, file_id=doubt.taken.file_id, digest=doubt.taken.digest))
    unsaid = recorded is not None and file.path not in ledger.unproven
    detail = {MAY_BE: doubt.name} | ({STALLED_AS: doubt.stalled_as} if doubt.stalled_as is not None else {})
    return replace(one, parked=replace(one.parked, detail=detail), changed=one.changed or unsaid)


def held_link(file: FileInfo, first: str | None, ledger: Ledger) -> Held | None:
    """Return that a further name of a file waits with it; None where that one does not wait.

    Args:
        file: As it is listed.
        first: The other name; None: it is no link.
        ledger: What waits.
    """
    if first is None or file.path in ledger.parked or speakable(file.path) != file.path:
        return None
    if first not in ledger.parked and first not in ledger.stalled:
        return None
    waits = "waits for a decision" if first in ledger.parked else "cannot be read"
    split = FileSplit(file.path, file.length, file.mtime_ms, 0, file.length, file_id=file.file_id)
    reason = f"same file as {first}, which {waits}: a link, it goes with that one"
    recorded = recorded_reason(ledger, file.path, file.length, file.mtime_ms)
    return _held(file.path, reason, recorded, split)


def odd_entries(odd: Sequence[Odd], names: Names, skip: int) -> list[str]:
    """Return what is neither file nor folder, of what the glob means: each path with what it is."""
    wanted = [entry for entry in odd if names.verdict(entry.path[skip:]) is Verdict.WANTED]
    return [f"{speakable(entry.path)} ({entry.what})" for entry in wanted]

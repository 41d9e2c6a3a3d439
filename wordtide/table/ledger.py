"""The ledger: what the table's `batch` rows say has been taken, and what waits for a decision.

The rows are the truth; a `Ledger` is a cache of them that is caught up by batch number and thrown away freely.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime

from wordtide.core.model import MARK_SHIFT, FileSplit, Mark, Split, Status, Taken
from wordtide.storage import fileid
from wordtide.table.nodes import NO_KEY, KeyIndex
from wordtide.table.record import LedgerEntry, SplitRecord
from wordtide.table.splits import CONTENT_AS, FREED, MAY_BE, STALLED_AS, is_marked, paths_freed_by, split_of, taken_of

STAGED_KEPT = 10_000
"""Of so many folders of files put away it is remembered that they were recorded: a crash leaves one, or a few."""
_PAST_KEPT = 1000
"""So many entries of files that are no longer there an index may always have: making a new one has a cost."""


@dataclass(frozen=True, slots=True)
class ParkedSince:
    """Something that waits for an operator's decision, or is stalled, and since when (UTC).

    Attributes:
        split: The range or file identity that the ledger recorded, if any.
        not_text: Whether it waits because its values are no text.
        may_be: The path under which the file was counted, if it is the one of the split's digest, which nobody can
            compare yet.
    """

    what: str
    reason: str
    since: datetime
    split: Split | None = None
    not_text: bool = False
    may_be: str | None = None


@dataclass(slots=True)
class Ledger:
    """What the batch rows up to ``last`` say.

    Attributes:
        table_id: The Delta table they belong to.
        identity: What the positions belong to, from batch 0.
        identity_since: The batch that recorded it: 0, or a decision about a recreated topic.
        fingerprint: What defines the table's meaning, from batch 0.
        last: Highest batch number taken in; -1 before any.
        version: Delta version at which ``last`` was known to be there.
        files: Landed files taken, by path; those that were put away are not among them any more.
        away: How many were put away.
        staged: Folders in which files wait to be put away and are recorded as such, with the batch that did; at least
            the newest `STAGED_KEPT`.
        links: Which of them are further names of a file that was counted under another one.
        skipped: Which of them were never counted: an operator left them out.
        repeats: Which of them had length and digest of another one when they were counted, and that one's path.
        parked: What waits for a decision, by name.
        stalled: What was recorded as stalled last, by name. Whether it still is depends on the position.
        as_text: Whether an operator said that the topic's values are text, whatever they look like.
    """

    table_id: str
    identity: Mapping[str, str] = field(default_factory=dict)
    identity_since: int = 0
    fingerprint: str = ""
    last: int = -1
    version: int = -1
    files: dict[str, Taken] = field(default_factory=dict)
    away: int = 0
    staged: dict[str, int] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    parked: dict[str, ParkedSince] = field(default_factory=dict)
    stalled: dict[str, ParkedSince] = field(default_factory=dict)
    as_text: bool = False
    repeats: dict[str, str] = field(default_factory=dict)
    _nodes: KeyIndex | None = field(default=None, compare=False, repr=False)
    _contents: KeyIndex | None = field(default=None, compare=False, repr=False)

    @property
    def of_topic(self) -> bool:
        """Whether the source is a topic, whose positions are `txn` actions; a folder's are its files."""
        return "topic" in self.identity

    @property
    def taken(self) -> int:
        """How many files were taken, those put away included."""
        return len(self.files) + self.away - len(self.links) + len(self.unproven)

    @property
    def unproven(self) -> dict[str, tuple[str, Taken]]:
        """By path, the files that cannot be read and may have been counted: the path they had then, and the entry."""
        return {
            what: (one.may_be, Taken.of(one.split.length, one.split.mtime, one.split.file_id, one.split.digest))
            for what, one in self.stalled.items()
            if one.may_be is not None and isinstance(one.split, FileSplit)
        }

    def with_nodes(self, numbers: Collection[int]) -> list[tuple[str, Taken]]:
        """Return path and entry of the files taken that have the node of one of these ids."""
        if not any(numbers):
            return []
        if self._nodes is None or self._is_mostly_past(self._nodes):
            # Only now: looks that find nothing new never ask, and neither do topics.
            self._nodes = KeyIndex((path, fileid.node(taken.file_id)) for path, taken in self.files.items())
        found = self._nodes.find([fileid.node(number) for number in numbers])
        return [(path, self.files[path]) for path in found if path in self.files]

    def with_contents(self, contents: Collection[tuple[int, int]]) -> list[tuple[str, Taken]]:
        """Return path and entry of the files taken that had one of these (length, digest)."""
        if self._contents is None or self._is_mostly_past(self._contents):
            self._contents = KeyIndex((path, _content(taken)) for path, taken in self.files.items())
        found = self._contents.find([_content(Taken.of(length, 0, 0, digest)) for length, digest in contents])
        return [(path, self.files[path]) for path in found if path in self.files]

    def _is_mostly_past(self, index: KeyIndex) -> bool:
        # What keeps a ledger for weeks, such as Dagster's sensors, would remember all files that were ever put away.
        return len(index) > 2 * len(self.files) + _PAST_KEPT

    def forget(self) -> None:
        """Be as new, so that the next look reads all rows: what is half taken in must never be caught up."""
        new = Ledger(self.table_id)
        for one in fields(self):
            setattr(self, one.name, getattr(new, one.name))

    def waiting(self, what: str) -> ParkedSince | None:
        """Return what an operator may decide about, by name: something parked, or a file that cannot be read."""
        return self.parked.get(what) or self.unreadable.get(what)

    @property
    def unreadable(self) -> dict[str, ParkedSince]:
        """The files and folders recorded as stalled: they could not be read, and were not counted since."""
        return {what: one for what, one in self.stalled.items() if isinstance(one.split, FileSplit)}

    def apply(self, entries: Iterable[LedgerEntry]) -> None:
        """Take in further ledger rows, in order of their numbers; the caller sees to ``last``."""
        for entry in sorted(entries, key=lambda entry: entry.batch):
            if entry.identity is not None:
                self.identity = entry.identity
                self.identity_since = entry.batch
                # It was said of another topic.
                self.as_text = False
            if entry.fingerprint is not None:
                self.fingerprint = entry.fingerprint
            match entry.status:
                case Status.PUT_AWAY:
                    self._put_away(entry)
                case Status.PARKED | Status.STALLED:
                    self._wait_for(entry)
                case _:
                    self._take(entry)

    def _put_away(self, entry: LedgerEntry) -> None:
        self._free(paths_freed_by(entry))
        # Of a link only the name goes.
        self.away += sum("link" not in record.detail for record in entry.splits)
        self.staged |= {record.detail["staged"]: entry.batch for record in entry.splits}
        if len(self.staged) > 2 * STAGED_KEPT:
            newest = sorted(self.staged.items(), key=lambda staged: staged[1])[-STAGED_KEPT:]
            self.staged = dict(newest)

    def _free(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.files.pop(path, None)
            self.skipped.discard(path)
            self.links.discard(path)
            self.repeats.pop(path, None)

    def _wait_for(self, entry: LedgerEntry) -> None:
        self._free(paths_freed_by(entry))
        for record in entry.splits:
            name = record.name
            not_text = entry.status == Status.PARKED and is_marked(record, Mark.NOT_TEXT)
            may_be = record.detail.get(MAY_BE)
            if record.path is not None:
                self.stalled.pop(record.detail.get(STALLED_AS, name), None)
            waiting = ParkedSince(name, record.reason or "", entry.committed_at, split_of(record), not_text, may_be)
            if entry.status == Status.STALLED:
                self.stalled[name] = waiting
                continue
            self.parked[name] = waiting

    def _take(self, entry: LedgerEntry) -> None:
        freed = paths_freed_by(entry)
        links, skipped = self.links.intersection(freed), self.skipped.intersection(freed)
        # A row frees before it takes: of files that changed names (a -> b, b -> a) one settled row says both.
        self._free(freed)
        for record in entry.splits:
            if record.path is not None:
                self._take_file(entry.status, record.path, record, links, skipped)
            elif entry.status in _DECIDED:
                self.parked.pop(record.name, None)
                self.as_text |= is_marked(record, Mark.AS_TEXT)

    def _take_file(self, status: Status, path: str, record: SplitRecord, links: set[str], skipped: set[str]) -> None:
        detail = record.detail
        if detail.get(FREED):
            return
        # What it waited for before is over. Of a partition the position says so; a file is taken, or it is not.
        self.parked.pop(path, None)
        self.stalled.pop(path, None)
        self.stalled.pop(detail.get(STALLED_AS, path), None)
        taken = self.files[path] = taken_of(record)
        if self._nodes is not None:
            self._nodes.add(path, fileid.node(taken.file_id))
        if self._contents is not None:
            self._contents.add(path, _content(taken))
        self.repeats.pop(path, None)
        if status == Status.PUBLISHED and CONTENT_AS in detail:
            self.repeats[path] = detail[CONTENT_AS]
        origin = detail.get("moved_from")
        settled = status == Status.SETTLED
        linked = settled and ("same_as" in detail or origin in links or (origin is None and path in self.links))
        (self.links.add if linked else self.links.discard)(path)
        left_out = status == Status.RESOLVED or (
            settled
            and (
                origin in skipped or detail.get("same_as") in self.skipped or (origin is None and path in self.skipped)
            )
        )
        (self.skipped.add if left_out else self.skipped.discard)(path)


_DIGEST_KNOWN = (1 << MARK_SHIFT) - 1


def _content(taken: Taken) -> int:
    """Return what an index knows a content by; empty files are all alike."""
    # By place, not by name, and of the mark only its last bits: this runs for each file of a ledger once a run.
    digest = taken[2] & _DIGEST_KNOWN
    return (digest >> 1) << 32 | taken[0] & 0xFFFFFFFF if digest & 1 and taken[0] else NO_KEY


_DECIDED = frozenset({Status.RESOLVED, Status.CORRECTION, Status.SETTLED})

"""An account of what was sent, kept apart from Wordtide, and what a ledger must say about it. Pure.

Of the ledger only positions and identities are believed, never a count: the expected words are those of everything that
was sent into a published range, by the account.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wordtide.counting.tokenizer import reference

Key = tuple[str, int]
"""Topic id and partition."""
Identity = tuple[int, int]
"""Length and mtime of a file."""
Row = Mapping[str, Any]


@dataclass(slots=True)
class Sent:
    """A record that the broker has acknowledged; ``committed`` is None while its transaction is open."""

    value: bytes
    committed: bool | None


@dataclass(slots=True)
class Verdict:
    """What a table must hold, and what its ledger says that cannot be."""

    words: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class TopicAccount:
    """Every record of every topic that had the name.

    Attributes:
        tokenizer: The rule by which words are expected.
        ids: Topic ids, in the order of their lives.
        records: What was sent, by offset.
        deleted: Offsets below this one were deleted.
    """

    tokenizer: str
    ids: list[str] = field(default_factory=list)
    records: dict[Key, dict[int, Sent]] = field(default_factory=dict)
    deleted: dict[Key, int] = field(default_factory=dict)

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        """Judge a ledger that has taken everything there is."""
        found = Verdict()
        walk = _Walk(self, found.problems)
        for row in rows:
            walk.take(row)
        for key, sent in self.records.items():
            self._judge(key, sent, walk, found)
        return found

    def _judge(self, key: Key, sent: Mapping[int, Sent], walk: _Walk, found: Verdict) -> None:
        counted, given_up = _Ranges(walk.counted.get(key, ())), _Ranges(walk.given_up.get(key, ()))
        for offset, record in sent.items():
            if record.committed is None:
                found.problems.append(f"the account of {key} does not know what became of offset {offset}")
            elif record.committed and offset in counted:
                found.words.update(reference(self.tokenizer, record.value))
            elif record.committed and offset not in given_up and not self._lost(key, offset, walk):
                found.problems.append(f"{key}: offset {offset} was sent and is in no range of the ledger")

    def _lost(self, key: Key, offset: int, walk: _Walk) -> bool:
        """Return whether it went with its topic, or before the ledger knew its topic."""
        went_with_topic = key[0] != self.ids[-1] and offset >= walk.position.get(key, 0)
        return went_with_topic or offset < walk.began.get(key, self.deleted.get(key, 0))

    def visible(self, key: Key, start: int, end: int) -> int:
        """Return how many records of a range a reader sees."""
        sent = self.records.get(key, {})
        if end - start > len(sent):
            return sum(1 for offset, record in sent.items() if start <= offset < end and record.committed)
        return sum(1 for offset in range(start, end) if (record := sent.get(offset)) is not None and record.committed)


@dataclass(slots=True)
class _Walk:
    """Goes through a ledger's rows, as far as they are about positions."""

    account: TopicAccount
    problems: list[str]
    topic_id: str = ""
    position: dict[Key, int] = field(default_factory=dict)
    began: dict[Key, int] = field(default_factory=dict)
    counted: dict[Key, list[tuple[int, int]]] = field(default_factory=dict)
    given_up: dict[Key, list[tuple[int, int]]] = field(default_factory=dict)

    def take(self, row: Row) -> None:
        other = row["identity"] is not None
        if other:
            self.topic_id = json.loads(row["identity"])["topic_id"]
        for split in row["splits"]:
            if split["partition"] is None or row["status"] not in {"founded", "published", "resolved"}:
                continue
            key, start, end = (self.topic_id, split["partition"]), split["start"], split["end"]
            match row["status"]:
                case "published":
                    self._published(row, key, split)
                case "resolved":
                    self._resolved(row, key, start, end, other=other)
            self.position[key] = end
            self.began.setdefault(key, start)

    def _published(self, row: Row, key: Key, split: Row) -> None:
        start, end = split["start"], split["end"]
        if not self._goes_on(key, start) or end <= start:
            at = self.position.get(key)
            self.problems.append(f"batch {row['batch']}: {key} was at {at}, and [{start}, {end}) was counted")
        if split["records"] != self.account.visible(key, start, end):
            self.problems.append(
                f"batch {row['batch']}: {split['records']} records in [{start}, {end}) of {key},"
                f" {self.account.visible(key, start, end)} were sent"
            )
        self.counted.setdefault(key, []).append((start, end))

    def _goes_on(self, key: Key, start: int) -> bool:
        at = self.position.get(key)
        # Of a topic that was met later than it was made, what was deleted meanwhile is nobody's business.
        return start == at if at is not None else start <= self.account.deleted.get(key, 0)

    def _resolved(self, row: Row, key: Key, start: int, end: int, *, other: bool) -> None:
        self.given_up.setdefault(key, []).append((start, end))
        # Lost by retention: only what was deleted may be given up, and from where we were.
        fits = self._goes_on(key, start) and end <= self.account.deleted.get(key, 0)
        if not other and start < end and not fits:
            self.problems.append(
                f"batch {row['batch']}: gave up [{start}, {end}) of {key}, which was at"
                f" {self.position.get(key)} and is deleted up to {self.account.deleted.get(key, 0)}"
            )


class _Ranges:
    """Ranges of offsets, to be asked for membership."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        self._ranges = sorted(ranges)
        self._starts = [start for start, _ in self._ranges]

    def __contains__(self, offset: object) -> bool:
        assert isinstance(offset, int)
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._ranges[at][1]


@dataclass(slots=True)
class FolderAccount:
    """Every version of every landed file.

    Attributes:
        tokenizer: The rule by which words are expected.
        versions: By path and identity, the lines of the file; None where they cannot be read.
        latest: The identity under which a path is there now.
        deleted: Paths that were deleted.
    """

    tokenizer: str
    versions: dict[str, dict[Identity, tuple[bytes, ...] | None]] = field(default_factory=dict)
    latest: dict[str, Identity] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def landed(self, path: str, identity: Identity, lines: Sequence[bytes] | None) -> None:
        """Take in a file as it is now.

        Raises:
            AssertionError: It had that identity before: nobody could tell the two apart.
        """
        known = self.versions.setdefault(path, {})
        assert identity not in known, f"{path} had length and mtime {identity} before"
        known[identity] = None if lines is None else tuple(lines)
        self.latest[path] = identity

    def verdict(self, rows: Sequence[Row]) -> Verdict:
        """Judge a ledger that has taken everything there is."""
        found = Verdict()
        taken: dict[str, Identity] = {}
        settled: dict[str, Identity] = {}
        away: list[tuple[str, Identity]] = []
        for row in rows:
            for split in row["splits"]:
                path, identity = split["path"], (split["length"], split["mtime"])
                if row["status"] in {"published", "correction"}:
                    if row["status"] == "published" and path in settled:
                        found.problems.append(f"batch {row['batch']}: {path} was taken a second time")
                    taken[path] = settled[path] = identity
                elif row["status"] in {"resolved", "settled"}:
                    settled[path] = identity
                elif row["status"] == "put away":
                    away.append((path, taken.pop(path)))
                    del settled[path]
        for path, identity in [*taken.items(), *away]:
            lines = self.versions.get(path, {}).get(identity)
            if lines is None:
                found.problems.append(f"{path} was counted as {identity}, which was never landed whole")
            else:
                found.words.update(word for line in lines for word in reference(self.tokenizer, line))
        for path, identity in self.latest.items():
            if settled.get(path) != identity and path not in self.deleted:
                found.problems.append(f"{path} is there as {identity}, the ledger has {settled.get(path)}")
        return found

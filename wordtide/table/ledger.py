"""The ledger: what the table's `batch` rows say has been taken, and what waits for a decision.

The rows are the truth; a `Ledger` is a cache of them that is caught up by batch number and thrown away freely.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from wordtide.config import Stream
from wordtide.core.model import (
    Aside,
    Batch,
    Counted,
    FileSplit,
    Founding,
    KafkaSplit,
    Mark,
    Parked,
    Split,
    SplitProof,
    Status,
    Taken,
)
from wordtide.sources.files import digest as digests
from wordtide.storage import fileid
from wordtide.table.nodes import NodeIndex
from wordtide.table.schema import STEPS

_FREED = "freed"
"""Says of a file that was counted again that its path is not its own any more."""
STAGED_KEPT = 10_000
"""Of so many folders of files put away it is remembered that they were recorded: a crash leaves one, or a few."""


@dataclass(frozen=True, slots=True)
class ParkedSince:
    """Something that waits for an operator's decision, or is stalled, and since when (UTC).

    Attributes:
        split: The range or file identity that the ledger recorded, if any.
        not_text: Whether it waits because its values are no text.
    """

    what: str
    reason: str
    since: datetime
    split: Split | None = None
    not_text: bool = False


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
    _nodes: NodeIndex | None = field(default=None, compare=False, repr=False)

    @property
    def of_topic(self) -> bool:
        """Whether the source is a topic, whose positions are `txn` actions; a folder's are its files."""
        return "topic" in self.identity

    @property
    def taken(self) -> int:
        """How many files were taken, those put away included."""
        return len(self.files) + self.away - len(self.links)

    def with_nodes(self, numbers: Collection[int]) -> list[tuple[str, Taken]]:
        """Return path and entry of the files taken that have the node of one of these ids."""
        if not any(numbers):
            return []
        if self._nodes is None:
            # Only now: looks that find nothing new never ask, and neither do topics.
            self._nodes = NodeIndex((path, taken.file_id) for path, taken in self.files.items())
        return [(path, self.files[path]) for path in self._nodes.find(numbers) if path in self.files]

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

    def apply(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in further batch rows, in order of their numbers; the caller sees to ``last``."""
        for row in sorted(rows, key=lambda row: int(row["batch"])):
            if row["identity"] is not None:
                self.identity = json.loads(row["identity"])
                self.identity_since = row["batch"]
                # It was said of another topic.
                self.as_text = False
            if row["fingerprint"] is not None:
                self.fingerprint = row["fingerprint"]
            match row["status"]:
                case Status.PUT_AWAY:
                    self._put_away(row)
                case Status.PARKED | Status.STALLED:
                    self._wait_for(row)
                case _:
                    self._take(row)

    def _put_away(self, row: Mapping[str, Any]) -> None:
        self._free(paths_freed_by(row))
        details = [detail_of(split) for split in row["splits"]]
        # Of a link only the name goes.
        self.away += sum("link" not in detail for detail in details)
        self.staged |= {detail["staged"]: row["batch"] for detail in details}
        if len(self.staged) > 2 * STAGED_KEPT:
            newest = sorted(self.staged.items(), key=lambda entry: entry[1])[-STAGED_KEPT:]
            self.staged = dict(newest)

    def _free(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.files.pop(path, None)
            self.skipped.discard(path)
            self.links.discard(path)

    def _wait_for(self, row: Mapping[str, Any]) -> None:
        for split in row["splits"]:
            what = what_of(split)
            not_text = row["status"] == Status.PARKED and _is_marked(split, Mark.NOT_TEXT)
            waiting = ParkedSince(what, split["reason"], row["committed_at"], split_of(split), not_text)
            if row["status"] == Status.STALLED:
                self.stalled[what] = waiting
                continue
            self.parked[what] = waiting
            if split["path"] is not None:
                self.stalled.pop(what, None)

    def _take(self, row: Mapping[str, Any]) -> None:
        freed = paths_freed_by(row)
        links, skipped = self.links.intersection(freed), self.skipped.intersection(freed)
        # A row frees before it takes: of files that changed names (a -> b, b -> a) one settled row says both.
        self._free(freed)
        for split in row["splits"]:
            if split["path"] is not None:
                self._take_file(row["status"], split, links, skipped)
            elif row["status"] in _DECIDED:
                self.parked.pop(what_of(split), None)
                self.as_text |= _is_marked(split, Mark.AS_TEXT)

    def _take_file(self, status: str, split: Mapping[str, Any], links: set[str], skipped: set[str]) -> None:
        path, detail = split["path"], detail_of(split)
        if detail.get(_FREED):
            return
        # What it waited for before is over. Of a partition the position says so; a file is taken, or it is not.
        self.parked.pop(path, None)
        self.stalled.pop(path, None)
        taken = self.files[path] = taken_of(split)
        if self._nodes is not None:
            self._nodes.add(path, taken.file_id)
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


_DECIDED = frozenset({Status.RESOLVED, Status.CORRECTION, Status.SETTLED})


def split_of(split: Mapping[str, Any]) -> Split | None:
    """Return a ledger split as a value; None where it names a topic as a whole."""
    if split["path"] is not None:
        taken = taken_of(split)
        return FileSplit(
            split["path"],
            taken.length,
            taken.mtime,
            0,
            taken.length,
            as_text=_is_marked(split, Mark.AS_TEXT),
            file_id=taken.file_id,
            digest=taken.digest,
        )
    if split["partition"] is None:
        return None
    return KafkaSplit(split["topic"], split["partition"], split["start"], split["end"])


def paths_freed_by(row: Mapping[str, Any]) -> list[str]:
    """Return the paths that are free for other files after a batch row: put away, or moved from."""
    match row["status"]:
        case Status.PUT_AWAY:
            return [split["path"] for split in row["splits"]]
        case Status.SETTLED:
            origins = (detail_of(split).get("moved_from") for split in row["splits"])
            return [path for path in origins if path is not None]
    return []


def paths_named_by(row: Mapping[str, Any]) -> set[str]:
    """Return all paths that a batch row says something of."""
    details = (detail_of(split) for split in row["splits"])
    others = (detail.get(key) for detail in details for key in ("moved_from", "same_as"))
    return {path for path in (*(split["path"] for split in row["splits"]), *others) if path is not None}


def taken_of(split: Mapping[str, Any]) -> Taken:
    """Return what a ledger split says of a file; rows of an older Wordtide have neither file id nor digest."""
    file_id, digest = split.get("file_id"), split.get("digest")
    return Taken.of(split["length"], split["mtime"], fileid.from_text(file_id), digests.from_text(digest))


def detail_of(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a ledger split says."""
    text = split.get("detail")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _is_marked(split: Mapping[str, Any], mark: Mark) -> bool:
    return bool(detail_of(split).get(mark))


def json_share(row: Mapping[str, Any]) -> float | None:
    """Return which share of a batch's values are JSON objects, by its sample; None if none was found."""
    details = [json.loads(split["detail"]) for split in row["splits"] if split.get("detail") is not None]
    sampled = sum(detail.get("sampled", 0) for detail in details)
    return sum(detail.get("json_objects", 0) for detail in details) / sampled if sampled else None


def what_of(split: Mapping[str, Any]) -> str:
    """Return the name of a ledger split: a path, ``topic/partition``, or the topic as a whole."""
    if split["path"] is not None:
        return str(split["path"])
    if split["partition"] is None:
        return str(split["topic"])
    return f"{split['topic']}/{split['partition']}"


def batch_seconds(row: Mapping[str, Any]) -> float:
    """Return a batch's seconds: planning, which ends at ``planned_at``, and everything after it up to the commit."""
    seconds: float = (row["committed_at"] - row["planned_at"]).total_seconds()
    return seconds + (row["seconds"]["plan"] or 0.0)


def fingerprint(stream: Stream, identity: Mapping[str, str]) -> str:
    """Return the hash of what gives the table its meaning: source, tokenizer and window.

    The topic id is not part of it: a recreated topic is parked, which keeps the table usable.
    """
    source = identity.get("topic") or f"{identity['namespace']}:{identity['path']}"
    meaning = {
        "source": f"{stream.source_kind}:{source}",
        "tokenizer": stream.config.tokenizer.value,
        "window": stream.config.window,
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def describe(stream: Stream) -> str:
    """Return what the fingerprint covers, for a person."""
    return f"tokenizer {stream.config.tokenizer.value}, window {stream.config.window:g} s"


def _split_row(split: Split, proof: SplitProof | None, reason: str | None, detail: Mapping[str, Any]) -> dict[str, Any]:
    told = json.dumps(detail) if detail else None
    if isinstance(split, KafkaSplit):
        return {
            "topic": split.topic,
            "partition": split.partition,
            "start": split.start,
            "end": split.end,
            "records": proof.records if proof else None,
            "path": None,
            "length": None,
            "mtime": None,
            "lines": proof.lines if proof else None,
            "reason": reason,
            "detail": told,
        }
    return {
        "topic": None,
        "partition": None,
        "start": None,
        "end": None,
        "records": None,
        "path": split.path,
        "length": split.length,
        "mtime": split.mtime,
        "lines": proof.lines if proof else None,
        "reason": reason,
        "digest": digests.to_text(proof.digest if proof else split.digest),
        "file_id": fileid.to_text(split.file_id),
        "detail": told,
    }


def _counted_rows(proofs: Sequence[SplitProof]) -> list[dict[str, Any]]:
    some_json = any(proof.json_objects for proof in proofs)
    return [_split_row(proof.split, proof, None, _detail(proof, some_json)) for proof in proofs]


def _detail(proof: SplitProof, some_json: bool) -> dict[str, Any]:
    if isinstance(proof.split, FileSplit):
        said = {Mark.AS_TEXT.value: proof.split.as_text, _FREED: proof.split.freed}
        return {name: True for name, holds in said.items() if holds}
    return {"sampled": proof.sampled, "json_objects": proof.json_objects} if some_json else {}


def _parked_row(parked: Parked) -> dict[str, Any]:
    detail = {parked.mark.value: True} if parked.mark is not None else {}
    if parked.split is not None:
        return _split_row(parked.split, None, parked.reason, {**detail, **(parked.detail or {})})
    whole_topic = _split_row(KafkaSplit(parked.what, 0, 0, 0), None, parked.reason, detail)
    return {**whole_topic, "partition": None, "start": None, "end": None}


def _aside_row(aside: Aside) -> dict[str, Any]:
    split = aside.split
    return {
        "topic": split.topic if isinstance(split, KafkaSplit) else None,
        "partition": split.partition if isinstance(split, KafkaSplit) else None,
        "path": split.path if isinstance(split, FileSplit) else None,
        "start": split.start,
        "end": split.end,
        "reason": aside.reason,
    }


def merge_proofs(splits: Sequence[Split], proofs: Iterable[SplitProof]) -> tuple[SplitProof, ...]:
    """Return one proof for each planned split, from proofs of pieces of them.

    Args:
        splits: The batch's splits: a partition or a file occurs once.
        proofs: Proofs of all pieces, in any order.
    """
    pieces: dict[str, list[SplitProof]] = {split.what: [] for split in splits}
    for proof in proofs:
        pieces[proof.split.what].append(proof)
    return tuple(_joined(split, pieces[split.what]) for split in splits)


def _joined(split: Split, mine: Sequence[SplitProof]) -> SplitProof:
    if len(mine) == 1:
        # As it was planned, or with a stop.
        return mine[0]
    return SplitProof(
        split,
        lines=sum(proof.lines for proof in mine),
        records=sum(proof.records for proof in mine),
        gaps=sum(proof.gaps for proof in mine),
        bytes=sum(proof.bytes for proof in mine),
        clamped=sum(proof.clamped for proof in mine),
        aside=tuple(sorted(aside for proof in mine for aside in proof.aside)),
        oldest=min((proof.oldest for proof in mine if proof.oldest is not None), default=None),
        sampled=sum(proof.sampled for proof in mine),
        json_objects=sum(proof.json_objects for proof in mine),
        digest=_joined_digest(mine),
    )


def _joined_digest(pieces: Sequence[SplitProof]) -> int | None:
    parts = []
    for proof in sorted(pieces, key=lambda proof: proof.split.start):
        if proof.digest is None:
            return None
        parts.append((proof.digest, proof.split.end - proof.split.start))
    return digests.combined(parts) if parts else None


def batch_row(batch: Batch, counted: Counted | None, run_id: str, committed_at: datetime) -> dict[str, Any]:
    """Return the ledger row of a batch."""
    proofs = counted.proofs if counted else ()
    splits = _counted_rows(proofs) + [_parked_row(parked) for parked in batch.parked]
    reasons = sorted({parked.reason for parked in batch.parked})
    return {
        "batch": batch.number,
        "attempt": batch.attempt,
        "status": batch.status.value,
        "reason": "; ".join(reasons[:3]) + (f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else "") or None,
        "decision": batch.decision.verdict.value if batch.decision else None,
        "who": batch.decision.who if batch.decision else None,
        "why": (batch.decision.why or None) if batch.decision else None,
        "replaces": batch.replaces,
        "engine": counted.engine if counted else None,
        "run_id": run_id,
        "records": sum(proof.records for proof in proofs),
        "lines": sum(proof.lines for proof in proofs),
        "gaps": sum(proof.gaps for proof in proofs),
        "bytes": sum(proof.bytes for proof in proofs),
        "words": counted.words if counted else 0,
        "distinct": counted.distinct if counted else 0,
        "invalid": counted.invalid if counted else 0,
        "clamped": sum(proof.clamped for proof in proofs),
        "planned_at": batch.planned_at,
        "committed_at": committed_at,
        "seconds": {step: (counted.seconds if counted else {}).get(step) for step in STEPS},
        "identity": json.dumps(dict(batch.identity), sort_keys=True) if batch.identity is not None else None,
        "fingerprint": None,
        "splits": splits,
        "quarantined": [_aside_row(aside) for proof in proofs for aside in proof.aside],
    }


def founding_row(stream: Stream, founding: Founding, attempt: str, run_id: str, now: datetime) -> dict[str, Any]:
    """Return the ledger row of batch 0."""
    identity, decision = founding.identity, founding.decision
    founded = Status.FOUNDED
    batch = Batch(stream.name, 0, attempt, now, -1, (), (), status=founded, decision=decision, identity=identity)
    return {
        **batch_row(batch, None, run_id, now),
        "fingerprint": fingerprint(stream, identity),
        "splits": [_split_row(split, None, None, {}) for split in founding.splits],
    }

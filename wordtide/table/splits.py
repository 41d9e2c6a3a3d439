"""Between splits and what the ledger holds of them, for topics and for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wordtide.core import digest as digests
from wordtide.core.model import Aside, FileSplit, KafkaSplit, Mark, Parked, Split, SplitProof, Status, Taken
from wordtide.storage import fileid
from wordtide.table.record import NO_DETAIL, LedgerEntry, SplitRecord

FREED = "freed"
"""Says of a file that was counted again that its path is not its own any more."""
MAY_BE = "may_be"
"""Says of a file that cannot be read under which path it was counted, if it is that one; the path is free from then."""
STALLED_AS = "stalled_as"
"""Says of such a file under which path that was recorded before."""
CONTENT_AS = "content_as"
"""Says of a counted file which other one has its length and digest; both are counted."""


def split_of(record: SplitRecord) -> Split | None:
    """Return a ledger split as a value; None where it names a topic as a whole."""
    if record.path is not None:
        taken = taken_of(record)
        return FileSplit(
            record.path,
            taken.length,
            taken.mtime,
            0,
            taken.length,
            as_text=is_marked(record, Mark.AS_TEXT),
            file_id=taken.file_id,
            digest=taken.digest,
            freed=FREED in record.detail,
        )
    if record.topic is None or record.partition is None or record.start is None or record.end is None:
        return None
    return KafkaSplit(record.topic, record.partition, record.start, record.end)


def taken_of(record: SplitRecord) -> Taken:
    """Return what a ledger split says of a file; rows of an older Wordtide have neither file id nor digest."""
    assert record.length is not None
    assert record.mtime is not None
    return Taken.of(record.length, record.mtime, fileid.from_text(record.file_id), digests.from_text(record.digest))


def is_marked(record: SplitRecord, mark: Mark) -> bool:
    """Return whether a ledger split has a mark."""
    return bool(record.detail.get(mark))


def paths_freed_by(entry: LedgerEntry) -> list[str]:
    """Return the paths that are free for other files after a ledger row: put away, or moved from."""
    match entry.status:
        case Status.PUT_AWAY:
            return [record.path for record in entry.splits if record.path is not None]
        case Status.SETTLED:
            origins = (record.detail.get("moved_from") for record in entry.splits)
            return [path for path in origins if path is not None]
        case Status.STALLED:
            details = [record.detail for record in entry.splits]
            return [detail[MAY_BE] for detail in details if MAY_BE in detail and STALLED_AS not in detail]
    return []


def paths_named_by(entry: LedgerEntry) -> set[str]:
    """Return all paths that a ledger row says something of."""
    others = (record.detail.get(key) for record in entry.splits for key in ("moved_from", "same_as", MAY_BE))
    return {path for path in (*(record.path for record in entry.splits), *others) if path is not None}


def json_share(entry: LedgerEntry) -> float | None:
    """Return which share of a batch's values are JSON objects, by its sample; None if none was found."""
    sampled = sum(record.detail.get("sampled", 0) for record in entry.splits)
    return sum(record.detail.get("json_objects", 0) for record in entry.splits) / sampled if sampled else None


def records_of_proofs(proofs: Sequence[SplitProof]) -> list[SplitRecord]:
    """Return what the ledger holds of splits that were counted."""
    some_json = any(proof.json_objects for proof in proofs)
    return [_record(proof.split, proof, None, _detail(proof, some_json)) for proof in proofs]


def record_of_founding(split: Split) -> SplitRecord:
    """Return what batch 0 holds of a split at which counting begins."""
    return _record(split, None, None, NO_DETAIL)


def record_of_parked(parked: Parked) -> SplitRecord:
    """Return what the ledger holds of something that waits, or of a decision about it."""
    detail = {parked.mark.value: True} if parked.mark is not None else {}
    if parked.split is not None:
        return _record(parked.split, None, parked.reason, {**detail, **(parked.detail or {})})
    return SplitRecord(topic=parked.what, reason=parked.reason, detail=detail)


def records_of_quarantined(quarantined: Iterable[Aside]) -> list[SplitRecord]:
    """Return what the ledger holds of quarantined records."""
    return [
        SplitRecord(path=split.path, start=split.start, end=split.end, reason=one.reason)
        if isinstance(split := one.split, FileSplit)
        else SplitRecord(
            topic=split.topic, partition=split.partition, start=split.start, end=split.end, reason=one.reason
        )
        for one in quarantined
    ]


def _record(split: Split, proof: SplitProof | None, reason: str | None, detail: Mapping[str, Any]) -> SplitRecord:
    if isinstance(split, KafkaSplit):
        return SplitRecord(
            topic=split.topic,
            partition=split.partition,
            start=split.start,
            end=split.end,
            records=proof.records if proof else None,
            lines=proof.lines if proof else None,
            reason=reason,
            detail=detail,
        )
    return SplitRecord(
        path=split.path,
        length=split.length,
        mtime=split.mtime,
        lines=proof.lines if proof else None,
        reason=reason,
        digest=digests.to_text(proof.digest if proof else split.digest),
        file_id=fileid.to_text(split.file_id),
        detail=detail,
    )


def _detail(proof: SplitProof, some_json: bool) -> dict[str, Any]:
    if isinstance(proof.split, FileSplit):
        said = {Mark.AS_TEXT.value: proof.split.as_text, FREED: proof.split.freed}
        alike = {CONTENT_AS: proof.content_as} if proof.content_as is not None else {}
        return {name: True for name, holds in said.items() if holds} | alike
    return {"sampled": proof.sampled, "json_objects": proof.json_objects} if some_json else {}

"""Proofs of pieces of splits become one proof for each split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wordtide.core import digest as digests
from wordtide.core.model import Split, SplitProof


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

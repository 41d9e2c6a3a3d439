"""Tells of counted files which others have the same content. They are counted: another file is another file."""

from __future__ import annotations

from dataclasses import replace

from wordtide.core.model import Counted, FileSplit
from wordtide.table.ledger import Ledger

_SHOWN = 3


def with_repeats(counted: Counted, ledger: Ledger) -> Counted:
    """Return what was counted with each file naming another one of its length and digest, of the ledger or the batch.

    Empty files name none. Of a million files, some ms a batch; some tenths of a second once for a ledger.
    """
    contents = {
        proof.split.path: (proof.split.length, proof.digest)
        for proof in counted.proofs
        if isinstance(proof.split, FileSplit) and proof.split.length and proof.digest is not None
    }
    if not contents:
        return counted
    first: dict[tuple[int, int], str] = {}
    for path, taken in ledger.with_contents(set(contents.values())):
        # A path that is counted anew holds what is new.
        if path not in contents and taken.digest is not None and path not in ledger.skipped:
            first.setdefault((taken.length, taken.digest), path)
    alike: dict[str, str] = {}
    for path, content in contents.items():
        other = first.setdefault(content, path)
        if other != path:
            alike[path] = other
    if not alike:
        return counted
    return replace(
        counted, proofs=tuple(replace(proof, content_as=alike.get(proof.split.what)) for proof in counted.proofs)
    )


def repeats_line(counted: Counted) -> str | None:
    """Return which files of a batch have the content of others, for a person; None if none has."""
    alike = [f"{proof.split.what} as {proof.content_as}" for proof in counted.proofs if proof.content_as is not None]
    if not alike:
        return None
    noun = "1 file has" if len(alike) == 1 else f"{len(alike):,} files have"
    more = f" and {len(alike) - _SHOWN:,} more" if len(alike) > _SHOWN else ""
    return f"{noun} length and checksum of another counted file: {', '.join(alike[:_SHOWN])}{more}"

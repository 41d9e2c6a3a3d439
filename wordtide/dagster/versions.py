"""Data versions as Dagster stores them: whole while they are short, a digest where they are not.

A topic's version is the next offset of each partition, and Dagster keeps versions in tags, which its storage indexes:
Postgres takes no more than 2,704 bytes for a row of that index, with key and asset.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import dagster as dg

MAX_CHARACTERS = 512
VERSION_TAG = "dagster/data_version"
POSITION = "position"
"""Metadata of an event whose version's tag is a digest: the whole version."""


@dataclass(frozen=True, slots=True)
class Version:
    """A data version.

    Attributes:
        whole: As a line that can be read: a position, and which batch corrected it.
        tag: As Dagster compares it; never read back for what it says.
    """

    whole: str
    tag: str

    @classmethod
    def of(cls, whole: str, known: Version | None = None) -> Version:
        """Return a version; one that is known keeps its tag, also if that is of a time without a bound."""
        if known is not None and known.whole == whole:
            return known
        if len(whole) <= MAX_CHARACTERS:
            return cls(whole, whole)
        digest = hashlib.sha256(whole.encode()).hexdigest()
        return cls(whole, f"{len(whole.split()):,} partitions, sha256 {digest}")

    @classmethod
    def of_event(cls, event: dg.AssetMaterialization) -> Version | None:
        """Return the version that an event names, if it names one."""
        tag = (event.tags or {}).get(VERSION_TAG)
        if tag is None:
            return None
        position = event.metadata.get(POSITION)
        whole = cls.of(str(position.value)) if position is not None else None
        # Others report versions of a topic too, and may mean something else by that word.
        return whole if whole is not None and whole.tag == tag else cls(tag, tag)

    @property
    def metadata(self) -> dict[str, str]:
        """What an event says of it beyond its tag."""
        return {} if self.whole == self.tag else {POSITION: self.whole}


INITIAL = Version("INITIAL", "INITIAL")
"""What Dagster takes for the version of what nothing was ever reported of."""

"""A table's log as a listing shows it: how old its versions are, and which files of it nobody needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from wordtide.storage import FileInfo

_NAME = re.compile(r"(\d{20})\.(json|crc|checkpoint\.(?:.+\.)?(?:parquet|json))")
_ENTRY, _CHECKPOINT = "json", "checkpoint.parquet"


@dataclass(frozen=True, slots=True)
class DeltaLog:
    """The files of a `_delta_log`.

    Attributes:
        ages: When each version was committed at the latest (ms since the epoch), by version; newest first.
        files: (version, path) of all files that belong to one version, lowest first.
        checkpoints: Versions that a checkpoint holds whole.
    """

    ages: dict[int, int]
    files: tuple[tuple[int, str], ...]
    checkpoints: frozenset[int]

    @classmethod
    def of(cls, listing: Iterable[FileInfo]) -> DeltaLog:
        """Return the log of a listing.

        A version is at least as old as the ones after it. An mtime alone proves little: a copy, a restored backup or a
        clock that was wrong for a while gives an old version a late one.
        """
        found = sorted(
            (int(match[1]), match[2], file)
            for file in listing
            if (match := _NAME.fullmatch(file.path.rpartition("/")[2]))
        )
        ages: dict[int, int] = {}
        latest: int | None = None
        for version, kind, file in reversed(found):
            if kind == _ENTRY:
                latest = file.mtime_ms if latest is None else min(latest, file.mtime_ms)
                ages[version] = latest
        return cls(
            ages,
            tuple((version, file.path) for version, _, file in found),
            frozenset(version for version, kind, _ in found if kind == _CHECKPOINT),
        )

    @property
    def newest(self) -> int:
        """The newest version; -1 of an empty log."""
        return next(iter(self.ages), -1)

    def committed_by(self, moment: datetime) -> int:
        """Return the newest version that was surely committed by then; -1 if none was."""
        bound = moment.timestamp() * 1000
        return next((version for version, age in self.ages.items() if age <= bound), -1)

    def expired(self, now: datetime, age: timedelta) -> list[str]:
        """Return the files that no version younger than ``age`` needs, oldest first.

        Each version that stays can be opened: from the last checkpoint of the older ones on everything stays.
        """
        keep = max((at for at in self.checkpoints if at <= self.committed_by(now - age)), default=-1)
        return [path for version, path in self.files if version < keep]

"""The ids of landed files where no listing shows them (HDFS): asked for of new files, and again of counted ones.

They are hints. Where they cannot be had, nothing fails and nothing waits: the id is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from wordtide.core.problems import SourceUnavailable
from wordtide.storage import FileInfo, PathProblem, Storage, fileid
from wordtide.storage.fileid import UNKNOWN
from wordtide.table.ledger import Ledger

ASK_SECONDS = 5.0
"""The ids of new files are asked for during so much of one look; a page of 1,000 takes some 15 ms."""
PAUSE_SECONDS = 60.0
"""Between two checks of counted files, and after a question that was not answered."""
PAGES_AT_ONCE = 10
"""Pages of 1,000 entries that a check goes through between two batches."""
_SHARE = 100
"""A check takes at most one of so many seconds."""


class FileIds:
    """What is known of file ids in one source's life.

    Args:
        storage: Where the files are.
        clock: Monotonic seconds.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._known: dict[FileInfo, FileInfo] = {}
        self._silent_until = 0.0
        self._folders: Mapping[str, int] = {}
        self._checked: dict[str, int] = {}
        self._check: Iterator[list[FileInfo]] | None = None
        self._check_took = 0.0
        self._next_check = 0.0
        self._suspects: dict[str, int] = {}

    def of(self, files: Sequence[FileInfo]) -> Sequence[FileInfo]:
        """Return files with their ids, where these can be had; each is asked for once while it is among the files."""
        without = [file for file in files if file.file_id == UNKNOWN]
        if not without:
            return files
        known = {file: self._known[file] for file in without if file in self._known}
        asked_for = [file for file in without if file not in known]
        if asked_for and self._clock() >= self._silent_until:
            try:
                answers = self._storage.identified(asked_for, ASK_SECONDS)
                known |= {
                    file: answer for file, answer in zip(asked_for, answers, strict=True) if answer.file_id != UNKNOWN
                }
            except SourceUnavailable:
                self._silent_until = self._clock() + PAUSE_SECONDS
        self._known = known
        return [known.get(file, file) for file in files]

    def saw(self, folders: Mapping[str, int]) -> None:
        """Take in the folders of the last listing.

        Args:
            folders: Path → mtime, ms; it moves with each entry that comes, goes or is renamed.
        """
        self._folders = folders

    def suspects(self, seen: Sequence[FileInfo], ledger: Ledger) -> list[FileInfo]:
        """Return the counted files that are listed with the counted length and mtime, and have another id."""
        self._suspects = {
            path: number
            for path, number in self._suspects.items()
            if path not in ledger.parked and _is_another(ledger, path, number)
        }
        if not self._suspects:
            return []
        listed = [(file, self._suspects[file.path]) for file in seen if file.path in self._suspects]
        return [
            file._replace(file_id=number)
            for file, number in listed
            if ledger.files[file.path][:2] == (file.length, file.mtime_ms)
        ]

    def check(self, ledger: Ledger) -> bool:
        """Ask for the ids of counted files in folders that have changed since; return whether one is another now.

        At most `PAGES_AT_ONCE`; the next call goes on. When a source's life begins, all folders count as changed.
        """
        began = self._clock()
        if self._check is None:
            if began < max(self._next_check, self._silent_until) or not self._folders:
                return False
            self._check, self._check_took = self._pages(dict(self._folders)), 0.0
        found = pages = 0
        try:
            for page in islice(self._check, PAGES_AT_ONCE):
                pages += 1
                found += self._compare(page, ledger)
        except SourceUnavailable:
            self._check, self._silent_until = None, self._clock() + PAUSE_SECONDS
            return found > 0
        self._check_took += self._clock() - began
        if pages < PAGES_AT_ONCE:
            self._check = None
            self._next_check = self._clock() + max(PAUSE_SECONDS, _SHARE * self._check_took)
        return found > 0

    def check_all(self, ledger: Ledger, seconds: float) -> bool:
        """Check until all folders that have changed are gone through, for so many seconds; return as `check` does."""
        until = self._clock() + seconds
        found = self.check(ledger)
        while self._check is not None and self._clock() < until:
            found |= self.check(ledger)
        return found

    def _pages(self, folders: Mapping[str, int]) -> Iterator[list[FileInfo]]:
        self._checked = {folder: mtime for folder, mtime in self._checked.items() if folder in folders}
        changed = [folder for folder, mtime in folders.items() if self._checked.get(folder) != mtime]
        for folder in sorted(changed, key=lambda folder: folders[folder], reverse=True):
            # Who may not list a folder is told so by the listing itself.
            with suppress(PathProblem):
                yield from self._storage.pages_with_ids(folder)
            self._checked[folder] = folders[folder]

    def _compare(self, page: Sequence[FileInfo], ledger: Ledger) -> int:
        others = {
            file.path: file.file_id
            for file in page
            if (known := ledger.files.get(file.path)) is not None
            and known[:2] == (file.length, file.mtime_ms)
            and fileid.raises_doubt(known.file_id, file.file_id)
            and self._suspects.get(file.path) != file.file_id
        }
        self._suspects |= others
        return len(others)


def _is_another(ledger: Ledger, path: str, number: int) -> bool:
    known = ledger.files.get(path)
    return known is not None and fileid.raises_doubt(known.file_id, number)


def id_of(storage: Storage, file: FileInfo) -> int:
    """Return a file's id; unknown where it cannot be had."""
    if file.file_id == UNKNOWN:
        with suppress(SourceUnavailable):
            (file,) = storage.identified([file], ASK_SECONDS)
    return file.file_id

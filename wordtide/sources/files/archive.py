"""What becomes of landed files once they are counted: deleted, or moved into an archive. Only ever what was counted.

In three steps, so that a path is free for another file once it is recorded that the counted one went:

1. Each file is renamed into a hidden staging folder in the landing folder, under a name that nobody uses twice. What is
   there no longer changes hands: it is compared with what was counted once more, and goes back if it is another file
   (one that was put in its place a moment ago) or a writer has it open.
2. The ledger records, by one batch for all of a folder, that they are put away.
3. They are deleted, or renamed into the archive.

What a crash leaves in the staging folder, the next drain finishes: of a recorded folder everything goes on, what is in
any other is compared again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from wordtide.core import digest
from wordtide.core.model import FileSplit, Taken
from wordtide.core.problems import EnvironmentProblem, WordtideError
from wordtide.sources.files.file_ids import id_of
from wordtide.storage import FileInfo, NoFolder, PathProblem, Readable, Storage, fileid
from wordtide.table.ledger import Ledger

STAGING = ".wordtide-taken"
"""The staging folder's name in the landing folder."""
THREADS = 16
"""Files handled side by side: each takes a few round trips."""
MOST_OF_A_NAME = 1000
"""Files of one name in an archive."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Counted files that wait in a folder of their own for being recorded as put away.

    Attributes:
        token: The folder's name.
        proven: What was counted under each path, and is in the folder.
        remaining: Those that are where they were: path → why they cannot be put away, None if they may not be.
    """

    token: str
    proven: Mapping[str, Taken] = field(default_factory=dict)
    remaining: Mapping[str, WordtideError | None] = field(default_factory=dict)


def countable(ledger: Ledger, path: str) -> Taken | None:
    """Return what was counted under a path, and may go; None of what was not, or waits for a decision."""
    return None if path in ledger.parked or path in ledger.skipped else ledger.files.get(path)


@dataclass(frozen=True, slots=True)
class PutAway:
    """Puts counted files away.

    Attributes:
        storage: Where they are.
        root: The landing folder, without a slash at its end.
        archive: Where they are moved to; None: they are deleted.
        keep: Nothing is put away (any more); what is found in the staging folder goes back.
    """

    storage: Storage
    root: str
    archive: str | None
    keep: bool

    def stage(self, files: Sequence[FileInfo], ledger: Ledger) -> Staged:
        """Take files out of the landing folder that are, beyond doubt, what was counted.

        Args:
            files: As they were listed; they may be others by now.
            ledger: Decides about what is found.

        Raises:
            WordtideError: The storage does not answer. The rest is for another time.
        """
        token = uuid.uuid4().hex
        proven: dict[str, Taken] = {}
        made: set[str] = set()

        def stage(path: str) -> bool:
            known = countable(ledger, path)
            relative = path[len(self.root) + 1 :]
            # Renaming makes another change time: this is the last moment at which it says something. Pinned, because
            # a file that is put in its place now could get its inode.
            with self.storage.pinned(path) as now:
                sure = known is not None and bool(known.file_id and now) and not fileid.raises_doubt(known.file_id, now)
                staged = self._move(path, token, relative, made)
                return self._prove(staged, relative, known, sure, proven)

        remaining = _each(stage, [file.path for file in files])
        return self._closed(token, proven, remaining)

    def restage(self, ledger: Ledger) -> Staged:
        """Take up what a crash, or a storage that stopped answering, left in the staging folder. As `stage`."""
        token = uuid.uuid4().hex
        if not self.storage.exists(self._staging):
            return Staged(token)
        proven: dict[str, Taken] = {}
        made: set[str] = set()
        left = self._left()
        recorded = {old for old, _ in left if old in ledger.staged}
        remaining: dict[str, WordtideError | None] = {}
        for old in recorded:
            remaining |= self.remove(old)

        def restage(entry: str) -> bool:
            relative = entry.partition("/")[2]
            path = f"{self.root}/{relative}"
            if path not in ledger.files:
                raise EnvironmentProblem(
                    f"{self._staging}/{entry}: cannot be told whether it was counted; move it to {path} to have it"
                    " counted, or delete it"
                )
            staged = self._move(f"{self._staging}/{entry}", token, relative, made)
            return self._prove(staged, relative, countable(ledger, path), False, proven)

        # Of several files of one path one: the others have their turn after it.
        entries = {relative: f"{old}/{relative}" for old, relative in left if old not in recorded}
        remaining |= {
            f"{self.root}/{entry.partition('/')[2]}": why for entry, why in _each(restage, [*entries.values()]).items()
        }
        return self._closed(token, proven, remaining)

    def remove(self, token: str) -> dict[str, WordtideError | None]:
        """Delete or archive all that is in a folder whose files are recorded as put away.

        Returns:
            Those that cannot be: path → why.

        Raises:
            WordtideError: The storage does not answer. The rest is for another time.
        """
        folder = f"{self._staging}/{token}"

        def remove(relative: str) -> bool:
            staged = f"{folder}/{relative}"
            if self.keep:
                raise EnvironmentProblem(
                    f"{staged}: is counted and recorded as put away, and landing.after is keep now; move or delete it"
                )
            if self.archive is None:
                self.storage.delete(staged)
            else:
                self._into_archive(staged, f"{self.archive}/{relative}")
            return True

        remaining = _each(remove, [relative for old, relative in self._left() if old == token])
        self.storage.prune(self._staging)
        return {f"{self.root}/{relative}": why for relative, why in remaining.items()}

    def waiting(self) -> set[str]:
        """Return the paths whose files are in the staging folder."""
        return {f"{self.root}/{relative}" for _token, relative in self._left()}

    def _left(self) -> list[tuple[str, str]]:
        """Return folder and relative path of each file in the staging folder."""
        try:
            files = self.storage.survey(self._staging).files
        except NoFolder:
            # Another drain may have emptied and removed it a moment ago, so asking first would not do.
            return []
        skip = len(self._staging) + 1
        found = [file.path[skip:].partition("/") for file in files]
        return [(token, relative) for token, _, relative in found]

    def archived(self, file: FileSplit) -> str | None:
        """Return where in the archive a file is: by its content, because of one path several may have length and mtime.

        Of what an older Wordtide counted there is no digest: the first with its length and mtime has to do.
        """
        if self.archive is None:
            return None
        for path in _names(f"{self.archive}/{file.path[len(self.root) + 1 :]}"):
            try:
                found = self.storage.stat(path)
                if (found.length, found.mtime_ms) != (file.length, file.mtime):
                    continue
                if file.digest in {None, digest.of(self.storage.read_range(path, 0, found.length))}:
                    return path
            except FileNotFoundError:
                return None
        return None

    @property
    def _staging(self) -> str:
        return f"{self.root}/{STAGING}"

    def _move(self, path: str, token: str, relative: str, made: set[str]) -> str:
        staged = f"{self._staging}/{token}/{relative}"
        parent = staged.rpartition("/")[0]
        if parent not in made:
            self.storage.mkdirs(parent)
            made.add(parent)
        self.storage.rename(path, staged)
        return staged

    def _closed(self, token: str, proven: dict[str, Taken], remaining: Mapping[str, WordtideError | None]) -> Staged:
        """Return a folder that holds nothing but what is proven: all that is in it may go once it is recorded."""
        unproven = [path for path, why in remaining.items() if why is not None and path not in proven]
        for relative in (path[len(self.root) + 1 :] for path in unproven):
            staged = f"{self._staging}/{token}/{relative}"
            if self.storage.exists(staged):
                self._move(staged, uuid.uuid4().hex, relative, set())
        self.storage.prune(self._staging)
        return Staged(token, proven, remaining)

    def _prove(self, staged: str, relative: str, known: Taken | None, sure: bool, proven: dict[str, Taken]) -> bool:
        """Take in what is in the staging folder as proven, or send it back. FileNotFoundError: another drain has it."""
        path = f"{self.root}/{relative}"
        try:
            if known is not None and self._may_go(staged, known, sure):
                proven[path] = known
                return True
        except WordtideError:
            with suppress(WordtideError, FileNotFoundError):
                self._back(staged, path)
            raise
        self._back(staged, path)
        return False

    def _may_go(self, staged: str, known: Taken, sure: bool) -> bool:
        try:
            found = self.storage.stat(staged)
        except FileNotFoundError:
            # A folder was in the file's place, or a link that leads nowhere from here.
            return False
        if self.keep or (found.length, found.mtime_ms) != (known.length, known.mtime):
            return False
        # What somebody is appending to it would be lost with it, or end in the archive uncounted.
        if self.storage.under_construction(staged):
            return False
        if known.digest is None or (sure and fileid.node(found.file_id) == fileid.node(known.file_id)):
            # Of what an older Wordtide counted there is no digest: its length and time have to do.
            return True
        if known.file_id and id_of(self.storage, found) == known.file_id:
            # The whole id, so on HDFS alone, where renaming keeps it and no other file ever gets it.
            return True
        return digest.of(self.storage.read_range(staged, 0, found.length)) == known.digest

    def _into_archive(self, staged: str, target: str) -> None:
        self.storage.mkdirs(target.rpartition("/")[0])
        for path in _names(target):
            try:
                self.storage.rename(staged, path)
                return
            except FileExistsError:
                continue
        raise EnvironmentProblem(f"{target}: there are {MOST_OF_A_NAME} of this name already; clear the archive")

    def _back(self, staged: str, path: str) -> None:
        self.storage.mkdirs(path.rpartition("/")[0])
        try:
            self.storage.rename(staged, path)
        except FileExistsError:
            apart = self._move(staged, uuid.uuid4().hex, path[len(self.root) + 1 :], set())
            raise EnvironmentProblem(
                f"{path}: was replaced again while it was put away; the file before that one is now {apart}: move it"
            ) from None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A storage of which some files are read in another place than their own.

    Attributes:
        storage: The storage.
        places: Path → where the file is.
    """

    storage: Readable
    places: Mapping[str, str]

    def stat(self, path: str) -> FileInfo:
        """See `Readable`."""
        return self.storage.stat(self._place(path))

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """See `Readable`."""
        return self.storage.read_range(self._place(path), start, end)

    def read_small(self, files: Sequence[tuple[str, int]]) -> Generator[bytes | PathProblem | None, None, None]:
        """See `Readable`."""
        return self.storage.read_small([(self._place(path), length) for path, length in files])

    def _place(self, path: str) -> str:
        return self.places.get(path, path)


def _names(path: str) -> Iterator[str]:
    """Yield the names for files of one path in an archive."""
    yield path
    for number in count(1):
        if number == MOST_OF_A_NAME:
            return
        yield f"{path}.{number}"


def _each(action: Callable[[str], bool], paths: Sequence[str]) -> dict[str, WordtideError | None]:
    """Do something with each path, several at once; return those that it did not succeed with, and why if it failed."""
    remaining: dict[str, WordtideError | None] = {}

    def attempt(path: str) -> None:
        try:
            if not action(path):
                remaining[path] = None
        except FileNotFoundError:
            # Somebody took it away, or another drain was faster.
            return
        except (PathProblem, EnvironmentProblem) as problem:
            remaining[path] = problem

    with ThreadPoolExecutor(THREADS, "put-away") as pool:
        running = [pool.submit(attempt, path) for path in paths]
        try:
            for future in running:
                future.result()
        except BaseException:
            # The others would only find the same: a storage that does not answer.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return remaining

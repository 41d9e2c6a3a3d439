"""What becomes of landed files once they are counted: deleted, or moved into an archive. Only ever what was counted.

Each file is first renamed into a hidden staging folder in the landing folder, under a name that nobody uses twice. What
is there no longer changes hands: its identity is checked once more, then it goes on, or back if it is another file (one
that was put in its place a moment ago) or a writer has it open. What a crash leaves there, the next drain finishes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from wordtide.batch import FileSplit
from wordtide.errors import EnvironmentProblem, WordtideError
from wordtide.storage import FileInfo, PathProblem, Readable, Storage

STAGING = ".wordtide-taken"
"""The staging folder's name in the landing folder."""
THREADS = 16
"""Files handled side by side: each takes a few round trips."""
MOST_OF_A_NAME = 1000
"""Files of one name in an archive."""

Counted = Callable[[str, int, int], bool]
"""Whether the file of a path, length and mtime is one that the table has counted, so that it may go."""


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

    def put_away(self, files: Sequence[FileInfo], counted: Counted) -> dict[str, WordtideError | None]:
        """Put files away.

        Args:
            files: As they were listed; they may be others by now.
            counted: Decides about what is found.

        Returns:
            Those that are where they were: path → why they cannot be put away, None if they may not be.

        Raises:
            WordtideError: The storage does not answer. The rest is for another time.
        """
        folder = f"{self._staging}/{uuid.uuid4().hex}"
        made: set[str] = set()

        def put_away(path: str) -> bool:
            relative = path[len(self.root) + 1 :]
            staged = f"{folder}/{relative}"
            parent = staged.rpartition("/")[0]
            if parent not in made:
                self.storage.mkdirs(parent)
                made.add(parent)
            self.storage.rename(path, staged)
            return self._go_on(staged, relative, counted)

        remaining = _each(put_away, [file.path for file in files])
        self.storage.prune(self._staging)
        return remaining

    def finish(self, counted: Counted) -> dict[str, WordtideError | None]:
        """Finish what a crash, or a storage that stopped answering, left in the staging folder. As `put_away`."""
        if not self.storage.exists(self._staging):
            return {}

        def finish(staged: str) -> bool:
            _token, _, relative = staged[len(self._staging) + 1 :].partition("/")
            return self._go_on(staged, relative, counted)

        remaining = _each(finish, [file.path for file in self.storage.survey(self._staging).files])
        self.storage.prune(self._staging)
        return remaining

    def archived(self, file: FileSplit) -> str | None:
        """Return where in the archive a file is, by its identity."""
        if self.archive is None:
            return None
        for path in _names(f"{self.archive}/{file.path[len(self.root) + 1 :]}"):
            try:
                found = self.storage.stat(path)
            except FileNotFoundError:
                return None
            if (found.length, found.mtime_ms) == (file.length, file.mtime):
                return path
        return None

    @property
    def _staging(self) -> str:
        return f"{self.root}/{STAGING}"

    def _go_on(self, staged: str, relative: str, counted: Counted) -> bool:
        """Send what is in the staging folder on, or back; return whether on. FileNotFoundError: another drain did."""
        path = f"{self.root}/{relative}"
        try:
            if self._may_go(staged, path, counted):
                if self.archive is None:
                    self.storage.delete(staged)
                else:
                    self._into_archive(staged, f"{self.archive}/{relative}")
                return True
        except WordtideError:
            with suppress(WordtideError, FileNotFoundError):
                self._back(staged, path)
            raise
        self._back(staged, path)
        return False

    def _may_go(self, staged: str, path: str, counted: Counted) -> bool:
        try:
            found = self.storage.stat(staged)
        except FileNotFoundError:
            # A folder was in the file's place, or a link that leads nowhere from here.
            return False
        if self.keep or not counted(path, found.length, found.mtime_ms):
            return False
        # What somebody is appending to it would be lost with it, or end in the archive uncounted.
        return not self.storage.under_construction(staged)

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
            raise EnvironmentProblem(
                f"{path}: was replaced again while it was put away; the file before that one is now {staged}: move it"
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

"""What a recursive listing finds: files, what could not be looked at, and what is neither file nor folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wordtide.storage.base import FileInfo, PathProblem

MayEnter = Callable[[str], bool]
"""Whether a folder (its absolute path) is worth being listed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """An entry that cannot be looked at; what is in a closed folder is not seen.

    Attributes:
        path: Absolute, without host and port.
        folder: Whether it is a folder, as far as is known.
        problem: Why.
    """

    path: str
    folder: bool
    problem: PathProblem


@dataclass(frozen=True, slots=True)
class Odd:
    """An entry that is neither a regular file nor a folder.

    Attributes:
        path: Absolute.
        what: What it is, such as ``a named pipe``.
    """

    path: str
    what: str


@dataclass(slots=True)
class Survey:
    """One recursive listing of a folder.

    Attributes:
        files: Regular files, and links to such, in no particular order.
        closed: What could not be looked at.
        odd: What is neither file nor folder.
        folders: The folders that were listed, each with its mtime (ms) from before, where listings show no file ids.
    """

    files: list[FileInfo] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)

    def complete(self) -> list[FileInfo]:
        """Return the files of a listing that has seen all there is.

        Raises:
            PathProblem: It has not.
        """
        if self.closed:
            raise self.closed[0].problem
        return self.files


def everywhere(_folder: str) -> bool:
    """Return that any folder is worth being listed."""
    return True

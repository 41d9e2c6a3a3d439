"""Which files of a landing folder are meant for a stream, by their names alone, and which are left out and counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from wordtide.core.left_out import NAMED, LeftOut
from wordtide.sources.files.globs import Glob, compiled, expand, literal_tail, problem_of, stand_ins

IN_PROGRESS = (
    "._COPYING_",
    ".tmp",
    "*.inprogress*",
    ".part",
    ".filepart",
    ".partial",
    ".crdownload",
    ".swp",
    "~",
)
"""Names of files that somebody is still writing: endings of a name, or globs for a whole name."""

_HIDDEN = re.compile(r"(?:^|/)[._]")
_WILD = re.compile(r"[*?\[{]")


class Verdict(Enum):
    """What a file's path says."""

    WANTED = auto()
    IN_PROGRESS = auto()
    """The glob wants it, and its name says that it is still being written."""
    UNWANTED = auto()


@dataclass(frozen=True, slots=True)
class Names:
    """Decides about paths relative to the landing folder.

    Attributes:
        glob: What is wanted.
        endings: Endings of names in progress.
        patterns: What matches other names in progress.
    """

    glob: Glob
    endings: tuple[str, ...]
    patterns: re.Pattern[str]

    def verdict(self, path: str) -> Verdict:
        """Return what a file's path says.

        Never wanted: a name or folder that begins with ``.`` or ``_``.
        """
        if _HIDDEN.search(path) or not self.glob.matches(path):
            return Verdict.UNWANTED
        name = path.rpartition("/")[2]
        if name.endswith(self.endings) or self.patterns.fullmatch(name):
            return Verdict.IN_PROGRESS
        return Verdict.WANTED

    def may_hold(self, folder: str) -> bool:
        """Return whether anything at any depth below a folder can be wanted."""
        return _HIDDEN.search(folder) is None and self.glob.may_hold(folder)


@lru_cache(maxsize=64)
def names_of(glob: str, in_progress: tuple[str, ...] = ()) -> Names:
    """Return what decides for a glob and for names in progress beyond the usual ones.

    Raises:
        ConfigError: One of them cannot be understood.
    """
    every = (*IN_PROGRESS, *in_progress)
    wild = [compiled(one).files.pattern for one in every if _WILD.search(one)]
    patterns = re.compile("|".join(wild), re.DOTALL)
    return Names(compiled(glob), tuple(one for one in every if not _WILD.search(one)), patterns)


def is_candidate(path: str, glob: str, in_progress: tuple[str, ...] = ()) -> bool:
    """Return whether a file may be meant for a stream, by its path below the landing folder alone.

    Raises:
        ConfigError: ``glob`` cannot be understood.
    """
    return names_of(glob, in_progress).verdict(path) is Verdict.WANTED


def names_problem(glob: str, in_progress: tuple[str, ...]) -> str | None:
    """Return why a glob can match nothing that is ever taken, and what to write; None if it can.

    Raises:
        ConfigError: One of the texts cannot be understood.
    """
    problem = problem_of(glob)
    if problem is not None:
        return problem
    names = names_of(glob, in_progress)
    for one in expand(glob):
        shown = repr(glob) if one == glob else f"{one!r} of {glob!r}"
        if (covering := _covering(one.rpartition("/")[2], names, (*IN_PROGRESS, *in_progress))) is not None:
            return f"{shown} can match nothing: names {covering} are taken for files still being written"
    return None


def _covering(component: str, names: Names, in_progress: Sequence[str]) -> str | None:
    """Return which names in progress all names are that a component without braces can match; None if not all are."""
    tail = literal_tail(component)
    for ending in names.endings:
        if len(ending) <= len(tail) and all(
            choices == {char} for choices, char in zip(tail[-len(ending) :], ending, strict=True)
        ):
            return f"that end with {ending}"
    for pattern in in_progress:
        if _WILD.search(pattern) and any(_covers(one, component) for one in expand(pattern)):
            return f"like {pattern}"
    return None


def _covers(pattern: str, component: str) -> bool:
    """Return whether a pattern matches all that a glob does: it does so with stand-ins for what is free in the glob."""
    # A star of the glob stands for nothing or anything; only a star of the pattern takes all of these.
    return all(compiled(pattern).matches(one) for one in stand_ins(component))


def left_out(files: Sequence[tuple[int, str]], odd: Sequence[str]) -> LeftOut:
    """Return what is left out.

    Args:
        files: Modification time (ms since the epoch) and path of each file.
        odd: Path and kind of each of the others, for a person.
    """
    oldest = sorted(files)[: 10 * NAMED]
    return LeftOut(
        len(files),
        oldest[0][0] if oldest else None,
        tuple(path for _, path in oldest),
        tuple(sorted(odd)[: 10 * NAMED]),
        len(odd),
    )


def speakable(path: str) -> str:
    """Return a path as characters: a listing's stand-ins for foreign bytes are none, and no table can hold them."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode("utf-8")

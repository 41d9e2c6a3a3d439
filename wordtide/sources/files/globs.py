"""What the glob of a landing folder means: which files it wants, and which folders can hold any of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from wordtide.core.problems import ConfigError

MOST_ALTERNATIVES = 64
"""Globs that braces may stand for."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled glob. Paths are relative to the landing folder.

    Attributes:
        files: What it matches.
        folders: Folders below which it can match something; None: every folder.
    """

    files: re.Pattern[str]
    folders: re.Pattern[str] | None

    def matches(self, path: str) -> bool:
        """Return whether the glob wants a file of this path."""
        return self.files.fullmatch(path) is not None

    def may_hold(self, folder: str) -> bool:
        """Return whether it can want anything at any depth below a folder."""
        return self.folders is None or self.folders.fullmatch(folder) is not None


@lru_cache(maxsize=64)
def compiled(glob: str) -> Glob:
    """Compile a glob: ``**/`` is any number of folders, also none; ``*``, ``?``, ``[a-z]``, ``[!a]``, ``{a,b}`` as in
    a shell.

    Raises:
        ConfigError: It cannot be understood.
    """  # noqa: D205 one sentence
    alternatives = expand(glob)
    folders = [_folders(one.split("/")) for one in alternatives]
    try:
        files = re.compile("|".join(f"(?:{_translated(one)})" for one in alternatives), re.DOTALL)
        if ".*" in folders:
            return Glob(files, None)
        held = "|".join(f"(?:{one})" for one in folders if one is not None)
        # With no folder at all: what no path matches.
        return Glob(files, re.compile(held or "(?!)", re.DOTALL))
    except re.error as error:
        raise ConfigError(f"glob {glob!r} is invalid ({error})") from error


def expand(glob: str) -> tuple[str, ...]:
    """Return the globs that ``{a,b}`` stands for; braces without a comma, in brackets or unclosed are characters.

    Raises:
        ConfigError: More than `MOST_ALTERNATIVES`.
    """
    found: list[str] = []
    waiting = [glob]
    while waiting:
        if len(found) + len(waiting) > MOST_ALTERNATIVES:
            raise ConfigError(f"glob {glob!r} expands to more than {MOST_ALTERNATIVES} globs; use * or several streams")
        one = waiting.pop()
        braces = _first_braces(one)
        if braces is None:
            found.append(one)
        else:
            start, parts, end = braces
            waiting += [f"{one[:start]}{part}{one[end:]}" for part in reversed(parts)]
    return tuple(found)


def problem_of(glob: str) -> str | None:
    """Return why a glob, or a part of it, can match nothing that is ever taken, and what to write; None if it can.

    Names that begin with ``.`` or ``_`` are never taken. (Endings that mark a file as in progress: see `names`.)

    Raises:
        ConfigError: It cannot be understood.
    """
    for one in expand(glob):
        shown = repr(glob) if one == glob else f"{one!r} of {glob!r}"
        if (why := _hopeless(one)) is not None:
            return f"{shown} can match nothing: {why}"
    compiled(glob)
    return None


def _hopeless(glob: str) -> str | None:
    """Return why a glob without braces can match nothing."""
    plain = _without_brackets(glob)
    if not glob.strip():
        return "it is empty; use **/* for every file"
    if glob.startswith(("/", "~/")) or "://" in glob:
        return "it is relative to landing.path; leave the folder out, as in *.txt"
    if "\\" in plain:
        return "the separator is / and [*] is a literal star; there are no backslashes"
    if "\0" in glob:
        return "no name contains a NUL character; remove it"
    if glob.endswith("/"):
        return f"it names a folder; use {glob}** for what is in it"
    if "/" in "".join(re.findall(_BRACKETS, glob)):
        return "brackets cannot match a /; close the bracket before it"
    for component in glob.split("/"):
        if component == "":
            return "it has an empty component; use a single /"
        if component in {".", ".."}:
            advice = "leave ./ out" if component == "." else "set landing.path to the parent folder"
            return f"no path has a component {component}; {advice}"
        if _begins_hidden(component):
            return f"names that begin with . or _ are never taken ({component}); rename those files or folders"
    return None


def _begins_hidden(component: str) -> bool:
    """Return whether all names that a component can match begin with ``.`` or ``_``."""
    if not component.startswith("["):
        return component.startswith((".", "_"))
    close = _closing(component, 1)
    members = component[1:close] if close >= 0 else "["
    return bool(members) and set(members) <= {".", "_"}


def literal_tail(component: str) -> tuple[frozenset[str], ...]:
    """Return what the last characters of each name are that a component can match: the choices for each of them.

    They begin after the last character that can be anything, or any of too many.
    """
    choices: list[frozenset[str]] = []
    at = 0
    while at < len(component):
        char = component[at]
        close = _closing(component, at + 1) if char == "[" else -1
        members = component[at + 1 : close]
        if char in "*?" or (close >= 0 and re.search("^!|.-.", members, re.DOTALL)):
            choices.clear()
        else:
            choices.append(frozenset(members if close >= 0 else char))
        at = close + 1 if close >= 0 else at + 1
    return tuple(choices)


def stand_ins(component: str) -> tuple[str, ...]:
    """Return names that a component matches, so unlike each other that a pattern for all of them has a star there.

    Each star is nothing, a letter or a long text of a kind that nobody writes; each ``?`` and bracket is a character.
    """
    made = []
    for free, one in (("", "\ue000"), ("\ue001", "\ue001"), ("\ue002." * 3 + "\ue003", "\ue002")):
        for pick in (min, max):
            name, at = "", 0
            while at < len(component):
                char = component[at]
                close = _closing(component, at + 1) if char == "[" else -1
                if close >= 0:
                    members = component[at + 1 : close]
                    name += one if members.startswith("!") else pick(members)
                    at = close
                else:
                    name += free if char == "*" else one if char == "?" else char
                at += 1
            made.append(name)
    return tuple(made)


_BRACKETS = r"\[!?\]?[^\]]*\]"


def _without_brackets(glob: str) -> str:
    return re.sub(_BRACKETS, "", glob)


def _first_braces(glob: str) -> tuple[int, list[str], int] | None:
    """Return where the first ``{a,b}`` begins, its parts (braces in them kept), and where it ends."""
    at = 0
    while at < len(glob):
        if glob[at] == "[":
            at = _past_bracket(glob, at)
        elif glob[at] == "{" and (found := _parts(glob, at)) is not None:
            return at, *found
        else:
            at += 1
    return None


def _parts(glob: str, start: int) -> tuple[list[str], int] | None:
    """Return the parts of the braces at ``start``, and where they end; None if they are just characters."""
    depth, at, begun = 0, start, start + 1
    parts: list[str] = []
    while at < len(glob):
        char = glob[at]
        if char == "[":
            at = _past_bracket(glob, at)
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return ([*parts, glob[begun:at]], at + 1) if parts else None
        elif char == "," and depth == 1:
            parts.append(glob[begun:at])
            begun = at + 1
        at += 1
    return None


def _past_bracket(glob: str, at: int) -> int:
    """Return where the bracket expression at ``at`` ends; right behind the bracket if it is unclosed."""
    close = _closing(glob, at + 1)
    return close + 1 if close >= 0 else at + 1


def _closing(glob: str, inside: int) -> int:
    # As in a shell, `]` right after the opening is a member, and an unclosed `[` is just a character.
    return glob.find("]", inside + (2 if glob.startswith("!", inside) else 1))


def _folders(components: list[str]) -> str | None:
    """Return the regular expression of the folders that can hold a match; None: there is none."""
    first, *rest = components
    if first == "**":
        return ".*"
    if not rest:
        return None
    below = _folders(rest)
    return _translated(first) + ("" if below is None else f"(?:/{below})?")


def _translated(glob: str) -> str:
    """Translate a glob without braces; `fnmatch` is no help, its ``*`` crosses folders."""
    out: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        at_component = at == 0 or glob[at - 1] == "/"
        if at_component and glob.startswith("**/", at):
            while glob.startswith("**/", at):
                at += 3
            out.append("(?:.*/)?")
            continue
        if at_component and glob[at:] == "**":
            out.append(".*")
            break
        at += 1
        if char == "*":
            while glob.startswith("*", at):
                at += 1
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            close = _closing(glob, at)
            if close < 0:
                out.append(r"\[")
                continue
            members = glob[at:close]
            negated = "^" if members.startswith("!") else ""
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", members.removeprefix("!"))
            out.append(f"(?!/)[{negated}{members}]")
            at = close + 1
        else:
            out.append(re.escape(char))
    return "".join(out)

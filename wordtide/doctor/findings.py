"""What a check says, and how checks run: side by side, and for a bounded time whatever is dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wordtide.core.problems import WordtideError


class Line(NamedTuple):
    """What a finding is about.

    Attributes:
        check: The kind of check, such as ``kafka``.
        where: The address (``host:port``) or path tried.
        stream: The stream it belongs to; empty where it belongs to no one stream.
    """

    check: str
    where: str
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Attributes:
        line: What it is about.
        ok: Whether all is well; what is not yet created is.
        what: What was found.
        do: What to do about it; a hint where all is well.
        stops: Whether it would stop a drain.
    """

    line: Line
    ok: bool
    what: str
    do: str = ""
    stops: bool = False


@dataclass(frozen=True, slots=True)
class TableSeen:
    """Whose positions a stream's table holds, by batch 0 or a later decision; None: it is not founded."""

    stream: str
    identity: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """A topic or landing folder; the table decides what it means that it is missing or is another one.

    Attributes:
        line: What it is about.
        identity: What positions in it belong to; None: it is not there.
        finding: What is said where the table has nothing against it.
        partial: What is wrong keeps a table from being founded; of one that is, the rest flows.
    """

    line: Line
    identity: Mapping[str, str] | None
    finding: Finding
    partial: bool = False


Outcome = Finding | TableSeen | SourceSeen


@dataclass(frozen=True, slots=True)
class Check:
    """What runs in a thread of its own.

    Attributes:
        lines: What it will say something about; what it has not said when time is up is a failure.
        run: Yields what it finds. A WordtideError or OSError is the finding of every line not reported by then.
        do: The advice for errors that bring none.
        stops: Whether an error or silence would stop a drain.
    """

    lines: Sequence[Line]
    run: Callable[[], Iterator[Outcome]]
    do: str
    stops: bool = True


def good(line: Line, what: str, do: str = "") -> Finding:
    """Return that all is well."""
    return Finding(line, True, what, do)


def bad(line: Line, what: str, do: str, *, stops: bool = True) -> Finding:
    """Return that something is wrong."""
    return Finding(line, False, what, do, stops)


def explained(line: Line, error: Exception, do: str, *, stops: bool = True) -> Finding:
    """Return the finding for an error. Texts of a WordtideError end with what to do; others get ``do``."""
    text = " ".join(str(error).split())
    if not isinstance(error, WordtideError):
        said = text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"
        return bad(line, said, do, stops=stops)
    what, _, advice = text.rpartition("; ")
    what, advice = (what, advice) if what else (advice, do)
    return bad(line, what.removeprefix(f"{line.where}: "), advice, stops=stops)


def gather(checks: Iterable[Check], seconds: float) -> list[Outcome]:
    """Run checks side by side for at most ``seconds`` and return what they found, a failure for each silent line.

    A thread that hangs in a dead host is left behind; it is a daemon, so the process can end all the same.
    """
    running = [_Running(check) for check in checks]
    deadline = time.monotonic() + seconds
    for one in running:
        one.thread.join(max(0.0, deadline - time.monotonic()))
    return [outcome for one in running for outcome in one.outcomes(seconds)]


class _Running:
    """A check in its thread."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Outcome] = []
        self.thread = threading.Thread(target=self._run, name="wordtide-doctor", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for outcome in self._check.run():
                self._found.append(outcome)
        except Exception as error:  # Whatever it is, it is what this check says.
            silent = self._silent(self._found)
            self._found += [explained(line, error, self._check.do, stops=self._check.stops) for line in silent]

    def _silent(self, found: Sequence[Outcome]) -> list[Line]:
        said = {outcome.line for outcome in found if not isinstance(outcome, TableSeen)}
        return [line for line in self._check.lines if line not in said]

    def outcomes(self, seconds: float) -> list[Outcome]:
        # A copy: the thread may still be adding.
        found = list(self._found)
        what = f"no answer within {seconds:.0f} s"
        silent = self._silent(found)
        return [*found, *(bad(line, what, self._check.do, stops=self._check.stops) for line in silent)]

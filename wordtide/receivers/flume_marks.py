"""What of each file that Flume agents read has been landed already, so that what they send again is not landed twice.

A repeat is the same body at the same place. A place alone proves nothing: interceptors lengthen and shorten bodies, a
path is used for one file after another, and two hosts may have agents of one name. What may be a repeat and cannot be
shown to be one is doubtful: it is landed, and counted.

An agent repeats a batch as it was, or a stretch of a file from some line on. So lines of one file that come together,
in ascending order, are judged together: if one of them was certainly not landed from there, none of them is a repeat.
That keeps the header line of a second file, which equals the first one's.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from wordtide.receivers.flume_lines import Earlier, Found, Landed, Lines, Segment
from wordtide.receivers.flume_rotation import origins_of

_Done = TypeVar("_Done")

MAX_FILES = 10_000
MAX_LINES = 500_000
"""For all files together; the file with the most of them forgets first."""
_FORMER = 2
"""Earlier files of a path whose lines are remembered too: the end of one and the start of the next may come again."""
_PROVEN_WHOLE, _PROVEN_LINES = 8, 64
"""Lines in which a file has to be like one of another name to be that one: all it has, or so many from its start on."""


class Verdict(Enum):
    """What to do with an event.

    Attributes:
        NEW: Land it.
        REPEAT: Its body was landed from its place: leave it out.
        DOUBTFUL: Land it, and count it: it may be a repeat.
    """

    NEW = 1
    REPEAT = 2
    DOUBTFUL = 3


class Why(Enum):
    """What was found out about a path; the value goes on where its name ends."""

    SECOND = "has been used for a second file"
    CONTESTED = "sends different lines from places already landed (two hosts with one agent name?)"
    ROTATED = "begins like a file that was landed before (renamed or copied by a rotation?)"
    FORGOTTEN = "is sent again from further back than Wordtide remembers"


class Judgement(NamedTuple):
    """What is done with lines that came together.

    Attributes:
        verdicts: One for each.
        lines: What is to be remembered.
        begins: A second file of the path begins with them.
        forgotten: See `Segment`.
        why: What there is to say, if anything.
        followed: See `Mark`.
        repeats: See `Mark`.
        twin: See `Mark`.
    """

    verdicts: list[Verdict]
    lines: Lines
    begins: bool = False
    forgotten: int = -1
    why: Why | None = None
    followed: int = -1
    repeats: bool = False
    twin: Twin | None = None


@dataclass(frozen=True, slots=True)
class Twin:
    """A file that was landed under another name, as far as can be told.

    Attributes:
        origin: The mark of that name.
        landed: Which of its files.
        matched: Lines in which they were alike.
    """

    origin: Mark
    landed: Landed
    matched: int = 0


@dataclass(slots=True)
class Mark:
    """What has been landed from one path.

    Attributes:
        current: The file that the path is used for.
        former: Those before it, the last one first.
        contested: See `Segment`. Until the next file nothing of the path counts as a repeat.
        followed: A file begins anew, as a repeat or as another file does: up to here nothing has told which; -1: none.
        repeats: What was followed was landed before.
        twin: What the path's file has been like so far; its rest may be like it too.
        moved: The file has come again under the name that a rotation gave it, so what begins here is another one.
        unknown: See `Segment`.
    """

    current: Landed = field(default_factory=Landed)
    former: list[Landed] = field(default_factory=list)
    contested: bool = False
    followed: int = -1
    repeats: bool = False
    twin: Twin | None = None
    moved: bool = False
    unknown: bool = False

    @property
    def count(self) -> int:
        """Lines that are remembered."""
        return self.current.count + sum(one.count for one in self.former)

    def take(self, run: Lines, origins: Sequence[Mark], earlier: Earlier) -> tuple[Judgement, Segment]:
        """Judge lines that came together in ascending order, and remember them.

        Args:
            run: Not empty.
            origins: The marks of what the path's file may have been called before.
            earlier: See `Earlier`.

        Returns:
            What to do with them, and what has changed.
        """
        judgement = self._judge(run, origins, earlier)
        segment = Segment(
            judgement.lines,
            judgement.begins,
            forgotten=judgement.forgotten,
            contested=judgement.why is Why.CONTESTED,
        )
        self.apply(segment)
        self.followed, self.repeats, self.twin = judgement.followed, judgement.repeats, judgement.twin
        return judgement, segment

    def apply(self, segment: Segment) -> None:
        """Take over a change, or all of a file."""
        if segment.begins:
            # One that has nothing to repeat needs no place.
            self.former = [one for one in (self.current, *self.former) if one.count][:_FORMER]
            self.current, self.contested, self.moved = Landed(), False, False
        self.current.apply(segment)
        self.contested = self.contested or segment.contested
        self.unknown = segment.unknown

    def forget(self) -> None:
        """Forget some lines, those of an earlier file first."""
        if not self.former:
            self.current.forget()
            return
        self.former[-1].forget()
        self.former = [one for one in self.former if one.count]

    def segments(self) -> list[Segment]:
        """Return all of it."""
        former = [one.segment(begins=number > 0) for number, one in enumerate(reversed(self.former))]
        current = self.current.segment(begins=bool(former), contested=self.contested, unknown=self.unknown)
        return [*former, current]

    def _judge(self, run: Lines, origins: Sequence[Mark], earlier: Earlier) -> Judgement:
        if self.unknown:
            return Judgement([Verdict.DOUBTFUL] * len(run), run, why=Why.FORGOTTEN)
        start = run.places[0]
        if self.twin is not None and self.current.high < start <= self.twin.landed.bound:
            again = self._as_twins([self.twin], run, earlier)
            if again is not None:
                return again
        if start > max(0, self.current.bound) and not self.former:
            return Judgement([Verdict.NEW] * len(run), run)
        found = [self.current.find(*line, earlier) for line in run]
        told_apart = self._tells_another(run, found)
        agrees = _agree(found) and not told_apart
        if start == 0 and not (agrees and found[0] is Found.SAME):
            twins = [Twin(mark, one) for mark in origins for one in (mark.current, *mark.former)]
            again = self._as_twins(twins, run, earlier)
            if again is not None:
                return again
        if not self.contested and not (agrees and found[0] is Found.SAME):
            again = self._as_a_former_file_was(run, earlier)
            if again is not None:
                return again
        if agrees:
            return self._goes_on(run, found)
        if told_apart or (start == 0 and found[0] is not Found.NOTHING):
            lines = _up_to(self.current.lines(), self.followed if start else -1)
            lines.extend(run)
            return Judgement(_verdicts(found, proven=False), lines, begins=True, why=Why.SECOND)
        return Judgement(_verdicts(found, proven=False), _unknown(run, found), why=Why.CONTESTED)

    def _tells_another(self, run: Lines, found: Sequence[Found]) -> bool:
        """Return whether lines cannot be of the file that was landed, though nothing came from their places."""
        if self.moved and run.places[0] == 0:
            return run.places[-1] < self.current.high
        followed = 0 <= self.followed < run.places[0]
        return followed and (Found.OTHER in found or (self.repeats and Found.NOTHING in found))

    def _goes_on(self, run: Lines, found: Sequence[Found]) -> Judgement:
        verdicts = _verdicts(found, proven=not self.contested)
        restarted = run.places[0] == 0 or 0 <= self.followed < run.places[0]
        followed = run.places[-1] if restarted and found[-1] is not Found.BEYOND else -1
        why = Why.FORGOTTEN if Found.FORGOTTEN in found else None
        if self.contested and Found.SAME in found:
            why = Why.CONTESTED
        return Judgement(verdicts, _unknown(run, found), why=why, followed=followed, repeats=found[0] is Found.SAME)

    def _as_a_former_file_was(self, run: Lines, earlier: Earlier) -> Judgement | None:
        """Judge lines of which each was landed of one earlier file; None if they were not."""
        for landed in self.former:
            if all(landed.find(*line, earlier) is Found.SAME for line in run):
                # What an agent repeats of a file before it comes to the next one goes on to the end of the first.
                if run.places[-1] == landed.high:
                    return Judgement([Verdict.REPEAT] * len(run), Lines(), followed=self.followed)
                return Judgement([Verdict.DOUBTFUL] * len(run), Lines(), why=Why.SECOND, followed=self.followed)
        return None

    def _as_twins(self, twins: Iterable[Twin], run: Lines, earlier: Earlier) -> Judgement | None:
        """Judge lines that may have been landed under another name; None if they were not."""
        best: Twin | None = None
        found: list[Found] = []
        for twin in twins:
            one = [twin.landed.find(*line, earlier) for line in run]
            alike = Twin(twin.origin, twin.landed, twin.matched + one.count(Found.SAME))
            starts = one[0] is Found.SAME or (run.places[0] > 0 and one[0] is Found.FORGOTTEN)
            if starts and _agree(one) and (best is None or alike.matched > best.matched):
                best, found = alike, one
        if best is None:
            return None
        landed, begins = best.landed, run.places[0] == 0 and self.current.bound >= 0
        whole = landed.forgotten < 0 and best.matched == landed.count >= _PROVEN_WHOLE
        proven = not best.origin.contested and (whole or best.matched >= _PROVEN_LINES)
        if run.places[-1] >= landed.high:
            best.origin.moved = best.origin.moved or (proven and landed is best.origin.current)
        verdicts = _verdicts(found, proven=proven)
        why = Why.ROTATED if Verdict.DOUBTFUL in verdicts else None
        # Should this receiver end, the next one only knows that up to there lines may have come under the other name.
        forgotten = landed.bound if run.places[-1] < landed.bound else -1
        return Judgement(verdicts, run, begins, forgotten, why, twin=best)


def _agree(found: Sequence[Found]) -> bool:
    """Return whether lines can be a file's that was landed, or what follows in it."""
    return Found.OTHER not in found and not (Found.SAME in found and Found.NOTHING in found)


def _verdicts(found: Iterable[Found], *, proven: bool) -> list[Verdict]:
    same = Verdict.REPEAT if proven else Verdict.DOUBTFUL
    verdicts = {Found.SAME: same, Found.NOTHING: Verdict.NEW, Found.BEYOND: Verdict.NEW}
    return [verdicts.get(one, Verdict.DOUBTFUL) for one in found]


def _unknown(run: Lines, found: Sequence[Found]) -> Lines:
    if Found.SAME not in found:
        return run
    return _of(line for line, one in zip(run, found, strict=True) if one is not Found.SAME)


def _up_to(lines: Lines, place: int) -> Lines:
    return _of(line for line in lines if line[0] <= place)


def _of(lines: Iterable[tuple[int, int]]) -> Lines:
    kept = list(lines)
    return Lines((place for place, _ in kept), (digest for _, digest in kept))


def note_of(segments: Sequence[Segment]) -> dict[str, Any]:
    """Return changes as JSON can hold them. What comes before them is for 0.1.0: it lands all of such a file."""
    return {"taken": [], "first": "", "reused": True, "segments": [segment.note() for segment in segments]}


def segments_of(note: Mapping[str, Any]) -> list[Segment]:
    """Return what `note_of` or 0.1.0 wrote; that knew bytes [start, end) of a file that were landed, and no bodies.

    Raises:
        ValueError: They did not.
        TypeError: They did not.
        KeyError: They did not.
    """
    if "segments" in note:
        return [Segment.of(segment) for segment in note["segments"]]
    end = max((int(end) for _start, end in note["taken"]), default=0)
    return [Segment(Lines(), begins=True, forgotten=end - 1, undigested=end, unknown=bool(note["reused"]))]


class Marks:
    """What has been landed from the paths heard of last, and of each the lines that came last.

    Args:
        earlier: Digests, ascending, of what a version landed that kept none.
    """

    def __init__(self, earlier: array[int] | None = None) -> None:
        self._earlier = earlier or array("Q")
        self._marks: OrderedDict[str, Mark] = OrderedDict()
        self._lines = 0

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def lines(self) -> int:
        """How many are remembered."""
        return self._lines

    @property
    def undigested(self) -> bool:
        """Whether some were landed by a version that kept no digests, and may come again."""
        return any(mark.current.undigested for mark in self._marks.values())

    def take(self, agent: str, file: str, run: Lines) -> tuple[Judgement, Segment]:
        """Judge lines of a file that came together; see `Mark.take`."""
        names = [key_of(agent, name) for name in origins_of(file)] if run.places[0] == 0 else []
        origins = [self._marks[name] for name in names if name in self._marks]
        return self._change(key_of(agent, file), lambda mark: mark.take(run, origins, self._knows))

    def apply(self, key: str, segments: Iterable[Segment]) -> None:
        """Take over changes to a path."""

        def change(mark: Mark) -> None:
            for segment in segments:
                mark.apply(segment)

        self._change(key, change)

    def segments(self) -> dict[str, list[Segment]]:
        """Return all of it by `key_of`, what was heard of last at the end."""
        return {key: mark.segments() for key, mark in self._marks.items()}

    def _change(self, key: str, change: Callable[[Mark], _Done]) -> _Done:
        mark = self._marks.setdefault(key, Mark())
        self._marks.move_to_end(key)
        before = mark.count
        done = change(mark)
        self._lines += mark.count - before
        if len(self._marks) > MAX_FILES:
            _, gone = self._marks.popitem(last=False)
            self._lines -= gone.count
        while self._lines > MAX_LINES:
            largest = max(self._marks.values(), key=lambda one: one.count)
            self._lines -= largest.count
            largest.forget()
            self._lines += largest.count
        return done

    def _knows(self, digest: int) -> bool:
        at = bisect_left(self._earlier, digest)
        return at < len(self._earlier) and self._earlier[at] == digest


def key_of(agent: str, file: str) -> str:
    """Return what a file's mark is kept under: two agents' files of one name are two files."""
    return json.dumps([agent, file], ensure_ascii=False)

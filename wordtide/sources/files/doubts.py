"""Settles doubts about landed files by reading them: a bounded stretch at a time, so that nothing else waits long."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from wordtide.core.model import Parked
from wordtide.core.problems import WordtideError
from wordtide.core.retries import Retries
from wordtide.core.stalls import CONFIRM_SECONDS, Held
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.identity import (
    Candidate,
    Doubt,
    Found,
    Unreadable,
    decided,
    doubts_of,
    first_names,
    in_order,
    replaced,
    settled,
)
from wordtide.sources.files.unreadable import LONGEST_PAUSE_SECONDS, held_link, held_unproven
from wordtide.storage import FileInfo, PathProblem, Readable, fileid
from wordtide.table.ledger import Ledger

READ_BYTES = 256 << 20
"""Bytes read between two batches."""
UNSTABLE_AFTER = 3
"""Doubts about one file that its content dispelled, after which its file id is not believed: some file systems number
their files anew whenever they like."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the files of a listing that are not taken, or not beyond doubt.

    Attributes:
        files: Those that are planned as any file is.
        settled: What the ledger is to record of those that are what was counted.
        replaced: Of those planned, which have other content than their identity says, and why.
        young: In doubt, and not read yet because they may still be written to.
        needed: Paths of counted files that a further name of theirs, not settled yet, is known by: they stay.
        held: Those that cannot be compared at this moment with what they may be, and further names of what waits.
    """

    files: Sequence[FileInfo]
    settled: tuple[Parked, ...]
    replaced: Mapping[str, str]
    young: tuple[FileInfo, ...]
    needed: frozenset[str]
    held: tuple[Held, ...] = ()


class Doubts:
    """What is known so far about files in doubt, in one source's life.

    Args:
        storage: Where they are.
        clock: Monotonic seconds.
    """

    def __init__(self, storage: Readable, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._retries = Retries(CONFIRM_SECONDS, LONGEST_PAUSE_SECONDS)
        self._found: dict[FileInfo, Found] = {}
        self._open: dict[FileInfo, Doubt] = {}
        self._partial: dict[FileInfo, tuple[int, int]] = {}
        self._given_up: set[FileInfo] = set()
        self._dispelled: Counter[str] = Counter()

    @property
    def open(self) -> Collection[Doubt]:
        """The doubts about files that wait for being read, as far as the last listing goes."""
        return self._open.values()

    def judge(self, news: Sequence[FileInfo], seen: Sequence[FileInfo], ledger: Ledger, stillness: Stillness) -> Judged:
        """Divide the files of a listing by what is known of them.

        Args:
            news: Those that may be meant for us and are not taken, or not beyond doubt.
            seen: All that are listed.
            ledger: What was taken.
            stillness: Decides which files are complete; the others are planned unread.
        """
        links = first_names(news, ledger.files, ledger.parked)
        several, planned = self._doubts(news, links, ledger)
        every = [decided(doubts, self._found.get(doubts[0].file)) for doubts in several]
        # What may have moved frees its path: what is there now has to wait for that.
        held = {doubt.origin for doubt in every if doubt.origin is not None}
        needed = frozenset(links.values()) | held
        doubts = [doubt for doubt in every if stillness.takes(doubt.file)]
        self._keep_only(doubts)
        listed = {file.path: file for file in seen if file.path in held} if held else {}
        settlements: dict[str, tuple[Doubt, Parked]] = {}
        pending = {doubt.origin for doubt in every if doubt.origin is not None and not self._is_compared(doubt)}
        reasons: dict[str, str] = {}
        unproven: list[Held] = []
        for doubt in doubts:
            found = self._found.get(doubt.file)
            original = listed.get(doubt.name)
            there = original is not None and fileid.same_node(original.file_id, doubt.taken.file_id)
            settlement = settled(doubt, found, still_there=there)
            if settlement is not None:
                settlements[doubt.file.path] = doubt, settlement
            elif not self._is_compared(doubt):
                # Whatever its path is recorded as: it is not known to be another file yet, so it is not counted.
                one = held_unproven(doubt, found, ledger, still_there=there)
                unproven += [one] if one is not None else []
            else:
                planned.append(doubt.file)
                held.discard(doubt.name)
                reason = None if doubt.of_another else replaced(doubt, found)
                if reason is not None:
                    reasons[doubt.file.path] = reason
        waiting_links = (held_link(file, links.get(file.path), ledger) for file in news) if links else ()
        return Judged(
            [file for file in planned if file.path not in held],
            tuple(settlement for _, settlement in in_order(settlements, pending)),
            reasons,
            young=tuple(doubt.file for doubt in every if not stillness.takes(doubt.file)),
            needed=needed,
            held=(*unproven, *filter(None, waiting_links)),
        )

    def _is_compared(self, doubt: Doubt) -> bool:
        """Return whether it is known what the file is: it was read, and could be."""
        found = self._found.get(doubt.file)
        return found is not None and not isinstance(found, Unreadable)

    def _doubts(
        self, news: Sequence[FileInfo], links: Mapping[str, str], ledger: Ledger
    ) -> tuple[list[list[Doubt]], list[FileInfo]]:
        """Return the doubts about each file, and the files without any. A link waits for its first name."""
        alike: dict[int, list[Candidate]] = {}
        for path, taken in ledger.with_nodes([file.file_id for file in news]):
            alike.setdefault(fileid.node(taken.file_id), []).append(Candidate(path, taken, path in ledger.skipped))
        for what, (origin, taken) in ledger.unproven.items():
            alike.setdefault(fileid.node(taken.file_id), []).append(Candidate(origin, taken, stalled_as=what))
        several: list[list[Doubt]] = []
        planned: list[FileInfo] = []
        for file in news:
            if file.path in links or file.path in ledger.parked:
                continue
            candidates = alike.get(fileid.node(file.file_id), ()) if alike else ()
            skipped = file.path in ledger.skipped
            doubts = doubts_of(file, ledger.files.get(file.path), candidates, skipped=skipped)
            if doubts and doubts[0].of_id_alone and self._dispelled[file.path] >= UNSTABLE_AFTER:
                continue
            if doubts:
                several.append(doubts)
            else:
                planned.append(file)
        return several, planned

    def _keep_only(self, doubts: Sequence[Doubt]) -> None:
        """Forget what was found of files that are others by now, and line up those that nothing is known of."""
        by_file = {doubt.file: doubt for doubt in doubts}
        now = self._clock()
        self._found = {
            file: found
            for file, found in self._found.items()
            if file in by_file and not (isinstance(found, Unreadable) and self._retries.due(file, now))
        }
        self._retries.keep(by_file.keys())
        self._partial = {file: state for file, state in self._partial.items() if file in by_file}
        self._given_up &= by_file.keys()
        self._open = {
            file: doubt for file, doubt in by_file.items() if file not in self._found and file not in self._given_up
        }

    def read(self, limit: int = READ_BYTES) -> bool:
        """Read some more of the files in doubt; return whether there were any, so that a plan may be another now.

        Raises:
            WordtideError: Some cannot be read. They are left for another run, and the others were tried.
        """
        problem: WordtideError | None = None
        waiting = list(self._open)
        for file in waiting:
            if limit <= 0:
                break
            try:
                limit -= self._read(file, limit)
            except WordtideError as error:
                self._give_up(file)
                problem = problem or error
        if problem is not None:
            raise problem
        return bool(waiting)

    def _read(self, file: FileInfo, limit: int) -> int:
        """Read at most ``limit`` bytes of a file, and return how many."""
        crc, start = self._partial.get(file, (0, 0))
        end, at = min(file.length, start + limit), start
        try:
            for piece in self._storage.read_range(file.path, start, end):
                crc = zlib.crc32(piece, crc)
                at += len(piece)
            if at == end < file.length:
                self._partial[file] = crc, at
            elif at == end and _is_still(file, self._storage.stat(file.path)):
                self._settle(file, crc)
            else:
                # The next listing shows what it is now.
                self._give_up(file)
        except FileNotFoundError:
            self._give_up(file)
        except PathProblem as problem:
            self._retries.failed(file, self._clock())
            self._settle(file, Unreadable(problem.reason))
        return at - start

    def _settle(self, file: FileInfo, found: Found) -> None:
        doubt = self._open.pop(file)
        self._partial.pop(file, None)
        self._found[file] = found
        self._dispelled[file.path] += doubt.of_id_alone and found == doubt.taken.digest

    def _give_up(self, file: FileInfo) -> None:
        del self._open[file]
        self._partial.pop(file, None)
        self._given_up.add(file)


def _is_still(file: FileInfo, now: FileInfo) -> bool:
    same = (file.length, file.mtime_ms) == (now.length, now.mtime_ms)
    return same and not fileid.raises_doubt(file.file_id, now.file_id)

"""A landing folder: listed on its file system, its files read as byte ranges."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace

from wordtide.config import Stream
from wordtide.core import digest
from wordtide.core.model import FileSplit, Founding, Parked, Split, SplitProof
from wordtide.core.position import FileCount
from wordtide.core.problems import DecisionRefused, ReadFailed, TableRefused, WordtideError
from wordtide.core.quarantine import NOTHING, Quarantine
from wordtide.core.source import SourcePlan, Stored, quarantine_of
from wordtide.core.text import Text
from wordtide.sources.files.ages import Ages
from wordtide.sources.files.archive import Elsewhere, PutAway
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.departures import Departures
from wordtide.sources.files.doubts import Doubts
from wordtide.sources.files.file_ids import ASK_SECONDS, FileIds, id_of
from wordtide.sources.files.identity import is_taken
from wordtide.sources.files.names import Verdict, left_out, names_of, speakable
from wordtide.sources.files.plan import LandingPlan, plan_landing
from wordtide.sources.files.plan import cut as cut_file
from wordtide.sources.files.read import (
    CorruptFile,
    NotReady,
    UnreadableFile,
    plain_files,
    read_files,
    text_range,
    verify_each_unchanged,
    verify_unchanged,
)
from wordtide.sources.files.unreadable import Unreadables, closed_entries, odd_entries
from wordtide.storage import FileInfo, PathProblem, Readable, Storage, Survey
from wordtide.storage.fileid import UNKNOWN
from wordtide.table.ledger import Ledger

PIECE_BYTES = 32 << 20
"""Smaller pieces of a file are not worth a task of their own."""


@dataclass(frozen=True, slots=True)
class LandingReader:
    """Reads splits of landed files as text.

    Attributes:
        storage: The file system they are on.
        window_us: Length of an event-time window, µs.
        latest_ms: Later modification times are clamped to this one (ms since the epoch).
        quarantine: Which lines are put aside.
    """

    storage: Readable
    window_us: int
    latest_ms: int
    quarantine: Quarantine = NOTHING

    def read(self, splits: Sequence[Split]) -> Generator[Text, None, tuple[SplitProof, ...]]:
        """Yield the lines of all splits as text and return their proofs."""
        files = [split for split in splits if isinstance(split, FileSplit)]
        return (
            yield from read_files(
                self.storage,
                files,
                window_us=self.window_us,
                latest_ms=self.latest_ms,
                quarantine=self.quarantine,
            )
        )

    def line(self, file: FileSplit) -> bytes:
        """Return one line of a file's text, by its place."""
        return text_range(self.storage, file)

    def cut(self, splits: Sequence[Split], tasks: int) -> list[list[Split]]:
        """Return the files divided into about ``tasks`` pieces of equal size; large plain files are cut."""
        files = [split for split in splits if isinstance(split, FileSplit)]
        total = sum(split.length for split in files)
        piece = max(PIECE_BYTES, -(-total // max(tasks, 1)))
        # A line that is put aside is known by its place in the file, which only who reads from its begin knows.
        large = [] if self.quarantine else [split for split in files if split.length > piece and not split.as_text]
        plain = plain_files(self.storage, large) if large else set()
        parts = [part for split in files for part in (cut_file(split, piece) if split.path in plain else [split])]
        groups: list[list[Split]] = [[]]
        held = 0
        # Many small files: equal bytes alone would leave all of them to one task when they are empty or tiny.
        most = max(1, -(-len(parts) // max(tasks, 1)))
        for part in parts:
            if groups[-1] and (held + part.end - part.start > piece or len(groups[-1]) >= most):
                groups.append([])
                held = 0
            groups[-1].append(part)
            held += part.end - part.start
        return [group for group in groups if group]

    def settle(self, splits: Sequence[Split], pieces: Sequence[SplitProof]) -> None:
        """See `SplitReader`. A file is read as planned or not at all."""
        del splits, pieces


@dataclass(frozen=True, slots=True)
class LandingLook:
    """See `wordtide.core.source.Look`.

    Attributes:
        folder: Whose.
        seen: What the listing found.
        at: When it began, monotonic seconds.
    """

    folder: LandingFolder
    seen: Survey
    at: float

    def plan(self, ledger: Ledger, stored: Stored) -> SourcePlan:
        """See `Look`."""
        del stored  # files are their own position
        return self.folder.plan(self.seen, self.at, ledger)


class LandingFolder:
    """A landing folder as a source."""

    def __init__(self, stream: Stream, storage: Storage, root: str, archive: str | None = None) -> None:
        if stream.config.landing is None:
            raise ValueError(f"stream {stream.name} has no landing source")
        self._config = stream.config
        self._landing = stream.config.landing
        self._storage = storage
        self._root = root
        self._names = names_of(self._landing.glob, self._landing.in_progress)
        self._bound: frozenset[str] | None = None
        self._first: LandingLook | None = None
        self._refused: dict[tuple[str, int, int], str] = {}
        self._unreadable = Unreadables()
        self._ages = Ages(self._config, storage)
        self._namespace: str | None = None
        self._suspects: Counter[str] = Counter()
        self._ids = FileIds(storage)
        self._doubts = Doubts(storage)
        self._putaway = PutAway(storage, root.rstrip("/"), archive, self._landing.after == "keep")
        self._departures = Departures(self._putaway)
        self._elsewhere: dict[str, str] = {}

    def found(self) -> Founding:
        """Record whose files they are. The folder must exist."""
        self._survey()
        return Founding(self._identity(), (), ())

    def _identity(self) -> dict[str, str]:
        if self._namespace is None:
            self._namespace = self._storage.namespace()
        return {"namespace": self._namespace, "path": self._root}

    def fix_ends(self) -> None:
        """Take no file that is not there at this moment."""
        self._first = LandingLook(self, self._survey(), time.monotonic())
        self._bound = frozenset(file.path for file in self._first.seen.files)

    def look(self) -> LandingLook:
        """See `Source`. The first look of a run by hand is the listing that fixed its ends."""
        first, self._first = self._first, None
        if first is not None:
            return first
        began = time.monotonic()
        return LandingLook(self, self._survey(), began)

    def _survey(self) -> Survey:
        """List the folder, without the folders in which the glob can mean nothing."""
        return self._storage.survey(self._root, lambda folder: self._names.may_hold(folder[self._skip :]))

    def examine(self, ledger: Ledger) -> SourcePlan:
        """Return a plan that shows as well which counted files have another id, where no listing shows ids (HDFS).

        A drain finds those between its batches. Takes at most `ASK_SECONDS` more than a plan.
        """
        look = self.look()
        plan = look.plan(ledger, lambda _app_id: None)
        if not self._ids.check_all(ledger, ASK_SECONDS):
            return plan
        return look.plan(ledger, lambda _app_id: None)

    def plan(self, seen: Survey, at: float, ledger: Ledger) -> SourcePlan:
        """Plan the next batch from a listing, begun at a monotonic time, and the files the ledger holds."""
        if ledger.identity and ledger.identity != self._identity():
            raise TableRefused(
                f"the table belongs to the landing folder {ledger.identity['path']} ({ledger.identity['namespace']}),"
                f" not to {self._root} ({self._namespace}); put streams.yaml back, or name a new stream"
            )
        found_anew, in_progress = self._news(seen.files, ledger)
        self._ids.saw(seen.folders)
        wanted = [*self._ids.of(found_anew), *self._ids.suspects(seen.files, ledger)]
        # What takes the path of a file that is on its way out waits until that is recorded.
        news = [file for file in wanted if not self._departures.holds(file.path)]
        stillness = self._ages.stillness(news, at)
        judged = self._doubts.judge(news, seen.files, ledger, stillness)
        refused = {
            FileSplit(file.path, file.length, file.mtime_ms, 0, file.length, file_id=file.file_id): reason
            for file in judged.files
            if (reason := self._refused.get((file.path, file.length, file.mtime_ms))) is not None
            and file.path not in ledger.parked
        }
        parked = ledger.parked.keys() | {split.path for split in refused}
        found = self._unreadable.sort(judged.files, ledger, time.monotonic())
        plan = self._planned(found.fresh, ledger, parked, stillness, judged.replaced)
        young = (*plan.young, *judged.young)
        # Whatever keeps a complete file from being taken now (a cap, a second look at a loss), it stays complete.
        kept = [file for file in news if file.mtime_ms > stillness.young_after_ms]
        due = self._ages.sight(stillness, young, kept)
        # By themselves: whatever they do, it is not done to others. They are few, and rarely tried.
        again = self._planned(found.again, ledger, parked, stillness, judged.replaced) if found.again else None
        splits = again.splits if again is not None and again.splits else plan.splits
        unread = len({one.parked.what for one in (*found.held, *judged.held)} | {file.path for file in found.again})
        if not self._putaway.keep:
            planned = {split.path for split in splits}
            self._departures.offer(
                [
                    file
                    for file in seen.files
                    if (is_taken(file, ledger.files.get(file.path)) or file.path in planned)
                    and file.path not in judged.needed
                ]
            )
        lost = (*plan.parked, *(again.parked if again is not None else ()))
        parked_now = self._not_on_their_way_out(lost, ledger)
        return SourcePlan(
            splits,
            (),
            (
                *(Parked(split.path, reason, split) for split, reason in refused.items()),
                *parked_now,
            ),
            plan.backlog_files + unread - len(splits),
            plan.waiting + len(judged.young) + len(lost) - len(parked_now),
            plan.behind or (splits is not plan.splits and plan.backlog_files > 0),
            FileCount(ledger.taken + len(splits)),
            FileCount(ledger.taken),
            held=(*judged.held, *found.held, *closed_entries(seen.closed, self._names, self._skip, ledger)),
            bytes=plan.backlog_bytes,
            settled=judged.settled,
            away=self._departures.due(ledger, at_once=not splits or len(news) < len(wanted)),
            doubtful=tuple(doubt.line for doubt in self._doubts.open if doubt.file.path not in ledger.stalled),
            due=due,
            ripe=sum(map(stillness.looks_complete, young)),
            retried=splits is not plan.splits,
            reread=any(doubt.file.path in ledger.stalled for doubt in self._doubts.open),
            left_out=left_out(in_progress, odd_entries(seen.odd, self._names, self._skip)),
        )

    def _planned(
        self,
        files: Sequence[FileInfo],
        ledger: Ledger,
        parked: Collection[str],
        stillness: Stillness,
        replaced: Mapping[str, str],
    ) -> LandingPlan:
        return plan_landing(
            files,
            ledger.files,
            parked,
            stillness=stillness,
            max_files=self._config.max_files,
            max_bytes=self._config.max_bytes,
            under_construction=self._under_construction,
            suspects=self._suspects,
            replaced=replaced,
        )

    def _not_on_their_way_out(self, parked: Sequence[Parked], ledger: Ledger) -> Sequence[Parked]:
        """Return what is replaced: not where another drain has taken the counted file out and not recorded it yet."""
        if self._putaway.keep or not any(one.what in ledger.files for one in parked):
            return parked
        waiting = self._putaway.waiting()
        return [one for one in parked if one.what not in waiting]

    def _news(self, seen: Sequence[FileInfo], ledger: Ledger) -> tuple[list[FileInfo], list[tuple[int, str]]]:
        """Return the files meant for us and not surely taken, and mtime and path of those with names in progress."""
        files, skip, verdict, bound = ledger.files, self._skip, self._names.verdict, self._bound
        wanted: list[FileInfo] = []
        in_progress: list[tuple[int, str]] = []
        for file in seen:
            if is_taken(file, files.get(file.path)):
                continue
            match verdict(file.path[skip:]):
                case Verdict.WANTED:
                    if bound is None or file.path in bound:
                        wanted.append(file)
                case Verdict.IN_PROGRESS:
                    in_progress.append((file.mtime_ms, speakable(file.path)))
        return wanted, in_progress

    @property
    def _skip(self) -> int:
        """Characters before a path below the landing folder."""
        return len(self._root.rstrip("/")) + 1

    def _under_construction(self, path: str) -> bool:
        try:
            return self._storage.under_construction(path)
        except PathProblem:
            # Who may not ask may not read it either: the reader will say so, of this file alone.
            return False

    def tidy(self, ledger: Ledger) -> tuple[bool, WordtideError | None]:
        """See `Source`."""
        try:
            read = self._doubts.read() | self._ids.check(ledger)
            more = self._departures.step(ledger)
        except WordtideError as problem:
            return False, problem
        return read or more, self._departures.problem

    def with_content(self, file: FileSplit) -> FileSplit:
        """Return a file that is to be left as it is with its id and digest; without a digest where these are not known.

        Args:
            file: As the ledger has it parked, or recorded as unreadable. Another length or time is another file.

        Raises:
            SourceUnavailable: The storage does not answer.
        """
        unknown = replace(file, digest=None)
        try:
            found = self._storage.stat(file.path)
            if (found.length, found.mtime_ms) != (file.length, file.mtime):
                return unknown
            found = found._replace(file_id=id_of(self._storage, found))
            content = digest.of(self._storage.read_range(file.path, 0, found.length))
            now = self._storage.stat(file.path)
        except (FileNotFoundError, PathProblem):
            # That it cannot be read is often why it is left out.
            return unknown
        if (now.length, now.mtime_ms) != (found.length, found.mtime_ms):
            return unknown
        return replace(file, file_id=found.file_id, digest=content)

    def as_it_is(self, file: FileSplit, ledger: Ledger, *, freed: bool = False) -> FileSplit:
        """Return a file that was taken as it is now: in its place, or else in the archive or where it was moved.

        Args:
            file: As it was taken.
            ledger: What was taken, moved files under their present paths.
            freed: It was put away or moved since: what has its path now is another file.

        Raises:
            DecisionRefused: It is gone.
        """
        try:
            found = None if freed else self._storage.stat(file.path)
        except FileNotFoundError:
            found = None
        if found is None:
            elsewhere = self._putaway.archived(file) or self._moved(file, ledger)
            if elsewhere is None and freed:
                raise DecisionRefused(f"{file.path} was put away or moved since, and is gone. Nothing was changed")
            if elsewhere is None:
                raise DecisionRefused(f"{file.path} is gone; put it back, or skip it. Nothing was changed")
            self._elsewhere[file.path] = elsewhere
            # There it has another change time.
            return replace(file, file_id=UNKNOWN, freed=freed)
        # A former file of this path may have been read elsewhere before.
        self._elsewhere.pop(file.path, None)
        same = (found.length, found.mtime_ms) == (file.length, file.mtime)
        identity = (found.path, found.length, found.mtime_ms, 0, found.length)
        return FileSplit(*identity, as_text=same and file.as_text, file_id=id_of(self._storage, found))

    def _moved(self, file: FileSplit, ledger: Ledger) -> str | None:
        """Return another path in the folder under which the ledger knows a file by node and digest, if it is there."""
        identity = (file.length, file.mtime, file.digest)
        if file.digest is None:
            return None
        for path, taken in sorted(ledger.with_nodes([file.file_id])):
            if path == file.path or (taken.length, taken.mtime, taken.digest) != identity:
                continue
            try:
                found = self._storage.stat(path)
            except FileNotFoundError:
                continue
            if (found.length, found.mtime_ms) == (file.length, file.mtime):
                return path
        return None

    def reject(self, problem: ReadFailed) -> None:
        """Have the next plans park what is corrupt, leave out what cannot be read, look twice at what has changed."""
        if isinstance(problem, CorruptFile):
            unreadable: dict[str, UnreadableFile] = {}
            for file in (problem, *problem.also):
                if isinstance(file, UnreadableFile):
                    # Once, into however many pieces it was cut.
                    unreadable[file.path] = file
                else:
                    self._refused[file.split.path, file.split.length, file.split.mtime] = file.reason
            for file in unreadable.values():
                self._unreadable.failed(file.split, file.reason, time.monotonic())
        elif isinstance(problem, NotReady):
            self._suspects.update([file.path for file in (problem, *problem.also)])
        else:
            raise TypeError(f"no problem of a folder: {problem!r}")

    def reader(self, latest_ms: int, *, whole: bool = False) -> LandingReader:
        """See `Source`."""
        storage = Elsewhere(self._storage, dict(self._elsewhere)) if self._elsewhere else self._storage
        quarantine = NOTHING if whole else quarantine_of(self._config)
        return LandingReader(storage, round(self._config.window * 1_000_000), latest_ms, quarantine)

    def verify(self, ledger: Ledger, splits: Sequence[Split]) -> None:
        """Prove that no file changed while it was read."""
        del ledger
        files = [split for split in splits if isinstance(split, FileSplit)]
        verify_unchanged(self._storage, self._root, [file for file in files if file.path not in self._elsewhere])
        archived = [file for file in files if file.path in self._elsewhere]
        verify_each_unchanged(Elsewhere(self._storage, self._elsewhere), archived)

    def close(self) -> None:
        """Nothing to close: file systems hold no connection that matters."""

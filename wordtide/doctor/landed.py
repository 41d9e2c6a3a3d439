"""Whether a drain can read what has landed: what the glob wants, what cannot be looked at, the files that come next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wordtide.config import Stream
from wordtide.core.model import FileSplit, Split
from wordtide.doctor.findings import Finding, Line, bad
from wordtide.sources.files.names import Verdict, names_of
from wordtide.sources.files.source import LandingFolder
from wordtide.status.lag import lines_of
from wordtide.storage import HdfsAddress, PathProblem, Storage, Survey
from wordtide.table.ledger import Ledger
from wordtide.wiring import open_source, open_table

READ_FILES = 50
READ_BYTES = 16 << 20
"""Of the next files so many are read, and at most so many bytes: some tenths of a second."""


def folder_content(stream: Stream, survey: Survey, root: str) -> tuple[str, tuple[str, str] | None]:
    """Return how many files the glob wants, as a person says it, and what is wrong with it and what to do, if it is."""
    assert stream.config.landing is not None
    glob = stream.config.landing.glob
    names = names_of(glob, stream.config.landing.in_progress)
    skip = len(root.rstrip("/")) + 1
    verdicts = [names.verdict(file.path[skip:]) for file in survey.files]
    wanted = verdicts.count(Verdict.WANTED)
    said = "1 file" if wanted == 1 else f"{wanted:,} files"
    if Verdict.WANTED in verdicts or Verdict.IN_PROGRESS in verdicts or not verdicts:
        return said, None
    inside = next((file.path[skip:] for file in survey.files if names.glob.matches(_above(file.path[skip:]))), None)
    if inside is not None:
        what = f"the glob {glob!r} matches a folder, but only files are taken: {inside} and the like are not"
        return said, (what, f"set landing.glob to {glob.rstrip('/')}/** to take everything in it")
    return f"{said}: none of the {len(verdicts):,} there matches the glob {glob!r}", None


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def landed_files(line: Line, stream: Stream, storage: Storage, hdfs: HdfsAddress | None) -> Iterator[Finding]:
    """Yield what a drain would find that cannot be read: what is listed so, and of the next files what is tried here.

    Raises:
        WordtideError: Folder or table cannot be looked at.
    """
    snapshot = open_table(stream, hdfs).snapshot()
    ledger = snapshot.ledger if snapshot is not None else Ledger("")
    source = open_source(stream, hdfs=hdfs)
    try:
        assert isinstance(source, LandingFolder)
        plan = source.examine(ledger)
    finally:
        source.close()
    tried = dict(_tried(storage, plan.splits))
    recorded = {one.parked.what: one.line for one in plan.held}
    found = {what: line for what, line in recorded.items() if tried.get(what, line)}
    found |= {what: f"{what}: {reason}" for what, reason in tried.items() if reason and what not in recorded}
    if found:
        noun = "1 file or folder" if len(found) == 1 else f"{len(found):,} files or folders"
        do = f"make it readable to have it counted, or leave it out: wordtide resolve {stream.name} WHAT --as skip"
        yield bad(line, f"{noun} cannot be read, the rest is counted: {lines_of(list(found.values()))}", do)
    if plan.doubtful:
        noun = "1 file" if len(plan.doubtful) == 1 else f"{len(plan.doubtful):,} files"
        do = "the next drain compares the content with what was counted; other content is parked"
        yield bad(line, f"{noun} in doubt: {lines_of(plan.doubtful)}", do, stops=False)
    if plan.left_out:
        yield bad(line, plan.left_out.line, "rename complete files; delete abandoned ones", stops=False)


def _tried(storage: Storage, splits: Sequence[Split]) -> Iterator[tuple[str, str | None]]:
    """Read some of the next files, and yield each with why it cannot be read; None if it can, as far as was tried."""
    left = READ_BYTES
    for split in splits[:READ_FILES]:
        assert isinstance(split, FileSplit)
        reason = None
        try:
            for piece in storage.read_range(split.path, 0, min(split.length, left)):
                left -= len(piece)
        except FileNotFoundError:
            continue
        except PathProblem as problem:
            reason = problem.reason
        yield split.path, reason
        if left <= 0:
            return

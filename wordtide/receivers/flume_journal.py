"""Lands files together with the marks of what they hold, in one step that a power cut cannot divide.

In a hidden folder of the landing folder there are numbered entries. A file is landed so:

1. its content is written there, under its name, durably;
2. the next entry is written durably: this file's name and the marks that hold once it has landed. That is the moment;
3. the file is renamed into the landing folder.

A receiver that starts finishes what an entry has promised, throws content away that no entry names, and goes on from
the entries' marks: from what landed, whatever has become of the landed files since (they may be counted and deleted).

A number is taken once. A receiver that starts takes the next one for itself, so another that still lands here finds it
taken when it wants to write its next entry, and ends: of two, only the younger lands, and no mark is lost.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from wordtide.core.problems import EnvironmentProblem, WordtideError
from wordtide.receivers.doubts import Doubts
from wordtide.receivers.flume_lines import Segment, digest_of
from wordtide.receivers.flume_marks import MAX_LINES, Marks, note_of, segments_of
from wordtide.receivers.landing import LandingEnded, pieces
from wordtide.storage import FileInfo, Storage

FOLDER = ".wordtide-flume"
PREFIX = "flume"
"""How the names of landed files begin."""
_WHOLE_EVERY, _WHOLE_AT_LATEST = 100, 400
"""Entries after which one holds all marks: the second number while those would be larger than the entries."""
_EARLIER_BYTES = 64 << 20
_ENTRY = re.compile(r"(\d{12})\.json")


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    lands: str
    whole: bool
    marks: Mapping[str, Sequence[Segment]]
    doubts: Doubts

    def text(self) -> bytes:
        content = {
            "lands": self.lands,
            "whole": self.whole,
            "doubtful": self.doubts.note(),
            "marks": {key: note_of(segments) for key, segments in self.marks.items()},
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, number: int, text: bytes, where: str) -> _Entry:
        try:
            content = json.loads(text)
            marks = {str(key): segments_of(note) for key, note in content["marks"].items()}
            doubts = Doubts.of(content.get("doubtful", {}))
            return cls(number, str(content["lands"]), bool(content["whole"]), marks, doubts)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EnvironmentProblem(
                f"{where}: is damaged, so what agents have delivered is not known; delete the folder it is in to begin"
                " anew: agents may then repeat their last batch"
            ) from error


@dataclass(frozen=True, slots=True)
class Put:
    """What the lander is told of the lines that are put at once, for `Journal.write`.

    Attributes:
        segments: What changes with them, by `key_of`.
        doubts: How many of them are doubtful.
    """

    segments: Mapping[str, Sequence[Segment]]
    doubts: Doubts


class Journal:
    """The marks of one landing folder.

    Args:
        storage: Where that is.
        root: The landing folder.
    """

    def __init__(self, storage: Storage, root: str) -> None:
        self._storage = storage
        self._root = root.rstrip("/")
        self._folder = f"{self._root}/{FOLDER}"
        self._marks = Marks()
        self._doubts = Doubts()
        self._number = 0
        self._own = 0  # The entry this receiver began with: it keeps an older one out, so it stays.
        self._whole = 0
        self._whole_bytes = self._bytes_since = 0
        self._replaced = range(0)  # Entries that a whole one has replaced.
        self._next: _Entry | None = None  # Of the file being landed; the marks hold it already.
        self._decided = ""  # The name of the latest file whose entry is written.

    def open(self) -> Marks:
        """Finish what another receiver began, keep it out from now on, and return the marks.

        Raises:
            EnvironmentProblem: An entry is damaged, or another receiver is landing here at this moment.
            WordtideError: The storage does not answer.
        """
        self._storage.mkdirs(self._folder)
        listed = {file.path.rpartition("/")[2]: file.length for file in self._storage.list_files(self._folder)}
        entries = _read(self._storage, self._folder, listed)
        for entry in entries:
            self._apply(entry)
        self._number = self._own = self._whole = entries[-1].number + 1 if entries else 1
        segments = self._marks.segments()
        try:
            self._whole_bytes = self._write_entry(_Entry(self._own, "", True, segments, self._doubts))
        except FileExistsError:
            raise EnvironmentProblem(f"{self._root}: another receiver for Flume lands here; stop it first") from None
        for entry in entries:
            # Once more, as the other receiver may have staged it after the listing.
            if entry.lands and self._storage.exists(self._staged(entry.lands)):
                self._storage.rename(self._staged(entry.lands), f"{self._root}/{entry.lands}")
        for name in listed:
            self._storage.delete(f"{self._folder}/{name}")
        # Its own, as it also knows what is on its way.
        marks = Marks(self._earlier() if self._marks.undigested else None)
        for key, changes in segments.items():
            marks.apply(key, changes)
        return marks

    def write(self, path: str, data: bytearray, notes: Mapping[str, Any]) -> None:
        """Land a file and its marks; see `wordtide.receivers.landing.Write`.

        Args:
            path: The file's.
            data: Its content.
            notes: A `Put` for each put, in their order, under any keys.

        Raises:
            LandingEnded: Another receiver has taken over.
            WordtideError: The storage does not answer, or has no room: to be tried again.
            OSError: Likewise.
        """
        name = path.rpartition("/")[2]
        if self._decided != name:
            self._stage(name, data)
            self._decide(name, list(notes.values()))
        try:
            self._storage.rename(self._staged(name), path)
        except FileNotFoundError:
            # A try whose success we were not told of; else a younger receiver has landed it, or thrown it away.
            if not self._storage.exists(path):
                raise self._ended() from None
        self._forget()

    def _stage(self, name: str, data: bytearray) -> None:
        staged = self._staged(name)
        try:
            self._storage.write_durably(staged, pieces(data), private=True)
        except FileExistsError:
            # An earlier try's, of which we do not know whether it is whole.
            self._storage.delete(staged)
            self._storage.write_durably(staged, pieces(data), private=True)

    def _decide(self, name: str, puts: Sequence[Put]) -> None:
        if self._next is None or self._next.lands != name:
            self._next = self._entry(name, puts)
        entry = self._next
        try:
            size = self._write_entry(entry)
        except FileExistsError:
            path = self._path(entry.number)
            size = self._storage.stat(path).length
            [there] = _read(self._storage, self._folder, {path.rpartition("/")[2]: size})
            if there.lands != name:
                raise self._ended() from None
        self._number, self._decided = entry.number, name
        self._bytes_since += size
        if entry.whole:
            self._replaced = range(max(self._own + 1, self._whole), entry.number)
            self._whole, self._whole_bytes, self._bytes_since = entry.number, size, 0

    def _entry(self, name: str, puts: Sequence[Put]) -> _Entry:
        """Return the next entry, and hold its marks from now on: what fails is tried again."""
        segments: dict[str, list[Segment]] = {}
        for put in puts:
            self._doubts = self._doubts.more(put.doubts.lines, put.doubts.agent, put.doubts.file)
            for key, changes in put.segments.items():
                segments.setdefault(key, []).extend(changes)
        for key, changed in segments.items():
            self._marks.apply(key, changed)
        number = self._number + 1
        since = number - self._whole
        whole = since >= _WHOLE_AT_LATEST or (since >= _WHOLE_EVERY and self._bytes_since >= self._whole_bytes)
        return _Entry(number, name, whole, self._marks.segments() if whole else segments, self._doubts)

    def _apply(self, entry: _Entry) -> None:
        if entry.whole:
            self._marks = Marks()
        for key, segments in entry.marks.items():
            self._marks.apply(key, segments)
        self._doubts = entry.doubts

    def _earlier(self) -> array[int]:
        """Return the digests of the lines that landed last: of those a version landed that kept none."""
        prefix = f"{self._root}/{PREFIX}-"
        files = [file for file in self._storage.survey(self._root).files if file.path.startswith(prefix)]
        digests = array("Q")
        size = 0
        # Their names are in the order of landing.
        for file in sorted(files, key=lambda one: one.path, reverse=True):
            size += file.length
            if size > _EARLIER_BYTES or len(digests) >= MAX_LINES:
                break
            digests.extend(digest_of(line) for line in self._lines(file))
        return array("Q", sorted(digests))

    def _lines(self, file: FileInfo) -> Iterator[bytes]:
        content = b"".join(self._storage.read_range(file.path, 0, file.length))
        return iter(content.split(b"\n")[:-1])

    def _forget(self) -> None:
        """Delete the entries that a whole one has replaced; those that stay do no harm."""
        for number in self._replaced:
            with suppress(WordtideError, OSError):
                self._storage.delete(self._path(number))
        self._replaced = range(0)

    def _write_entry(self, entry: _Entry) -> int:
        return self._storage.write_durably(self._path(entry.number), [entry.text()])

    def _path(self, number: int) -> str:
        return f"{self._folder}/{_name(number)}"

    def _staged(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _ended(self) -> LandingEnded:
        return LandingEnded(
            f"{self._root}: another receiver for Flume lands here since; what it was not told about is sent to it again"
        )


def doubts_of(storage: Storage, root: str) -> Doubts:
    """Return the doubtful lines that have landed in a folder, whether or not a receiver runs.

    Raises:
        EnvironmentProblem: The newest entry is damaged.
        WordtideError: The storage does not answer.
    """
    folder = f"{root.rstrip('/')}/{FOLDER}"
    if not storage.exists(folder):
        return Doubts()
    entries = [file for file in storage.list_files(folder) if _ENTRY.fullmatch(file.path.rpartition("/")[2])]
    if not entries:
        return Doubts()
    newest = max(entries, key=lambda file: file.path)
    found = _read(storage, folder, {newest.path.rpartition("/")[2]: newest.length})
    return found[0].doubts if found else Doubts()


def _read(storage: Storage, folder: str, lengths: Mapping[str, int]) -> list[_Entry]:
    """Return the entries among some files, in order."""
    names = sorted(name for name in lengths if _ENTRY.fullmatch(name))
    found = storage.read_small([(f"{folder}/{name}", lengths[name]) for name in names])
    entries = []
    for name, text in zip(names, found, strict=True):
        if isinstance(text, Exception):
            raise text
        entries.append(_Entry.parse(int(name[:12]), text or b"", f"{folder}/{name}"))
    return entries


def _name(number: int) -> str:
    return f"{number:012d}.json"

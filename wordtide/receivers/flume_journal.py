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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from wordtide.errors import EnvironmentProblem, WordtideError
from wordtide.receivers.flume_marks import Mark, Recent
from wordtide.receivers.landing import LandingEnded, pieces
from wordtide.storage import Storage

FOLDER = ".wordtide-flume"
_WHOLE_EVERY = 100
_ENTRY = re.compile(r"(\d{12})\.json")


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    lands: str
    whole: bool
    marks: Mapping[str, Any]

    def text(self) -> bytes:
        content = {"lands": self.lands, "whole": self.whole, "marks": dict(self.marks)}
        return json.dumps(content, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, number: int, text: bytes, where: str) -> _Entry:
        try:
            content = json.loads(text)
            marks = {str(key): Mark.of(note).note() for key, note in content["marks"].items()}
            return cls(number, str(content["lands"]), bool(content["whole"]), marks)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EnvironmentProblem(
                f"{where}: is damaged, so what agents have delivered is not known; delete the folder it is in to begin"
                " anew: agents may then repeat their last batch"
            ) from error


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
        self._marks = Recent()
        self._number = 0
        self._own = 0  # The entry this receiver began with: it keeps an older one out, so it stays.
        self._whole = 0
        self._decided = ""  # The name of the latest file whose entry is written.

    def open(self) -> dict[str, Mark]:
        """Finish what another receiver began, keep it out from now on, and return the marks by `key_of`.

        Raises:
            EnvironmentProblem: An entry is damaged, or another receiver is landing here at this moment.
            WordtideError: The storage does not answer.
        """
        self._storage.mkdirs(self._folder)
        listed = {file.path.rpartition("/")[2]: file.length for file in self._storage.list_files(self._folder)}
        entries = self._read({name: length for name, length in listed.items() if _ENTRY.fullmatch(name)})
        for entry in entries:
            if entry.whole:
                self._marks.clear()
            for key, note in entry.marks.items():
                self._marks[key] = note
        self._number = self._own = self._whole = entries[-1].number + 1 if entries else 1
        try:
            self._write_entry(_Entry(self._own, "", True, self._marks))
        except FileExistsError:
            raise EnvironmentProblem(f"{self._root}: another receiver for Flume lands here; stop it first") from None
        for entry in entries:
            # Once more, as the other receiver may have staged it after the listing.
            if entry.lands and self._storage.exists(self._staged(entry.lands)):
                self._storage.rename(self._staged(entry.lands), f"{self._root}/{entry.lands}")
        for name in listed:
            self._storage.delete(f"{self._folder}/{name}")
        return {key: Mark.of(note) for key, note in self._marks.items()}

    def write(self, path: str, data: bytearray, notes: Mapping[str, Any]) -> None:
        """Land a file and its marks; see `wordtide.receivers.landing.Write`.

        Raises:
            LandingEnded: Another receiver has taken over.
            WordtideError: The storage does not answer, or has no room: to be tried again.
            OSError: Likewise.
        """
        name = path.rpartition("/")[2]
        if self._decided != name:
            self._stage(name, data)
            self._decide(name, notes)
        try:
            self._storage.rename(self._staged(name), path)
        except FileNotFoundError:
            # A try whose success we were not told of; else a younger receiver has landed it, or thrown it away.
            if not self._storage.exists(path):
                raise self._ended() from None
        if self._whole == self._number:
            self._forget()

    def _stage(self, name: str, data: bytearray) -> None:
        staged = self._staged(name)
        try:
            self._storage.write_durably(staged, pieces(data), private=True)
        except FileExistsError:
            # An earlier try's, of which we do not know whether it is whole.
            self._storage.delete(staged)
            self._storage.write_durably(staged, pieces(data), private=True)

    def _decide(self, name: str, notes: Mapping[str, Any]) -> None:
        number = self._number + 1
        whole = number - self._whole >= _WHOLE_EVERY
        marks = Recent(self._marks)
        for key, note in notes.items():
            marks[key] = note
        try:
            self._write_entry(_Entry(number, name, whole, marks if whole else notes))
        except FileExistsError:
            [there] = self._read({_name(number): self._storage.stat(self._path(number)).length})
            if there.lands != name:
                raise self._ended() from None
        self._marks, self._number, self._decided = marks, number, name
        self._whole = number if whole else self._whole

    def _forget(self) -> None:
        """Delete the entries that a whole one has replaced; those that stay do no harm."""
        for number in range(max(self._own + 1, self._number - _WHOLE_EVERY), self._number):
            with suppress(WordtideError, OSError):
                self._storage.delete(self._path(number))

    def _read(self, lengths: Mapping[str, int]) -> list[_Entry]:
        names = sorted(lengths)
        found = self._storage.read_small([(f"{self._folder}/{name}", lengths[name]) for name in names])
        entries = []
        for name, text in zip(names, found, strict=True):
            if isinstance(text, Exception):
                raise text
            entries.append(_Entry.parse(int(name[:12]), text or b"", f"{self._folder}/{name}"))
        return entries

    def _write_entry(self, entry: _Entry) -> None:
        self._storage.write_durably(self._path(entry.number), [entry.text()])

    def _path(self, number: int) -> str:
        return f"{self._folder}/{_name(number)}"

    def _staged(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _ended(self) -> LandingEnded:
        return LandingEnded(
            f"{self._root}: another receiver for Flume lands here since; what it was not told about is sent to it again"
        )


def _name(number: int) -> str:
    return f"{number:012d}.json"

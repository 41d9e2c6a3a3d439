"""What is asked about file ids, and how rarely: the questions to WebHDFS follow what changes, not what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wordtide.core.model import Taken
from wordtide.core.problems import SourceUnavailable
from wordtide.sources.files.file_ids import PAGES_AT_ONCE, PAUSE_SECONDS, FileIds
from wordtide.storage import FileInfo
from wordtide.table.ledger import Ledger


class Numbered:
    """A storage that knows ids by path, and remembers what it was asked."""

    def __init__(self, **ids: int) -> None:
        self.ids = {f"/in/{name}": number for name, number in ids.items()}
        self.pages = 1
        self.away = False
        self.asked: list[str] = []

    def identified(self, files: Sequence[FileInfo], seconds: float) -> list[FileInfo]:
        self._ask(*(file.path for file in files))
        return [file._replace(file_id=self.ids[file.path]) for file in files]

    def pages_with_ids(self, folder: str) -> Iterator[list[FileInfo]]:
        for _ in range(self.pages):
            self._ask(folder)
            yield [listed(path)._replace(file_id=number) for path, number in self.ids.items()]

    def _ask(self, *paths: str) -> None:
        self.asked += paths
        if self.away:
            raise SourceUnavailable("the NameNode's HTTP port does not answer")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def listed(path: str) -> FileInfo:
    return FileInfo(path, 8, 1_000, 0)


def ids_of(storage: Numbered) -> tuple[FileIds, Clock]:
    clock = Clock()
    return FileIds(storage, clock), clock  # type: ignore[arg-type]


def ledger_of(**ids: int) -> Ledger:
    return Ledger("t", files={f"/in/{name}": Taken.of(8, 1_000, number, 1) for name, number in ids.items()})


def test_a_new_file_is_asked_for_once_and_what_has_its_id_not_at_all() -> None:
    storage = Numbered(a=1, b=2)
    ids, _ = ids_of(storage)
    waiting = [listed("/in/a"), listed("/in/c")._replace(file_id=3)]
    for _ in range(2):
        assert [file.file_id for file in ids.of(waiting)] == [1, 3]
    assert [file.file_id for file in ids.of([*waiting, listed("/in/b")])] == [1, 3, 2]
    assert storage.asked == ["/in/a", "/in/b"]


def test_where_nobody_answers_ids_are_unknown_and_asked_for_again_after_a_pause() -> None:
    storage = Numbered(a=1)
    storage.away = True
    ids, clock = ids_of(storage)
    for _ in range(2):
        assert ids.of([listed("/in/a")]) == [listed("/in/a")]
    ids.saw({"/in": 5})
    assert not ids.check(ledger_of(a=7))
    assert storage.asked == ["/in/a"]
    storage.away, clock.now = False, clock.now + PAUSE_SECONDS
    assert ids.of([listed("/in/a")])[0].file_id == 1


def test_counted_files_are_checked_again_only_where_a_folder_has_changed_and_not_at_once() -> None:
    storage = Numbered(a=1)
    ids, clock = ids_of(storage)
    for mtime, later, asked in ((5, 0.0, 1), (6, 1.0, 1), (6, PAUSE_SECONDS, 2), (6, PAUSE_SECONDS, 2)):
        clock.now += later
        ids.saw({"/in": mtime})
        assert not ids.check(ledger_of(a=1))
        assert len(storage.asked) == asked


def test_a_counted_file_with_another_id_is_a_suspect_until_the_ledger_has_that_id() -> None:
    ids, _ = ids_of(Numbered(a=1, b=2))
    ids.saw({"/in": 5})
    seen = [listed("/in/a"), listed("/in/b")]
    ledger = ledger_of(a=1, b=9)
    assert ids.check(ledger)
    for _ in range(2):
        assert ids.suspects(seen, ledger) == [listed("/in/b")._replace(file_id=2)]
    assert ids.suspects(seen, ledger_of(a=1, b=2)) == []


def test_a_large_folder_is_checked_a_piece_at_a_time() -> None:
    storage = Numbered(a=1)
    storage.pages = PAGES_AT_ONCE + 1
    ids, _ = ids_of(storage)
    ids.saw({"/in": 5})
    for asked in (PAGES_AT_ONCE, storage.pages, storage.pages):
        ids.check(ledger_of(a=1))
        assert len(storage.asked) == asked

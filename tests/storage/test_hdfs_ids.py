"""File ids as WebHDFS shows them: in as few answers as will do, and only for files that are as they were listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Place, unique
from wordtide.core.problems import SourceUnavailable
from wordtide.storage import AccessDenied, FileInfo, HdfsStorage
from wordtide.storage.hdfs_ids import _place, with_ids

PAGE = 1000


class Folder:
    """Answers as WebHDFS does for one folder of files with ASCII names, and counts the questions."""

    def __init__(self, count: int) -> None:
        self.files = [FileInfo(f"/in/{number:06d}", 1, 5, 0, 1_000_000 + number) for number in range(count)]
        self.asked: list[str] = []

    def listed(self) -> list[FileInfo]:
        return [file._replace(file_id=0) for file in self.files]

    def __call__(self, path: str, operation: str, **parameters: str) -> Any:
        self.asked.append(operation)
        if operation == "GETFILESTATUS":
            return next(({"FileStatus": self._status(file)} for file in self.files if file.path == path), None)
        later = [file for file in self.files if file.path > f"/in/{parameters['startAfter']}"]
        return {
            "DirectoryListing": {
                "partialListing": {"FileStatuses": {"FileStatus": [self._status(file) for file in later[:PAGE]]}},
                "remainingEntries": len(later[PAGE:]),
            }
        }

    @staticmethod
    def _status(file: FileInfo) -> dict[str, Any]:
        return {
            "pathSuffix": file.path.rpartition("/")[2],
            "type": "FILE",
            "length": file.length,
            "modificationTime": file.mtime_ms,
            "blockSize": file.block_size,
            "fileId": file.file_id,
        }


@pytest.fixture
def landing(place: Place) -> Iterator[tuple[HdfsStorage, str]]:
    storage, root = HdfsStorage(place.hdfs), f"/{unique('ids')}"
    yield storage, root
    storage.delete(root)


def test_a_few_files_are_asked_for_one_by_one_and_many_by_the_page() -> None:
    for wanted, questions in ((1, ["GETFILESTATUS"]), (900, ["LISTSTATUS_BATCH"]), (2500, ["LISTSTATUS_BATCH"] * 3)):
        folder = Folder(20_000)
        some = folder.listed()[-wanted:]
        assert with_ids(folder, some, 60) == folder.files[-wanted:]
        assert folder.asked == questions


def test_pages_that_show_nothing_wanted_are_left_out() -> None:
    folder = Folder(20_000)
    some = folder.listed()[300:340] + folder.listed()[-340:-300]
    assert with_ids(folder, some, 60) == folder.files[300:340] + folder.files[-340:-300]
    assert len(folder.asked) == 2


def test_files_that_are_few_among_many_are_not_paid_for_by_a_page_each() -> None:
    folder = Folder(20_000)
    assert with_ids(folder, folder.listed()[::500], 60) == folder.files[::500]
    assert folder.asked.count("LISTSTATUS_BATCH") == 2


@pytest.mark.parametrize("wanted", [3, 60])
def test_a_file_that_has_changed_or_gone_since_it_was_listed_has_no_id(wanted: int) -> None:
    folder = Folder(wanted)
    listed = folder.listed()
    folder.files[0] = folder.files[0]._replace(length=2)
    folder.files[1] = folder.files[1]._replace(mtime_ms=6)
    del folder.files[2]
    assert [file.file_id != 0 for file in with_ids(folder, listed, 60)] == [False] * 3 + [True] * (wanted - 3)


@pytest.mark.parametrize("wanted", [3, 60])
def test_nothing_is_asked_once_time_is_up(wanted: int) -> None:
    folder = Folder(wanted)
    assert len(with_ids(folder, folder.listed(), 0)) == wanted
    assert folder.asked == []


def test_a_file_that_may_not_be_asked_about_costs_the_others_nothing() -> None:
    folders = {"/in": Folder(1), "/other": Folder(1)}

    def ask(path: str, operation: str, **parameters: str) -> Any:
        if path.startswith("/other"):
            raise AccessDenied(path, "permission denied")
        return folders["/in"](path, operation, **parameters)

    listed = [FileInfo("/other/000000", 1, 5, 0), *folders["/in"].listed()]
    assert [file.file_id for file in with_ids(ask, listed, 60)] == [0, 1_000_000]


def test_a_namenode_gives_ids_to_files_of_any_name_which_renaming_keeps(landing: tuple[HdfsStorage, str]) -> None:
    storage, root = landing
    names = [f"{stem}{number}" for stem in ("a ", "100%&?#", "größer", "Ж", "日", "𝄞", "z+") for number in range(5)]
    for name in [*names, "deep/er"]:
        storage.write_durably(f"{root}/{name}", [b"x"])
    found = {file.path: file.file_id for file in storage.identified(storage.list_files(root), 60)}
    assert len(set(found.values())) == len(names) + 1
    assert 0 not in found.values()
    in_order = [file.path.rpartition("/")[2] for page in storage.pages_with_ids(root) for file in page]
    assert in_order == sorted(names, key=_place)
    # Singly as by the page.
    assert {path: storage.identified([storage.stat(path)], 60)[0].file_id for path in found} == found
    storage.rename(f"{root}/Ж0", f"{root}/deep/renamed")
    (renamed,) = [file for page in storage.pages_with_ids(f"{root}/deep") for file in page if "renamed" in file.path]
    assert renamed.file_id == found[f"{root}/Ж0"]


def test_an_answer_that_is_no_namenodes_is_one_clear_line(place: Place) -> None:
    storage = HdfsStorage(place.hdfs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HdfsStorage, "_http", lambda *_: (200, b'{"FileStatus": {}}'))
        for ask in (
            lambda: storage.identified([FileInfo("/a/b", 1, 1, 0)], 60),
            lambda: list(storage.pages_with_ids("/a")),
        ):
            with pytest.raises(SourceUnavailable, match="answers without file ids"):
                ask()

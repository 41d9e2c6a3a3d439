"""`wordtide land`: whole or not at all, never over another file."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import Shell
from tests.support import unique
from wordtide.embedded.cluster import ClusterAddress
from wordtide.storage import HdfsAddress, storage_for


def landed(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files(folder: Path, **contents: bytes) -> list[Path]:
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def test_files_appear_in_a_folder_that_is_made(shell: Shell) -> None:
    target = shell.folder / "landing" / "today"
    answer = shell("land", *files(shell.folder, a=b"1\n", b=b""), target)
    assert (answer.code, answer.out, answer.err) == (0, "", f"landed 2 files in {target}\n")
    assert landed(target) == {"a": b"1\n", "b": b""}


def test_a_taken_name_is_one_line_and_nothing_is_landed(shell: Shell) -> None:
    target = shell.folder / "landing"
    target.mkdir()
    (target / "b").write_bytes(b"old")
    answer = shell("land", *files(shell.folder, a=b"1", b=b"new"), target)
    assert answer.code == 1
    assert "there is already a b" in answer.only_line
    assert landed(target) == {"b": b"old"}


def test_a_missing_file_is_one_line_and_nothing_is_landed(shell: Shell) -> None:
    target = shell.folder / "landing"
    answer = shell("land", *files(shell.folder, a=b"1"), shell.folder / "nope", target)
    assert (answer.code, answer.only_line) == (1, f"{shell.folder / 'nope'}: no such file")
    assert not target.exists()


def test_two_files_of_one_name_are_refused(shell: Shell) -> None:
    (shell.folder / "sub").mkdir()
    same = [*files(shell.folder, a=b"1"), *files(shell.folder / "sub", a=b"2")]
    assert "a: named 2 times" in shell("land", *same, shell.folder / "landing").only_line


def test_a_name_that_no_stream_takes_is_pointed_out(shell: Shell) -> None:
    hidden = shell.folder / "_x"
    hidden.write_bytes(b"1")
    answer = shell("land", hidden, shell.folder / "landing")
    assert answer.code == 0
    assert "no stream takes a file of this name" in answer.err


def test_a_file_where_the_folder_should_be_is_one_line(shell: Shell) -> None:
    source, target = files(shell.folder, a=b"1", landing=b"")
    assert shell("land", source, target).code == 1
    assert target.read_bytes() == b""


def test_hdfs_without_a_cluster_is_one_line_that_says_what_to_start(shell: Shell) -> None:
    answer = shell("land", *files(shell.folder, a=b"1"), "hdfs:///landing")
    assert answer.code == 1
    assert "wordtide up" in answer.only_line


def test_files_appear_in_hdfs_and_are_not_overwritten(served: Shell, cluster: ClusterAddress) -> None:
    folder = f"hdfs:///{unique('landed')}"
    storage, root = storage_for(folder, HdfsAddress(cluster.hdfs, cluster.webhdfs))
    [source] = files(served.folder, a=b"1\n2\n")
    assert served("land", source, folder).code == 0
    source.write_bytes(b"other")
    assert "there is already a a" in served("land", source, folder).only_line
    assert [file.path for file in storage.list_files(root)] == [f"{root}/a"]
    assert b"".join(storage.read_range(f"{root}/a", 0, 100)) == b"1\n2\n"

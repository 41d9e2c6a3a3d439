"""What `LocalStorage` does on a real file system."""

import errno
import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import wordtide.storage.local
from wordtide.core.problems import ConfigError, EnvironmentProblem, SourceUnavailable
from wordtide.storage import CHUNK_BYTES, HdfsAddress, HdfsStorage, LocalStorage, storage_for

ADDRESS = HdfsAddress("hdfs://127.0.0.1:9000", "127.0.0.1:9001")


@pytest.fixture
def storage():
    return LocalStorage()


@pytest.fixture
def root(tmp_path):
    return str(tmp_path)


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(storage, root):
    return sorted(info.path.removeprefix(f"{root}/") for info in storage.list_files(root))


@pytest.fixture
def forbidden(tmp_path):
    """A folder that may not be read. Root may read everything, so be somebody else for a while."""
    tmp_path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield
    tmp_path.chmod(0o700)


def test_files_are_listed_recursively_with_length_and_time(storage, tmp_path, root):
    path = put(tmp_path / "a/b c/d%20é\n.txt", b"12345")
    os.utime(path, ns=(0, 1_700_000_000_123_999_999))
    (info,) = storage.list_files(root)
    assert info[:4] == (str(path), 5, 1_700_000_000_123, 0)
    assert storage.stat(str(path)) == info


def test_hidden_folders_are_not_entered(storage, tmp_path, root):
    for name in ("a", "_tmp/a", ".x/a", "b/_temporary/0/a", "b/a", "b/_hidden"):
        put(tmp_path / name)
    assert listed(storage, root) == ["a", "b/_hidden", "b/a"]


def test_links_to_folders_are_not_followed_and_loops_do_no_harm(storage, tmp_path, root):
    put(tmp_path / "x/a")
    (tmp_path / "x/up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(tmp_path / "x/a")
    assert listed(storage, root) == ["linked", "x/a"]


def test_what_is_no_file_is_said_to_be_so(storage, tmp_path, root):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "null").symlink_to("/dev/null")
    put(tmp_path / "a")
    survey = storage.survey(root)
    assert [info.path for info in survey.files] == [f"{root}/a"]
    assert {odd.path.removeprefix(f"{root}/"): odd.what for odd in survey.odd} == {
        "fifo": "a named pipe",
        "loop": "a circular link",
        "dead": "a dangling link",
        "up": "a link to a folder, which is not followed",
        "null": "a device",
    }


OTHERS = """
import os, sys
from wordtide.storage import LocalStorage
root = sys.argv[1]
if os.geteuid() == 0:
    os.seteuid(65534)
survey = LocalStorage().survey(root, lambda folder: not folder.endswith("unwanted"))
for info in survey.files:
    print("file", info.path.removeprefix(root))
for closed in survey.closed:
    print(closed.folder, closed.path.removeprefix(root), closed.problem.reason)
try:
    LocalStorage().list_files(root)
except Exception as error:
    print(type(error).__name__)
"""


def test_entries_that_may_not_be_looked_at_are_named_and_the_others_are_listed():
    # In a process of its own, which becomes somebody else if it is root's; pytest's folders are closed to others.
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        put(root / "a")
        put(root / "in/b")
        for name, mode in (("lost+found", 0o700), ("names", 0o744), ("unwanted", 0o700)):
            put(root / name / "c")
            (root / name).chmod(mode if os.geteuid() == 0 else mode & 0o444)
        root.chmod(0o755)
        command = [sys.executable, "-c", OTHERS, made]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        for name in ("lost+found", "names", "unwanted"):
            (root / name).chmod(0o700)
    lines = sorted(ran.stdout.splitlines())
    assert lines[0] == "AccessDenied"
    assert [line.partition(" permission denied")[0] for line in lines[1:3]] == ["True /lost+found", "True /names"]
    assert lines[3:] == ["file /a", "file /in/b"]


def test_an_entry_that_gives_an_error_is_named_and_the_others_are_listed(storage, tmp_path, root, monkeypatch):
    for name in ("a", "bad", "in/b"):
        put(tmp_path / name)
    (tmp_path / "broken").mkdir()
    put(tmp_path / "broken/c")
    stat, scandir = os.stat, os.scandir

    def failing(call):
        def ask(path, *arguments, **options):
            if str(path).endswith(("bad", "broken")):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return call(path, *arguments, **options)

        return ask

    monkeypatch.setattr(wordtide.storage.local.os, "stat", failing(stat))
    monkeypatch.setattr(wordtide.storage.local.os, "scandir", failing(scandir))
    survey = storage.survey(root)
    assert sorted(info.path.removeprefix(f"{root}/") for info in survey.files) == ["a", "in/b"]
    assert sorted((closed.path.removeprefix(f"{root}/"), closed.folder) for closed in survey.closed) == [
        ("bad", False),
        ("broken", True),
    ]
    assert "Input/output error" in survey.closed[0].problem.reason


def test_only_regular_files_are_listed(storage, tmp_path, root):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty folder").mkdir()
    assert storage.list_files(root) == []


def test_a_name_that_is_not_utf8_is_listed(storage, root):
    with open(os.fsencode(root) + b"/caf\xe9", "wb"):
        pass
    assert listed(storage, root) == ["caf\udce9"]


def test_a_missing_folder_is_one_clear_line(storage, root):
    with pytest.raises(SourceUnavailable, match=r"^/.*/none: no such folder; create it or correct landing\.path$"):
        storage.list_files(f"{root}/none")


def test_a_file_in_a_folders_place_is_one_clear_line(storage, tmp_path):
    path = put(tmp_path / "a")
    with pytest.raises(SourceUnavailable, match="is a file, not a folder"):
        storage.list_files(str(path))


def test_a_folder_that_may_not_be_read_is_one_clear_line(storage, root, forbidden):
    with pytest.raises(SourceUnavailable, match=r"permission denied: user=.*; let this user read it"):
        storage.list_files(root)
    with pytest.raises(EnvironmentProblem, match=r"permission denied; let this user write there"):
        storage.write_durably(f"{root}/a", [b"x"])


def test_ranges_come_in_bounded_chunks(storage, tmp_path):
    content = os.urandom(1000) * 10_000
    path = str(put(tmp_path / "a", content))
    chunks = list(storage.read_range(path, 5, len(content)))
    assert b"".join(chunks) == content[5:]
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(storage.read_range(path, len(content) - 3, len(content) + 100)) == content[-3:]


def test_missing_files_are_file_not_found(storage, tmp_path, root):
    with pytest.raises(FileNotFoundError):
        list(storage.read_range(f"{root}/none", 0, 1))
    with pytest.raises(FileNotFoundError):
        storage.stat(f"{root}/none")
    with pytest.raises(FileNotFoundError):
        storage.stat(root)
    put(tmp_path / "a")
    assert not storage.exists(f"{root}/a/b")
    assert storage.exists(root)
    assert not storage.delete(f"{root}/none")


@pytest.mark.parametrize("private", [False, True])
def test_a_file_is_written_whole_with_its_folders(storage, tmp_path, root, private):
    assert storage.write_durably(f"{root}/x/y/a", [b"ab", b"", b"c"], private=private) == 3
    assert (tmp_path / "x/y/a").read_bytes() == b"abc"
    assert os.listdir(tmp_path / "x/y") == ["a"]


@pytest.mark.parametrize("private", [False, True])
def test_writing_to_a_taken_path_leaves_what_is_there(storage, tmp_path, root, private):
    put(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        storage.write_durably(f"{root}/a", [b"second"], private=private)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(root) == ["a"]


@pytest.mark.parametrize("private", [False, True])
def test_a_source_that_fails_leaves_nothing(storage, root, private):
    def chunks():
        yield b"x" * 100
        raise RuntimeError("source failed")

    with pytest.raises(RuntimeError, match="source failed"):
        storage.write_durably(f"{root}/a", chunks(), private=private)
    assert os.listdir(root) == []


@pytest.mark.parametrize("private", [False, True])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(root, private):
    # A limit on the file's size makes the kernel refuse in the middle of a write, as a full disk does.
    code = (
        "import resource, sys\n"
        "from wordtide.storage import LocalStorage\n"
        "from wordtide.core.problems import EnvironmentProblem\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: LocalStorage().write_durably(sys.argv[1], [b'x' * 60_000] * 3, private=sys.argv[2] == 'True')\n"
        "except EnvironmentProblem as problem: print(problem)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"{root}/x/a", str(private)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.startswith(f"{root}/x: no space left (")
    assert os.listdir(f"{root}/x") == []


def test_of_many_writers_and_renamers_one_wins(storage, tmp_path, root):
    def write(n):
        try:
            return storage.write_durably(f"{root}/a", [b"%d" % n] * 100) and n
        except FileExistsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [n for n in pool.map(write, range(1, 9)) if n]
    assert len(winners) == 1
    assert (tmp_path / "a").read_bytes() == b"%d" % winners[0] * 100
    put(tmp_path / "b", b"b")
    with pytest.raises(FileExistsError):
        storage.rename(f"{root}/b", f"{root}/a")
    storage.rename(f"{root}/b", f"{root}/c")
    assert listed(storage, root) == ["a", "c"]


@pytest.mark.parametrize("atomic", [True, False], ids=["renameat2", "link"])
def test_a_rename_says_what_is_missing_and_overwrites_nothing(storage, tmp_path, root, atomic, monkeypatch):
    if not atomic:
        monkeypatch.setattr(wordtide.storage.local, "_libc", object())
    for source, target in (("none", "b"), ("a", "none/b"), ("a", "a/b")):
        put(tmp_path / "a", b"a")
        with pytest.raises(FileNotFoundError):
            storage.rename(f"{root}/{source}", f"{root}/{target}")
    put(tmp_path / "folder/x")
    for taken in ("folder", "folder/x", "a"):
        with pytest.raises(FileExistsError):
            storage.rename(f"{root}/a", f"{root}/{taken}")
    assert listed(storage, root) == ["a", "folder/x"]
    storage.rename(f"{root}/a", f"{root}/folder/a")
    assert listed(storage, root) == ["folder/a", "folder/x"]


def test_a_rename_that_was_killed_between_link_and_unlink_is_finished(storage, tmp_path, root, monkeypatch):
    monkeypatch.setattr(wordtide.storage.local, "_libc", object())
    put(tmp_path / "a", b"a")
    os.link(tmp_path / "a", tmp_path / "b")
    storage.rename(f"{root}/a", f"{root}/b")
    assert listed(storage, root) == ["b"]
    with pytest.raises(FileExistsError):
        storage.rename(f"{root}/b", f"{root}/b")


def test_a_folder_is_renamed_with_what_it_holds(storage, tmp_path, root):
    put(tmp_path / "x/y/a")
    storage.rename(f"{root}/x", f"{root}/z")
    assert listed(storage, root) == ["z/y/a"]


def test_only_folders_without_files_are_pruned(storage, tmp_path, root):
    put(tmp_path / "x/full/a")
    for empty in ("x/empty/deeper", "x/full/empty", "y"):
        (tmp_path / empty).mkdir(parents=True)
    storage.prune(f"{root}/x")
    storage.prune(f"{root}/y")
    storage.prune(f"{root}/none")
    assert listed(storage, root) == ["x/full/a"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["x", "x/full", "x/full/a"]


def test_a_folder_in_a_files_place_is_no_such_file(storage, tmp_path, root):
    (tmp_path / "a").mkdir()
    put(tmp_path / "b")
    for path in (f"{root}/a", f"{root}/b/c"):
        with pytest.raises(FileNotFoundError):
            list(storage.read_range(path, 0, 1))
        assert list(storage.read_small([(path, 1)])) == [None]


def test_folders_are_made_and_deleted_with_what_they_hold(storage, tmp_path, root):
    storage.mkdirs(f"{root}/x/y")
    storage.mkdirs(f"{root}/x/y")
    put(tmp_path / "x/y/a")
    with pytest.raises(EnvironmentProblem, match="is a file, not a folder"):
        storage.mkdirs(f"{root}/x/y/a")
    assert storage.delete(f"{root}/x")
    assert os.listdir(root) == []


def test_a_local_disk_knows_no_open_files_and_one_namespace(storage, root):
    assert not storage.under_construction(f"{root}/a")
    assert storage.namespace() == "file"
    assert pickle.loads(pickle.dumps(storage)) == storage


@pytest.mark.parametrize(
    ("location", "address", "path"),
    [
        ("hdfs:///a/b", ADDRESS, "/a/b"),
        ("hdfs:///", ADDRESS, "/"),
        ("hdfs:///a//b/", ADDRESS, "/a/b"),
        ("hdfs:///a?b#c%20d", ADDRESS, "/a?b#c%20d"),
        ("hdfs://127.0.0.1:9000/a", ADDRESS, "/a"),
        ("hdfs://127.0.0.1:9000", ADDRESS, "/"),
        ("hdfs://nn:8020/a", HdfsAddress("hdfs://nn:8020", "nn:9870"), "/a"),
        ("hdfs://nameservice/a", HdfsAddress("hdfs://nameservice", "nameservice:9870"), "/a"),
    ],
)
def test_an_hdfs_location_is_completed_and_its_path_holds_no_host(location, address, path):
    assert storage_for(location, ADDRESS) == (HdfsStorage(address), path)


def test_a_folder_is_local(root):
    assert storage_for(f"{root}/x/", ADDRESS) == (LocalStorage(), f"{root}/x")
    assert storage_for("file:///x/y", None) == (LocalStorage(), "/x/y")


def test_an_hdfs_nobody_named_is_one_clear_line():
    with pytest.raises(SourceUnavailable, match="no HDFS is known; set WORDTIDE_HDFS_URL or start `wordtide up`"):
        storage_for("hdfs:///a", None)
    assert storage_for("hdfs://nn:8020/a", None)[1] == "/a"


@pytest.mark.parametrize("location", ["s3://bucket/a", "viewfs://x/a", "file://host/a"])
def test_other_storages_are_refused(location):
    with pytest.raises(ConfigError, match="neither a folder nor hdfs://"):
        storage_for(location, ADDRESS)

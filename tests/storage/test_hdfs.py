"""What `HdfsStorage` does on a real HDFS, and what it says when there is none."""

import http.server
import multiprocessing
import os
import pickle
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hdfs_native import Client, WriteOptions

from tests.support import open_to_append, wait_until
from wordtide.core.model import FileSplit, Taken
from wordtide.core.problems import SourceUnavailable
from wordtide.sources.files.complete import Stillness
from wordtide.sources.files.plan import LandingPlan, plan_landing
from wordtide.sources.files.read import NotReady, read_files, verify_unchanged
from wordtide.storage import CHUNK_BYTES, AccessDenied, HdfsAddress, HdfsStorage, Unreadable
from wordtide.storage.read_ahead import _FILE_BYTES
from wordtide.system import limits

BLOCK = 1 << 20


@pytest.fixture(scope="module")
def storage(cluster) -> HdfsStorage:
    return HdfsStorage(HdfsAddress(cluster.hdfs, cluster.webhdfs))


@pytest.fixture(scope="module")
def client(cluster) -> Client:
    return Client(cluster.hdfs)


@pytest.fixture
def root(storage) -> Iterator[str]:
    path = f"/test-{uuid.uuid4().hex}"
    storage.mkdirs(path)
    yield path
    storage.delete(path)


def plan(storage, root, *, taken=None, suspects=()) -> LandingPlan:
    return plan_landing(
        storage.list_files(root), taken or {}, (), stillness=Stillness(0.0, 2**42, 0.0, 0.0), max_files=100,
        max_bytes=1 << 30,        under_construction=storage.under_construction, suspects=dict.fromkeys(suspects, 1),
    )  # fmt: skip


def read(storage, splits):
    reading = read_files(storage, splits, window_us=60_000_000, latest_ms=2**42)
    texts = []
    while True:
        try:
            texts.append(next(reading).text)
        except StopIteration as stop:
            return b" ".join(texts), stop.value


def listed(storage, root):
    return sorted(info.path.removeprefix(f"{root}/") for info in storage.list_files(root))


def test_files_are_listed_recursively_and_hidden_folders_are_not_entered(storage, root):
    names = ["a", "b/c d%20é\n.txt", "b/_hidden", "_tmp/a", ".x/a", "b/_temporary/0/a"]
    for name in names:
        storage.write_durably(f"{root}/{name}", [b"12345"])
    storage.mkdirs(f"{root}/empty")
    assert listed(storage, root) == ["a", "b/_hidden", "b/c d%20é\n.txt"]
    for info in storage.list_files(root):
        assert storage.stat(info.path) == info
        assert (info.length, info.block_size > 0) == (5, True)
        assert not storage.under_construction(info.path)


def test_more_files_than_one_answer_holds_are_listed(storage, client, root):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.create(f"{root}/{n}").close(), range(1050)))
    assert len(storage.list_files(root)) == 1050


@pytest.mark.parametrize("private", [False, True])
def test_a_file_is_written_whole_and_never_over_another(storage, root, private):
    assert storage.write_durably(f"{root}/x/a", [b"ab", b"", b"c"], private=private) == 3
    with pytest.raises(FileExistsError):
        storage.write_durably(f"{root}/x/a", [b"second"], private=private)
    assert b"".join(storage.read_range(f"{root}/x/a", 0, 3)) == b"abc"
    assert storage.write_durably(f"{root}/x/empty", [], private=private) == 0
    assert listed(storage, f"{root}/x") == ["a", "empty"]


@pytest.mark.parametrize("private", [False, True])
def test_a_source_that_fails_leaves_nothing(storage, root, private):
    def chunks():
        yield b"x" * 100_000
        raise RuntimeError("source failed")

    with pytest.raises(RuntimeError, match="source failed"):
        storage.write_durably(f"{root}/a", chunks(), private=private)
    assert listed(storage, root) == []


def test_ranges_come_in_bounded_chunks_over_block_boundaries(storage, client, root):
    content = os.urandom(BLOCK) * 9 + b"end"
    with client.create(f"{root}/a", WriteOptions(block_size=BLOCK)) as file:
        file.write(content)
    chunks = list(storage.read_range(f"{root}/a", 7, len(content)))
    assert b"".join(chunks) == content[7:]
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(storage.read_range(f"{root}/a", len(content) - 2, len(content) + 100)) == b"nd"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("written", [0, 1000, BLOCK, BLOCK + 1000])
def test_a_file_being_written_is_left_alone_and_taken_once_it_is_closed(storage, client, root, written, sync):
    content = b"word\n" * (written // 5)
    file = client.create(f"{root}/a", WriteOptions(block_size=BLOCK))
    file.write(content)
    if sync:
        file.hsync()
    planned = plan(storage, root)
    if planned.splits:
        # Its length could be that of a closed file, so nobody asked; but not all of it can be read.
        assert storage.stat(f"{root}/a").length % BLOCK
        with pytest.raises(NotReady) as caught:
            read(storage, planned.splits)
        planned = plan(storage, root, suspects={caught.value.path})
    assert planned == LandingPlan((), (), 1, 0, 0, False)
    assert storage.under_construction(f"{root}/a")
    file.close()
    planned = plan(storage, root)
    assert [split.length for split in planned.splits] == [len(content)]
    # Closed a moment ago, its last block may still be waiting for a replica's report.
    wait_until("it can be read", lambda: len(client.read(f"{root}/a")) == len(content))
    text, (proof,) = read(storage, planned.splits)
    assert (text, proof.lines) == (content.replace(b"\n", b" ")[:-1], len(content) // 5)
    verify_unchanged(storage, root, planned.splits)


@pytest.mark.parametrize("length", [1000, BLOCK])
def test_a_file_being_appended_to_is_left_alone_and_parked_once_it_is_closed(storage, client, root, length):
    with client.create(f"{root}/a", WriteOptions(block_size=BLOCK)) as file:
        file.write(b"x" * length)
    (split,) = plan(storage, root).splits
    file = open_to_append(client, f"{root}/a")
    file.write(b"more")
    file.hsync()
    # Of the last block, opened again, nothing can be read; a full last block stays and only the listing gives it away.
    refused = lambda: read(storage, [split]) if length % BLOCK else verify_unchanged(storage, root, [split])
    with pytest.raises(NotReady):
        refused()
    file.close()
    with pytest.raises(NotReady, match="was written to"):
        verify_unchanged(storage, root, [split])
    assert [
        parked.what for parked in plan(storage, root, taken={f"{root}/a": Taken(split.length, split.mtime)}).parked
    ] == [f"{root}/a"]


def test_a_file_deleted_after_the_plan_is_not_ready(storage, root):
    storage.write_durably(f"{root}/a", [b"x"])
    (split,) = plan(storage, root).splits
    assert storage.delete(f"{root}/a")
    with pytest.raises(NotReady, match="is gone"):
        read(storage, [split])
    with pytest.raises(NotReady, match="is gone"):
        verify_unchanged(storage, root, [split])
    assert not storage.under_construction(f"{root}/a")
    assert not storage.exists(f"{root}/a")
    assert not storage.delete(f"{root}/a")


def test_many_small_files_are_read_and_proved(storage, root):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: storage.write_durably(f"{root}/{n % 5}/{n}", [b"line %d\n" % n]), range(150)))
    splits = plan(storage, root, taken={}).splits
    assert len(splits) == 100
    splits = [FileSplit(i.path, i.length, i.mtime_ms, 0, i.length) for i in sorted(storage.list_files(root))]
    text, proofs = read(storage, splits)
    assert sorted(text.split(b" ")) == sorted([b"line"] * 150 + [b"%d" % n for n in range(150)])
    assert [proof.split for proof in proofs] == splits
    verify_unchanged(storage, root, splits)


def test_of_many_renames_to_one_name_one_wins(storage, root):
    def rename(n):
        try:
            storage.rename(f"{root}/{n}", f"{root}/target")
        except FileExistsError:
            return False
        return True

    for n in range(8):
        storage.write_durably(f"{root}/{n}", [b"x"])
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(rename, range(8))) == 1
    assert len(listed(storage, root)) == 8


def test_a_rename_says_what_is_missing_and_overwrites_nothing(storage, root):
    storage.write_durably(f"{root}/a", [b"a"])
    storage.write_durably(f"{root}/folder/x", [b"x"])
    for source, target in (("none", "b"), ("a", "none/b")):
        with pytest.raises(FileNotFoundError):
            storage.rename(f"{root}/{source}", f"{root}/{target}")
    for taken in ("folder", "folder/x"):
        with pytest.raises(FileExistsError):
            storage.rename(f"{root}/a", f"{root}/{taken}")
    storage.rename(f"{root}/folder", f"{root}/other")
    assert listed(storage, root) == ["a", "other/x"]


def test_only_folders_without_files_are_pruned(storage, client, root):
    storage.write_durably(f"{root}/x/full/a", [b"a"])
    for empty in ("x/empty/deeper", "x/full/empty", "y"):
        storage.mkdirs(f"{root}/{empty}")
    storage.prune(f"{root}/x")
    storage.prune(f"{root}/y")
    storage.prune(f"{root}/none")
    assert sorted(status.path for status in client.list_status(root, recursive=True)) == [
        f"{root}/x", f"{root}/x/full", f"{root}/x/full/a"
    ]  # fmt: skip


def test_a_folder_in_a_files_place_is_no_such_file(storage, root):
    storage.mkdirs(f"{root}/a")
    storage.write_durably(f"{root}/b", [b"b"])
    for path in (f"{root}/a", f"{root}/b/c"):
        with pytest.raises(FileNotFoundError):
            list(storage.read_range(path, 0, 1))
        assert list(storage.read_small([(path, 1)])) == [None]


def test_a_file_that_may_not_be_read_does_not_keep_small_ones_beside_it_from_being_read(
    storage, client, root, monkeypatch
):
    for name in ("a", "b", "c"):
        storage.write_durably(f"{root}/{name}", [name.encode()])
    client.set_permission(f"{root}/b", 0o600)
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")
    first, denied, last = storage.read_small([(f"{root}/{name}", 1) for name in ("a", "b", "c")])
    assert (first, last) == (b"a", b"c")
    assert isinstance(denied, AccessDenied)
    assert str(pickle.loads(pickle.dumps(denied))) == str(denied)


def test_small_files_are_read_while_the_caller_is_busy_but_not_without_bound(storage, root, monkeypatch):
    names = [f"{root}/{number:02d}" for number in range(12)]
    for name in names:
        storage.write_durably(name, [name.encode()])
    length = len(names[0])
    finished = []
    read = HdfsStorage._read_whole

    def recorded(*given):
        content = read(*given)
        finished.append(content)
        return content

    monkeypatch.setattr(HdfsStorage, "_read_whole", recorded)
    monkeypatch.setattr("wordtide.storage.read_ahead._AHEAD_BYTES", 5 * (length + _FILE_BYTES))
    monkeypatch.setattr("wordtide.storage.read_ahead._HANDFUL_BYTES", 1)
    contents = storage.read_small([(name, length) for name in names])
    assert next(contents) == names[0].encode()
    wait_until("others have been read unasked", lambda: len(finished) == 5)
    assert list(contents) == [name.encode() for name in names[1:]]
    # Who wants no more of them leaves none of them being read.
    finished.clear()
    contents = storage.read_small([(name, length) for name in names])
    next(contents)
    contents.close()
    assert len(finished) <= 5
    callers = [thread for thread in threading.enumerate() if thread.name == "wordtide-call"]
    wait_until("nobody reads any more", lambda: len(limits._idle) == len(callers))


def test_a_missing_folder_and_a_file_in_its_place_are_one_clear_line(storage, cluster, root):
    with pytest.raises(SourceUnavailable) as caught:
        storage.list_files(f"{root}/none")
    assert str(caught.value) == f"{cluster.hdfs}{root}/none: no such folder; create it or correct landing.path"
    storage.write_durably(f"{root}/a", [b"x"])
    with pytest.raises(SourceUnavailable, match="is a file, not a folder"):
        storage.list_files(f"{root}/a")
    with pytest.raises(FileNotFoundError):
        storage.stat(root)


def test_a_folder_that_may_not_be_read_is_one_clear_line(storage, client, root, monkeypatch):
    storage.write_durably(f"{root}/private/a", [b"x"])
    client.set_permission(f"{root}/private", 0o700)
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")
    for refused in (
        lambda: storage.list_files(root),
        lambda: storage.under_construction(f"{root}/private/a"),
        lambda: list(storage.read_range(f"{root}/private/a", 0, 1)),
        lambda: storage.write_durably(f"{root}/b", [b"x"]),
    ):
        with pytest.raises(SourceUnavailable) as caught:
            refused()
        assert f"{storage.address.url}{root}" in str(caught.value)
        assert "Permission denied: user=alice" in str(caught.value)
        assert "set HADOOP_USER_NAME or grant it" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "\tat" not in str(caught.value)


def test_the_namespace_is_the_cluster_id(storage):
    assert storage.namespace().startswith("CID-")
    assert storage.namespace() == storage.namespace()


def _list_in_child(storage, root, answers):
    answers.put(len(storage.list_files(root)) + storage.under_construction(root))


def test_a_forked_child_makes_its_own_client(storage, root):
    storage.write_durably(f"{root}/a", [b"x"])
    assert len(storage.list_files(root)) == 1
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_list_in_child, args=(storage, root, answers))
    child.start()
    child.join(30)
    hung = child.is_alive()
    if hung:
        child.kill()
        child.join()
    assert not hung
    assert answers.get(timeout=5) == 1


def test_a_storage_travels_as_its_address(storage, root):
    assert pickle.loads(pickle.dumps(storage)) == storage


@pytest.fixture
def nowhere() -> HdfsStorage:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        yield HdfsStorage(HdfsAddress(f"hdfs://{place}", place))


def test_a_namenode_that_is_down_is_one_clear_line_each_time(nowhere):
    url = nowhere.address.url
    for call in (
        nowhere.list_files,
        nowhere.stat,
        nowhere.exists,
        lambda path: next(nowhere.read_range(path, 0, 1)),
        lambda path: list(nowhere.read_small([(path, 1)] * 40)),
    ):
        with pytest.raises(SourceUnavailable) as caught:
            call("/landing")
        assert str(caught.value).startswith(
            f"{url}/landing: the HDFS does not answer (Connection refused (os error 111)); "
        )
        assert str(caught.value).endswith("start it (`wordtide up`) or correct WORDTIDE_HDFS_URL")
    for ask in (nowhere.namespace, lambda: nowhere.under_construction("/landing")):
        with pytest.raises(SourceUnavailable, match=r"the NameNode's HTTP port does not answer .*refused"):
            ask()


@contextmanager
def http_server(answer: bytes, *, hang_up: bool = False) -> Iterator[HdfsStorage]:
    """An HTTP server that gives one answer to everything, and may hang up after it without a word."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = hang_up

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        place = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield HdfsStorage(HdfsAddress(f"hdfs://{place}", place))
        finally:
            server.shutdown()
            thread.join()


def test_a_connection_that_the_namenode_closed_is_opened_again():
    with http_server(b'{"LocatedBlocks": {"isUnderConstruction": true}}', hang_up=True) as storage:
        assert [storage.under_construction("/a") for _ in range(3)] == [True] * 3


def test_an_http_port_that_is_no_namenodes_is_one_clear_line():
    with http_server(b"<html>") as storage:
        with pytest.raises(SourceUnavailable, match="answers without a cluster id"):
            storage.namespace()
        with pytest.raises(SourceUnavailable, match="is it the NameNode's HTTP port"):
            storage.under_construction("/a")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('DataTransferError("All DataNodes failed: []")', "no DataNode gives a sound copy of one of its blocks"),
        (
            'OperationFailed("File is in an HDFS encryption zone but no KMS provider is configured")',
            "is in an encryption zone, and there is no key (File is in an HDFS encryption zone",
        ),
        ('RPCError("org.apache.hadoop.fs.UnresolvedLinkException", "/l")', "the NameNode refuses (UnresolvedLink"),
    ],
)
def test_an_error_about_one_file_is_told_from_one_of_the_hdfs(nowhere, said, reason):
    with pytest.raises(Unreadable) as caught, nowhere._answers("/l/a"):
        raise RuntimeError(said)
    assert caught.value.place == f"{nowhere.address.url}/l/a"
    assert caught.value.reason.startswith(reason)


def test_a_block_without_a_sound_copy_is_said_of_its_file_and_the_others_are_read(storage, root, cluster_home):
    good, bad = f"{root}/good", f"{root}/bad"
    for path in (good, bad):
        storage.write_durably(path, [path.encode() * 50])
    copies = [block for block in cluster_home.rglob("blk_*") if block.read_bytes() == bad.encode() * 50]
    assert copies
    for block in copies:
        block.write_bytes(b"x" * len(bad) * 50)
    contents = list(storage.read_small([(bad, 50), (good, 50)]))
    with pytest.raises(Unreadable, match="no DataNode gives a sound copy of one of its blocks"):
        list(storage.read_range(bad, 0, 50))
    assert isinstance(contents[0], Unreadable)
    assert contents[1] == (good.encode() * 50)[:50]

"""Files read as text: each line once whatever the cuts, nothing broken counted, in bounded memory."""

import bz2
import gzip
import pickle
import random
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wordtide.core.model import FileSplit
from wordtide.core.sniff import Compression, kind_of
from wordtide.sources.files import read as files
from wordtide.sources.files.plan import cut
from wordtide.sources.files.read import CorruptFile, NotReady, read_file, read_files, verify_unchanged
from wordtide.sources.files.source import LandingReader
from wordtide.storage import FileInfo, LocalStorage, Survey

MINUTE = 60_000_000
MTIME = 1_700_000_000_123
WINDOW = 1_699_999_980_000_000
ROOT = "/l"

CONTENT = st.lists(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b" ", b"a", b"bc", "é".encode(), "日本".encode(), b"\xff", b"\0", b"\xef\xbb\xbf"]
    )
    | st.binary(max_size=3),
    max_size=30,
).map(b"".join)


UNPACKED = {Compression.GZIP, Compression.BZ2, Compression.ZSTD}


class MemoryStorage:
    """A storage of a few files in memory, of which tests can make pieces as small as they like."""

    def __init__(self, contents: dict[str, bytes], *, piece: int = 1 << 20, mtime: int = MTIME) -> None:
        self.contents = contents
        self.piece = piece
        self.mtime = mtime
        self.unfinished: dict[str, int] = {}
        self.listings = 0
        self.reads = 0

    def read_range(self, path, start, end):
        self.reads += 1
        if path not in self.contents:
            raise FileNotFoundError(path)
        content = self.contents[path][: self.unfinished.get(path)]
        for at in range(start, min(end, len(content)), self.piece):
            yield content[at : min(at + self.piece, end)]

    def read_small(self, files):
        for path, length in files:
            yield b"".join(self.read_range(path, 0, length)) if path in self.contents else None

    def stat(self, path):
        if path not in self.contents:
            raise FileNotFoundError(path)
        return FileInfo(path, len(self.contents[path]), self.mtime, 0)

    def survey(self, root):
        self.listings += 1
        return Survey([self.stat(path) for path in self.contents if path.startswith(root)])

    def split(self, path):
        length = len(self.contents[path])
        return FileSplit(path, length, self.mtime, 0, length)


def lines_of(content: bytes) -> list[bytes]:
    """Spark's lines: ends at \\n, \\r\\n and \\r, no line after the last end, a byte order mark dropped."""
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(b"\xef\xbb\xbf"))
    return lines[:-1] if lines[-1] == b"" else lines


def words_of(content: bytes) -> Counter[bytes]:
    return Counter(word for line in lines_of(content) for word in line.split(b" "))


def drained(reading):
    texts = []
    while True:
        try:
            texts.append(next(reading))
        except StopIteration as stop:
            return texts, stop.value


def read(storage, split, **overrides):
    return drained(read_file(storage, split, **{"window_us": MINUTE, "latest_ms": MTIME + 1, **overrides}))


def read_all(storage, splits):
    return drained(read_files(storage, splits, window_us=MINUTE, latest_ms=MTIME + 1))


def counted(texts) -> Counter[bytes]:
    return Counter(word for text in texts for word in text.text.split(b" "))


@pytest.mark.parametrize(
    ("content", "text", "lines"),
    [
        (b"a", b"a", 1), (b"a\n", b"a", 1), (b"a\n\nb", b"a  b", 3), (b"a\r\nb\r\n", b"a b", 2), (b"a\rb\r", b"a b", 2),
        (b"\n", b"", 1), (b"\r\n", b"", 1), (b"\r", b"", 1), (b"\n\r", b" ", 2), (b"a b", b"a b", 1), (b"a ", b"a ", 1),
        (b" \n", b" ", 1), (b"\xef\xbb\xbfa", b"a", 1), (b"\xef\xbb\xbf\n", b"", 1),
        (b"a\xef\xbb\xbf", b"a\xef\xbb\xbf", 1),
        (b"a\0b\xff", b"a\0b\xff", 1), (b"a\x85b\x0bc\xe2\x80\xa8d", b"a\x85b\x0bc\xe2\x80\xa8d", 1),
    ],
)  # fmt: skip
def test_lines_are_joined_by_one_space(content, text, lines):
    storage = MemoryStorage({"/l/a": content})
    texts, proof = read(storage, storage.split("/l/a"))
    assert [(t.window, t.text) for t in texts] == [(WINDOW, text)]
    assert (proof.lines, proof.bytes, proof.records, proof.clamped) == (lines, len(content), 0, 0)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_line(content):
    storage = MemoryStorage({"/l/a": content})
    texts, proof = read(storage, storage.split("/l/a"))
    assert (texts, proof.lines, proof.bytes) == ([], 0, len(content))


@settings(max_examples=400, deadline=None)
@given(CONTENT, st.lists(st.integers(0, 60), max_size=5), st.integers(1, 7))
def test_every_cut_gives_each_line_once(content, cuts, piece):
    storage = MemoryStorage({"/l/a": content}, piece=piece)
    whole = replace(storage.split("/l/a"), as_text=True)
    assume(kind_of(content) not in UNPACKED)
    edges = sorted({0, len(content), *(c for c in cuts if c < len(content))})
    parts = [replace(whole, start=a, end=b) for a, b in pairwise(edges)] or [whole]
    read_parts = [read(storage, part) for part in parts]
    texts = [text for texts, _ in read_parts for text in texts]
    assert sum(proof.lines for _, proof in read_parts) == len(lines_of(content))
    assert sum(proof.bytes for _, proof in read_parts) == len(content)
    # Each text ends where a line does, so that joined they are the lines joined.
    assert b" ".join(text.text for text in texts) == b" ".join(lines_of(content))
    assert counted(texts) == words_of(content)


@settings(max_examples=300, deadline=None)
@given(CONTENT, st.integers(1, 7), st.integers(1, 12))
def test_texts_are_cut_only_at_spaces_and_line_ends(content, piece, text_bytes):
    storage = MemoryStorage({"/l/a": content}, piece=piece)
    assume(kind_of(content) not in UNPACKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "TEXT_BYTES", text_bytes)
        patch.setattr(files, "HEAD_BYTES", 1)
        texts, proof = read(storage, replace(storage.split("/l/a"), as_text=True))
    assert proof.lines == len(lines_of(content))
    assert counted(texts) == words_of(content)
    # The first piece may be longer: three bytes are awaited for a byte order mark. Only a long word makes longer texts.
    newest = piece + 2
    assert all(len(t.text) < text_bytes + newest or b" " not in t.text[:-newest] for t in texts)


def test_texts_of_a_long_file_stay_near_their_length():
    content = b"\n".join(b"word%d and more" % n for n in range(1_000_000))
    storage = MemoryStorage({"/l/a": content}, piece=files.TEXT_BYTES)
    texts, proof = read(storage, storage.split("/l/a"))
    assert proof.lines == 1_000_000
    assert max(len(text.text) for text in texts) < 2 * files.TEXT_BYTES
    assert b" ".join(text.text for text in texts) == content.replace(b"\n", b" ")


def test_a_line_longer_than_a_split_belongs_to_the_split_of_its_first_byte():
    content = b"x" * 300_000 + b"\n" + b"y" * 200_000 + b"\nz"
    storage = MemoryStorage({"/l/a": content}, piece=1000)
    lines = [read(storage, part)[1].lines for part in cut(storage.split("/l/a"), 100_000)]
    assert lines == [1, 0, 0, 1, 0, 1]


def test_a_word_longer_than_a_text_is_kept_whole_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(files, "TEXT_BYTES", 100)
    monkeypatch.setattr(files, "LONGEST_WORD", 1000)
    storage = MemoryStorage({"/l/a": b"a " + b"x" * 900 + b" b", "/l/b": b"x" * 1200}, piece=50)
    assert [text.text for text in read(storage, storage.split("/l/a"))[0]] == [b"a", b"x" * 900, b"b"]
    with pytest.raises(CorruptFile, match=r"^/l/b: more than 1000 bytes without a space or line end"):
        read(storage, storage.split("/l/b"))


def test_an_absurd_mtime_is_clamped_and_counted():
    storage = MemoryStorage({"/l/a": b"a\nb\n"}, mtime=MTIME + 10**12)
    texts, proof = read(storage, storage.split("/l/a"), latest_ms=MTIME)
    assert texts[0].window == WINDOW
    assert proof.clamped == 2


TEXT = "".join(f"zeile {n} größe\r\n" for n in range(5000)).encode() + b"last"
PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_compressed_files_read_as_their_content_several_members_too(suffix, piece):
    pack = PACK[suffix]
    packed = pack(b"\xef\xbb\xbf" + TEXT[:20_000]) + pack(b"") + pack(TEXT[20_000:])
    storage = MemoryStorage({f"/l/a.{suffix}": packed}, piece=piece)
    texts, proof = read(storage, storage.split(f"/l/a.{suffix}"))
    assert b" ".join(text.text for text in texts) == b" ".join(lines_of(TEXT))
    assert (proof.lines, proof.bytes) == (5001, len(packed))


@pytest.mark.parametrize("suffix", PACK)
def test_an_empty_compressed_file_has_no_line(suffix):
    for packed in (b"", PACK[suffix](b"")):
        storage = MemoryStorage({f"/l/a.{suffix}": packed})
        assert read(storage, storage.split(f"/l/a.{suffix}"))[1].lines == 0


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_cut_short_anywhere_is_corrupt(suffix):
    packed = PACK[suffix](TEXT) + PACK[suffix](b"more")
    first = len(PACK[suffix](TEXT))
    for length in {1, 2, 3, 9, 17, first // 2, first - 9, first - 1, first + 1, first + 5, len(packed) - 1}:
        storage = MemoryStorage({f"/l/a.{suffix}": packed[:length]})
        with pytest.raises(CorruptFile, match=rf"^/l/a\.{suffix}: .*(cut short|not sound)"):
            read(storage, storage.split(f"/l/a.{suffix}"))


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("garbage", [b"\0", b"x", b"garbage", b"\0" * 512, b"plain text\n" * 100])
def test_anything_after_the_compressed_data_is_corrupt(suffix, garbage):
    storage = MemoryStorage({f"/l/a.{suffix}": PACK[suffix](TEXT) + garbage})
    with pytest.raises(CorruptFile):
        read(storage, storage.split(f"/l/a.{suffix}"))


@pytest.mark.parametrize("suffix", PACK)
def test_a_flipped_byte_is_corrupt(suffix):
    packed = PACK[suffix](random.Random(1).randbytes(5000).hex().encode())
    for at in (0, 1, len(packed) // 3, len(packed) // 2, len(packed) - 2):
        broken = bytearray(packed)
        broken[at] ^= 0x55
        storage = MemoryStorage({f"/l/a.{suffix}": bytes(broken)})
        with pytest.raises(CorruptFile):
            read(storage, storage.split(f"/l/a.{suffix}"))


@pytest.mark.parametrize("suffix", [*PACK, "br", "Z", "tar.gz"])
def test_plain_text_is_read_as_such_whatever_its_name_promises(suffix):
    storage = MemoryStorage({f"/l/a.{suffix}": TEXT}, piece=7)
    assert read(storage, storage.split(f"/l/a.{suffix}"))[1].lines == 5001


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.gz", "a.bz2", "a.zst", "a.xz"])
def test_compressed_files_are_known_by_their_bytes(pack, name):
    storage = MemoryStorage({f"/l/{name}": pack(TEXT)}, piece=3)
    assert read(storage, storage.split(f"/l/{name}"))[1].lines == 5001


BINARY = b"PAR1\x15\0\x15 some words\n"


@pytest.mark.parametrize(("pack", "what"), [(bytes, "file"), *((pack, f"file in {n}") for n, pack in zip(
    ("gzip", "bz2", "zstd"), PACK.values(), strict=True))])  # fmt: skip
def test_what_is_no_text_is_refused_also_in_a_compression_unless_an_operator_says_that_it_is(pack, what):
    storage = MemoryStorage({"/l/a": pack(BINARY)}, piece=2)
    whole = storage.split("/l/a")
    with pytest.raises(CorruptFile, match=rf"^/l/a: it seems to be a Parquet {what}; .* --as text"):
        read(storage, whole)
    texts, _ = read(storage, replace(whole, as_text=True))
    assert counted(texts) == words_of(BINARY)


def test_what_begins_as_gzip_does_and_is_none_is_text_if_an_operator_says_so():
    content = b"\x1f\x8b\x08\xff is how gzip begins\n"
    storage = MemoryStorage({"/l/a": content})
    whole = storage.split("/l/a")
    with pytest.raises(CorruptFile, match="not sound gzip data"):
        read(storage, whole)
    assert counted(read(storage, replace(whole, as_text=True))[0]) == words_of(content)


def test_what_is_compressed_twice_is_refused():
    storage = MemoryStorage({"/l/a.txt": gzip.compress(bz2.compress(TEXT))})
    with pytest.raises(CorruptFile, match=r"compressed twice \(bz2 in gzip\)"):
        read(storage, storage.split("/l/a.txt"))


def test_only_plain_files_are_cut_whatever_their_names_are(monkeypatch):
    monkeypatch.setattr("wordtide.sources.files.source.PIECE_BYTES", 1000)
    contents = {"/l/a": TEXT, "/l/b.gz": TEXT, "/l/c.txt": gzip.compress(TEXT * 9), "/l/d": BINARY * 1000}
    storage = MemoryStorage({**contents, "/l/gone": TEXT})
    splits = [storage.split(path) for path in storage.contents]
    del storage.contents["/l/gone"]
    pieces = [piece for task in LandingReader(storage, MINUTE, MTIME).cut(splits, 8) for piece in task]
    assert {path: sum(piece.path == path for piece in pieces) > 1 for path in (*contents, "/l/gone")} == {
        "/l/a": True, "/l/b.gz": True, "/l/c.txt": False, "/l/d": False, "/l/gone": False,
    }  # fmt: skip


def test_a_compression_bomb_comes_in_pieces():
    storage = MemoryStorage({"/l/a.gz": gzip.compress(b" " * (64 << 20))})
    texts, proof = read(storage, storage.split("/l/a.gz"))
    assert max(len(text.text) for text in texts) <= 2 * files.TEXT_BYTES
    assert (len(texts) > 2, proof.lines) == (True, 1)


def test_a_compressed_file_exchanged_while_it_was_read_is_not_called_corrupt():
    storage = MemoryStorage({"/l/a.gz": gzip.compress(TEXT)})
    split = storage.split("/l/a.gz")
    storage.contents["/l/a.gz"] = b"\x1f\x8b\x08".ljust(split.length, b"x")
    storage.mtime += 1
    with pytest.raises(NotReady, match="was written to"):
        read(storage, split)


@pytest.mark.parametrize("path", ["/l/a", "/l/a.gz"])
def test_fewer_bytes_than_planned_are_not_ready(path):
    storage = MemoryStorage({path: gzip.compress(TEXT)})
    storage.unfinished[path] = 5
    with pytest.raises(NotReady, match=r"cannot be read yet"):
        read(storage, storage.split(path))


def test_a_file_that_is_gone_is_not_ready():
    storage = MemoryStorage({"/l/a": b"a"})
    split = storage.split("/l/a")
    del storage.contents["/l/a"]
    with pytest.raises(NotReady, match=r"^/l/a: is gone"):
        read(storage, split)


def test_many_files_share_texts_and_keep_their_proofs():
    contents = {f"/l/{n}": (b"line %d\r\n" % n) * (n % 7) for n in range(300)}
    contents["/l/large"] = b"large line\n" * 200_000
    contents["/l/packed.gz"] = gzip.compress(b"packed\n" * 10)
    storage = MemoryStorage(contents)
    splits = [storage.split(path) for path in contents]
    texts, proofs = read_all(storage, splits)
    assert [proof.split for proof in proofs] == splits
    assert [proof.lines for proof in proofs] == [n % 7 for n in range(300)] + [200_000, 10]
    assert len(texts) < 5
    expected = Counter(word for path in contents for word in words_of(
        contents[path] if path != "/l/packed.gz" else b"packed\n" * 10).elements())  # fmt: skip
    assert counted(texts) == expected
    assert read_all(storage, splits)[0] == texts


def test_files_of_different_windows_do_not_share_texts():
    storage = MemoryStorage({"/l/a": b"a", "/l/b": b"b", "/l/c": b"c"})
    splits = [storage.split(path) for path in storage.contents]
    splits[1] = replace(splits[1], mtime=MTIME - 60_000)
    texts, _ = read_all(storage, splits)
    assert [(text.window, text.text) for text in texts] == [(WINDOW, b"a c"), (WINDOW - MINUTE, b"b")]


def test_shared_texts_are_handed_over_before_they_grow_large(monkeypatch):
    monkeypatch.setattr(files, "SMALL_BYTES", 1000)
    monkeypatch.setattr(files, "TEXT_BYTES", 4000)
    storage = MemoryStorage({f"/l/{n}": b"x" * 400 for n in range(100)})
    splits = [storage.split(path) for path in storage.contents]
    one_window = read_files(storage, splits, window_us=MINUTE, latest_ms=MTIME)
    assert (next(one_window).text, storage.reads) == (b" ".join([b"x" * 400] * 10), 10)
    windows = [replace(split, mtime=MTIME - 60_000 * n) for n, split in enumerate(splits)]
    storage.reads = 0
    many_windows = read_files(storage, windows, window_us=MINUTE, latest_ms=MTIME)
    assert (next(many_windows).text, storage.reads) == (b"x" * 400, 10)
    assert len(list(many_windows)) == 99


def test_one_error_names_every_corrupt_file():
    contents = {f"/l/{n}.gz": gzip.compress(b"fine") if n % 10 else b"\x1f\x8b\x08broken" for n in range(40)}
    contents["/l/gone"] = b"a"
    storage = MemoryStorage(contents)
    splits = [storage.split(path) for path in contents]
    del contents["/l/gone"]
    with pytest.raises(CorruptFile) as caught:
        read_all(storage, splits)
    problems = [caught.value, *caught.value.also]
    assert [problem.path for problem in problems] == ["/l/0.gz", "/l/10.gz", "/l/20.gz", "/l/30.gz"]
    with pytest.raises(NotReady, match="is gone"):
        read_all(storage, [split for split in splits if split.path not in {p.path for p in problems}])


A = FileSplit("/l/a", 1, 2, 0, 1)
B = FileSplit("/l/b", 1, 2, 0, 1)


@pytest.mark.parametrize(
    "error", [CorruptFile(A, "why", (CorruptFile(B, "too"),)), NotReady("/l/a", "why", (NotReady("/l/b", "too"),))]
)
def test_errors_travel_between_processes(error):
    error = pickle.loads(pickle.dumps(error))
    assert (str(error), error.path, error.reason, error.also[0].path) == ("/l/a: why", "/l/a", "why", "/l/b")


@pytest.mark.parametrize(("files_held", "listings"), [(3, 0), (150, 1)])
def test_unchanged_files_are_proved_by_stats_or_by_one_listing(files_held, listings):
    storage = MemoryStorage({f"/l/{n}": b"a" for n in range(files_held)})
    splits = [storage.split(path) for path in storage.contents]
    verify_unchanged(storage, ROOT, splits)
    assert storage.listings == listings
    storage.contents["/l/0"] = b"more"
    del storage.contents["/l/1"]
    with pytest.raises(NotReady) as caught:
        verify_unchanged(storage, ROOT, splits)
    assert [str(problem) for problem in (caught.value, *caught.value.also)] == [
        "/l/0: was written to since it was planned",
        "/l/1: is gone since it was planned",
    ]


def test_an_mtime_that_changed_alone_is_noticed():
    storage = MemoryStorage({"/l/a": b"a"})
    split = storage.split("/l/a")
    storage.mtime += 1
    with pytest.raises(NotReady):
        verify_unchanged(storage, ROOT, [split])


def test_files_on_a_local_disk_read_the_same(tmp_path):
    storage = LocalStorage()
    for n in range(20):
        storage.write_durably(f"{tmp_path}/{n % 3}/{n}.txt", [b"one line\n" * n, b"rest"])
    splits = [FileSplit(i.path, i.length, i.mtime_ms, 0, i.length) for i in storage.list_files(str(tmp_path))]
    texts, proofs = drained(read_files(storage, splits, window_us=MINUTE, latest_ms=2**45))
    assert counted(texts) == Counter({b"one": 190, b"line": 190, b"rest": 20})
    assert sum(proof.lines for proof in proofs) == 210
    verify_unchanged(storage, str(tmp_path), splits)

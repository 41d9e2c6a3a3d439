"""The digest of a file: of the bytes as stored, whatever the pieces in which they were read."""

import gzip
import zlib
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sources.files.test_read import CONTENT, MTIME, ROOT, MemoryStorage, drained, read_all
from wordtide.core import digest
from wordtide.core.proofs import merge_proofs
from wordtide.sources.files.plan import cut
from wordtide.sources.files.read import read_file

PATH = f"{ROOT}/a.txt"


def digests_in_pieces(content, size, piece):
    storage = MemoryStorage({PATH: content}, piece=piece)
    # An operator said so: what it begins with is another test's concern.
    whole = replace(storage.split(PATH), as_text=True)
    proofs = [drained(read_file(storage, part, window_us=1, latest_ms=MTIME))[1] for part in cut(whole, size)]
    (proof,) = merge_proofs([whole], proofs)
    return proof.digest


@given(content=CONTENT, size=st.integers(1, 40), piece=st.integers(1, 20))
def test_a_file_has_one_digest_whatever_its_cuts_and_the_pieces_it_comes_in(content, size, piece):
    # With an "a" in front it begins no compression.
    content = b"a" + content
    assert digests_in_pieces(content, size, piece) == zlib.crc32(content)


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_digests_of_parts_compose(content, cuts):
    bounds = sorted({0, len(content), *(at for at in cuts if at < len(content))})
    parts = [(zlib.crc32(content[start:end]), end - start) for start, end in pairwise(bounds)]
    assert digest.combined(parts) == zlib.crc32(content)


def test_of_a_compressed_file_it_is_that_of_the_compressed_bytes():
    packed = gzip.compress(b"one two\n" * 1000)
    path = f"{ROOT}/a.gz"
    storage = MemoryStorage({path: packed}, piece=7)
    _, (proof,) = read_all(storage, [storage.split(path)])
    assert proof.digest == zlib.crc32(packed)


def test_what_is_fetched_twice_or_beside_the_range_is_no_part_of_it():
    content = bytes(range(256))
    running = digest.RangeDigest(10, 200)
    fetch = running.over(lambda start, end: iter([content[start : end - 1], content[end - 1 : end]]))
    for start, end in ((0, 20), (10, 15), (9, 210), (150, 256)):
        assert b"".join(fetch(start, end)) == content[start:end]
    assert running.value == zlib.crc32(content[10:200])


def test_a_range_that_was_not_read_to_its_end_has_none():
    running = digest.RangeDigest(0, 10)
    list(running.over(lambda start, end: iter([b"x" * (end - start)]))(0, 9))
    assert running.value is None


@pytest.mark.parametrize("crc", [0, 0xDEADBEEF, None])
def test_the_ledgers_text_gives_it_back(crc):
    assert digest.from_text(digest.to_text(crc)) == crc


def test_a_digest_of_a_kind_that_is_not_known_here_is_none():
    assert digest.from_text("sha256:00") is None

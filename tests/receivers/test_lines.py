"""Where a stream of bytes may be cut: Spark's lines, however they are split on their way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.receivers.support import lines_in
from wordtide.receivers.lines import LineCutter, count_lines, stretches

CONTENT = st.text("ab \r\né", max_size=60).map(str.encode)
CHUNKS = st.lists(st.one_of(st.just(None), st.text("ab \r\né", max_size=8).map(str.encode)), max_size=20)
"""Pieces as they come from the network; None: nothing for a while."""


def cut(chunks: list[bytes | None], max_line: int = 1 << 20) -> tuple[list[bytes], LineCutter]:
    """Return what a cutter hands over piece by piece."""
    cutter = LineCutter(max_line)
    return [cutter.settle() if chunk is None else cutter.feed(chunk) for chunk in chunks], cutter


@given(CHUNKS)
def test_each_stretch_read_by_itself_gives_the_lines_of_the_whole(chunks: list[bytes | None]) -> None:
    pieces, cutter = cut(chunks)
    pieces.append(cutter.finish())
    sent = b"".join(chunk or b"" for chunk in chunks)
    assert [line for piece in pieces for line in lines_in(piece)] == lines_in(sent)
    assert lines_in(b"".join(pieces)) == lines_in(sent)
    assert sum(map(count_lines, pieces)) == len(lines_in(sent))


@given(st.lists(CONTENT, max_size=5))
def test_a_next_connection_begins_a_new_line(connections: list[bytes]) -> None:
    pieces = []
    for sent in connections:
        # Nothing comes for a while before the end, so that a last \r has been handed over.
        fed, cutter = cut([sent, None])
        pieces += [*fed, cutter.finish()]
    assert lines_in(b"".join(pieces)) == [line for sent in connections for line in lines_in(sent)]


@given(CHUNKS, st.integers(1, 20))
def test_whole_lines_are_divided_at_lines_only(chunks: list[bytes | None], size: int) -> None:
    pieces, cutter = cut(chunks)
    whole = b"".join([*pieces, cutter.finish()])
    found = list(stretches(whole, size))
    assert b"".join(found) == whole
    assert [line for stretch in found for line in lines_in(stretch)] == lines_in(whole)
    assert all(len(stretch) <= size or len(lines_in(stretch)) == 1 for stretch in found)


@given(CHUNKS)
def test_without_a_pause_and_a_tail_the_bytes_are_those_sent(chunks: list[bytes | None]) -> None:
    sent = [chunk for chunk in chunks if chunk] + [b"end\n"]
    pieces, cutter = cut(list(sent))
    assert b"".join(pieces) + cutter.finish() == b"".join(sent)


@given(st.lists(st.text("abcdefg", max_size=8), max_size=30), st.integers(1, 9), st.sampled_from(["\n", "\r", "\r\n"]))
def test_a_line_above_the_bound_keeps_its_words_when_it_has_spaces(words: list[str], size: int, end: str) -> None:
    sent = " ".join(words).encode() + end.encode()
    pieces, cutter = cut([sent[at : at + size] for at in range(0, len(sent), size)], max_line=8)
    pieces.append(cutter.finish())
    found = [word for piece in pieces for line in lines_in(piece) for word in line.split(b" ")]
    assert found == sent.removesuffix(end.encode()).split(b" ")
    assert all(len(line) <= 8 + size for piece in pieces for line in lines_in(piece))


def test_a_word_above_the_bound_is_cut_between_characters() -> None:
    pieces, cutter = cut(["é".encode() * 5], max_line=5)
    assert "".join(piece.decode() for piece in pieces) == "éé\néé\n"
    assert (cutter.finish().decode(), cutter.cuts) == ("é\n", 2)


def test_bytes_that_are_no_text_are_cut_at_the_bound() -> None:
    pieces, _ = cut([b"\x80" * 11], max_line=5)
    assert pieces == [b"\x80\x80\x80\x80\x80\n" * 2]


@pytest.mark.parametrize(("tail", "kept", "dropped"), [(b"half", b"", 4), (b"x\r", b"x\r\n", 0), (b"", b"", 0)])
def test_a_broken_connection_drops_only_an_unfinished_line(tail: bytes, kept: bytes, dropped: int) -> None:
    _, cutter = cut([b"whole\n", tail])
    assert cutter.give_up() == (kept, dropped)
    assert cutter.finish() == b""


def test_the_lines_are_those_observed_in_spark() -> None:
    pieces, cutter = cut([b"crlf line\r\nlone\rcr\r\n\nafter\ntail"])
    assert lines_in(b"".join(pieces) + cutter.finish()) == [b"crlf line", b"lone", b"cr", b"", b"after", b"tail"]
    pieces, _ = cut(["a\0b\u2028c\u0085d\fe\vf\n".encode()])
    assert lines_in(pieces[0]) == ["a\0b\u2028c\u0085d\fe\vf".encode()]

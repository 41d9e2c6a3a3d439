"""Positions: their text, and what is done with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtide.core.position import FileCount, Offsets, Position, parse

OFFSETS = st.dictionaries(st.integers(0, 99), st.integers(0, 10**18)).map(Offsets)


@given(OFFSETS | st.integers(0, 10**9).map(FileCount))
def test_a_position_is_read_back_from_its_text(position: Position) -> None:
    assert parse(str(position)) == position


@pytest.mark.parametrize("text", ["INITIAL", "0:1 b", "batch 7", "0:-1", "5,000 partitions, sha256 0a", "3 lines"])
def test_what_others_call_a_version_is_no_position(text: str) -> None:
    assert parse(text) is None


@given(OFFSETS, OFFSETS)
def test_a_joined_position_is_behind_neither(one: Offsets, other: Offsets) -> None:
    joined = one.joined(other)
    assert not joined.is_behind(one)
    assert not joined.is_behind(other)
    assert joined == one or one.is_behind(joined) or joined.next.keys() != one.next.keys()


def test_a_partition_is_moved_or_left_out() -> None:
    assert Offsets({0: 1, 1: 2}).with_next({0: 5, 1: None, 2: 0}) == Offsets({0: 5, 2: 0})

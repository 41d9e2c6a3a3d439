from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.counting.lines import as_counter, untimed
from wordtide.counting import kernel
from wordtide.counting.kernel import count_words

# Lengths around which the kernel changes its ways, and characters that make words nearly equal.
_word = st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 24, 40]).flatmap(
    lambda length: st.text(st.sampled_from("ab"), min_size=length, max_size=length)
)
words = st.lists(
    st.one_of(_word, st.text(st.characters(exclude_characters=" \0", exclude_categories=["Cs"]), max_size=9))
)
words_with_nul = st.lists(st.text("a\0", max_size=20))


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Short texts take the paths of long and dense ones; many words begin in one block and end in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "TINY_BYTES", 0)
        patch.setattr(kernel, "_BLOCK_BYTES", 7)
        for limit in ("_SHORT_WORDS", "_SLICE_WORDS", "_PAIRS", "_TOKENS"):
            patch.setattr(kernel, limit, 5)
        patch.setattr(kernel, "_TOKEN_BYTES", 100)
        yield


def split(text: str, keep_empty: bool) -> Counter[str]:
    return Counter(word for word in text.split(" ") if word or keep_empty)


@pytest.mark.parametrize("keep_empty", [True, False])
@untimed
@given(some=st.one_of(words, words_with_nul), room=st.integers(0, 30))
@example(some=[], room=0)
@example(some=["a" * 8, "a" * 9, "a" * 16, "a" * 17, ""], room=0)
def test_every_word_is_counted_once(keep_empty: bool, some: list[str], room: int) -> None:
    # `room` moves the end of the text, behind which there is nothing to load.
    text = " ".join(some) + "b" * room
    assert as_counter(count_words(text.encode(), keep_empty)) == split(text, keep_empty)


@untimed
@given(some=words, counts=st.lists(st.integers(1, 50)))
def test_the_path_for_tiny_texts_counts_the_same(some: list[str], counts: list[int]) -> None:
    text = " ".join(word for word, count in zip(some, counts, strict=False) for _ in range(count))
    tiny = kernel._count_tiny(text.encode(), True)
    assert as_counter([tiny]) == as_counter(count_words(text.encode(), True))


@pytest.mark.parametrize("keep_empty", [True, False])
@untimed
@given(data=st.data())
def test_a_text_cut_at_any_space_counts_the_same(keep_empty: bool, data: st.DataObject) -> None:
    some = data.draw(st.lists(_word, min_size=1))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(some)), max_size=4)))
    pieces = [some[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(some)], strict=True) if end > begin]
    summed = Counter[str]()
    for piece in pieces:
        summed.update(as_counter(count_words(" ".join(piece).encode(), keep_empty)))
    assert summed == as_counter(count_words(" ".join(some).encode(), keep_empty))


def _constant(low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return np.zeros_like(low)


def _two_values(low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return (low ^ high) << np.uint64(63)


@pytest.mark.parametrize("mix", [_constant, _two_values])
@untimed
@given(some=st.lists(st.text("ab", min_size=9, max_size=16)))
@example(some=["a" * 9, "b" * 9] * 3)
def test_words_with_the_same_hash_are_kept_apart(mix: object, some: list[str]) -> None:
    text = " ".join(some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_mix", mix)
        assert as_counter(count_words(text.encode(), False)) == split(text, False)


def test_a_clash_of_the_real_hash_is_repaired() -> None:
    # With 64 - 4 bits left of the hash clashes cannot be found by trying; so two words are made whose hash is the same.
    low = int.from_bytes(b"abcdefgh", "little")
    multiplier = 0x9E3779B97F4A7C15
    other = int.from_bytes(b"abcdefgi", "little")
    difference = (low * multiplier ^ other * multiplier) % 2**64
    pairs = np.array([low, other, low, other], np.uint64), np.array([1, 1 ^ difference, 1, 1 ^ difference], np.uint64)
    mixed = kernel._mix(*pairs)
    assert len(set(mixed.tolist())) == 1
    assert kernel._count_pairs(*pairs).count.to_pylist() == [2, 2]


def test_a_word_of_ten_megabytes_is_one_word() -> None:
    long = "я" * 5_000_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_BLOCK_BYTES", 1 << 18)
        assert as_counter(count_words(long.encode(), True)) == {long: 1}
        assert as_counter(count_words(f"a {long} b {long} a".encode(), True)) == {long: 2, "a": 2, "b": 1}
        assert as_counter(count_words(f"\0 {long}".encode(), True)) == {long: 1, "\0": 1}


def test_a_text_of_several_blocks_is_counted_like_a_counter() -> None:
    random = np.random.default_rng(5)
    vocabulary = [f"{'слово' * int(length)}{number}" for number, length in enumerate(random.integers(0, 4, 2_000))] + [
        ""
    ]
    text = " ".join(vocabulary[number] for number in (random.zipf(1.2, 200_000) - 1) % len(vocabulary))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "_BLOCK_BYTES", 1 << 16)
        assert as_counter(count_words(text.encode(), True)) == Counter(text.split(" "))


def test_a_text_beyond_32_bit_offsets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_MAX_BYTES", 10)
    with pytest.raises(ValueError, match="cut it at a space"):
        list(count_words(b"a text of more than ten bytes", True))


def test_counted_columns_have_the_promised_types() -> None:
    for text in (b"", b" ", b"a bb " + b"c" * 20):
        for counted in count_words(text, False):
            assert counted.word.type == pa.string()
            assert counted.count.type == pa.int64()

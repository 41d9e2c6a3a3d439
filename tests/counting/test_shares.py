"""How the Spark engine divides partial counts: equal words come together, whatever array they are in."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from wordtide.counting.spark import shares_of

WORDS = st.lists(st.text(max_size=12) | st.text("ab", max_size=30), max_size=30)


@given(WORDS, WORDS, st.integers(1, 9), st.integers(0, 5))
def test_a_words_share_depends_on_the_word_alone(
    first: list[str], second: list[str], shares: int, skipped: int
) -> None:
    found: dict[str, int] = {}
    for words in (first, second, second + first, first[::-1]):
        array = pa.array(["x" * n for n in range(skipped)] + words, pa.string())[skipped:]
        for word, share in zip(words, shares_of(array, shares).tolist(), strict=True):
            assert found.setdefault(word, share) == share
            assert 0 <= share < shares


def test_shares_are_about_equal() -> None:
    words = pa.array([f"{prefix}{n}" for prefix in ("", "w", "a longer word ") for n in range(20_000)])
    shares = shares_of(words, 7).tolist()
    counts = [shares.count(share) for share in range(7)]
    assert max(counts) < 1.1 * min(counts)

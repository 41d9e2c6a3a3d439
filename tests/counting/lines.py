"""Lines that are likely to be counted wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st

from wordtide.counting.kernel import Counted
from wordtide.counting.tokenizer import Tokenizer, reference

# What each tokenizer, and each path through the kernel, has to get right.
_PIECES = [
    *("", " ", "  ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\0", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u200a"),
    *(
        "\u200b",
        "\u2028",
        "\u2029",
        "\u202f",
        "\u3000",
        "\ufeff",
        "\ufffd",
        "\u2014",
        "\u0300",
        "\u20dd",
        "_",
        "-",
        "'",
    ),
    *(
        "a",
        "ab",
        "Ab",
        "ß",
        "ẞ",
        "İ",
        "I",
        "ı",
        "Σ",
        "σ",
        "ς",
        "ΑΣ",
        "ΑΣ.",
        "ΑΣ\u0301",
        "Ё",
        "ё",
        "ﬁ",
        "Ⅷ",
        "½",
        "٣",
        "漢",
    ),
    *(
        "한",
        "𝔸",
        "𐐀",
        "𐐨",
        "😀",
        "\U000e0100",
        "\U0010ffff",
        "1234567",
        "12345678",
        "123456789",
        "слово",
        "1" * 15,
        "1" * 16,
    ),
    *("1" * 17, "б" * 8, "б" * 9, "x" * 40, "x" * 40 + "y", "prefixed-1", "prefixed-2", "prefixed\0", "12345678\0"),
]
_BROKEN = [
    b"\xff",
    b"\x80",
    b"\xc3",
    b"\xc2",
    b"\xe2\x80",
    b"\xe2",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
]

_pieces = st.sampled_from([piece.encode() for piece in _PIECES] + _BROKEN)
line = st.one_of(
    st.lists(_pieces, max_size=12).map(b"".join), st.text(max_size=20).map(str.encode), st.binary(max_size=20)
)
"""Any bytes: what is listed above in any order, any text, anything."""

untimed = settings(deadline=None)
"""For tests of code that builds a table once, on machines that do other things as well."""

lines = st.lists(line, min_size=1, max_size=30)


def as_counter(parts: Iterable[Counted]) -> Counter[str]:
    """What the kernel counted, after checking what holds for every part."""
    summed = Counter[str]()
    for counted in parts:
        counted.word.validate(full=True)
        counted.count.validate(full=True)
        words = counted.word.to_pylist()
        assert len(set(words)) == len(words)
        counts = counted.count.to_pylist()
        assert all(count > 0 for count in counts)
        assert counted.words == sum(counts)
        summed.update(dict(zip(words, counts, strict=True)))
    return summed


def expected(tokenizer: Tokenizer, many: list[bytes]) -> Counter[str]:
    """What the rule says, line by line."""
    return Counter(word for one in many for word in reference(tokenizer, one))

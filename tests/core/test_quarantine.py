"""Lines and values that are put aside: exactly those, with their places, however the bytes arrive."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from wordtide.core.quarantine import TOO_LONG, Quarantine, without_quarantined
from wordtide.core.text import LONGEST_WORD

CONTENT = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b" ", "é".encode(), b"\xff", b"\xc3", b"12345678"]),
    max_size=24,
).map(b"".join)


def lines_of(content: bytes) -> list[tuple[int, bytes, bytes]]:
    """Begin, content and end of each line, as Spark cuts them."""
    found = [(m.start(), m[1], m[2]) for m in re.finditer(rb"([^\r\n]*)(\r\n|\n|\r|\Z)", content)]
    return [line for line in found if line[1] or line[2]]


def is_text(content: bytes) -> bool:
    return content.decode("utf-8", "replace").encode() == content


@settings(max_examples=500, deadline=None)
@given(CONTENT, st.integers(1, 9), st.booleans(), st.none() | st.integers(0, 6))
def test_each_line_is_kept_or_put_aside_whatever_the_pieces(
    content: bytes, size: int, undecodable: bool, larger_than: int | None
) -> None:
    quarantine = Quarantine(undecodable, larger_than)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    aside: list[tuple[int, int]] = []
    kept = b"".join(without_quarantined(pieces, 100, quarantine, lambda begin, end, _: aside.append((begin, end))))
    expected_kept, expected_aside = b"", []
    for begin, line, end in lines_of(content):
        if (larger_than is not None and len(line) > larger_than) or (undecodable and not is_text(line)):
            expected_aside.append((100 + begin, 100 + begin + len(line) + len(end)))
        else:
            expected_kept += line + end
    assert (kept, aside) == (expected_kept, expected_aside)


@given(st.lists(st.binary(max_size=6), max_size=8), st.booleans(), st.none() | st.integers(0, 4))
def test_values_are_put_aside_by_their_place(values: list[bytes], undecodable: bool, larger_than: int | None) -> None:
    reasons = Quarantine(undecodable, larger_than).reasons(values)
    assert set(reasons) == {
        place
        for place, value in enumerate(values)
        if (larger_than is not None and len(value) > larger_than) or (undecodable and not is_text(value))
    }
    assert all(not reason.startswith("oversized") or larger_than is not None for reason in reasons.values())


def test_a_line_that_never_ends_is_not_held() -> None:
    held: list[tuple[int, int, str]] = []
    pieces = (b"x" * 1000 for _ in range(1000))
    assert not list(without_quarantined(pieces, 0, Quarantine(larger_than=5000), lambda *found: held.append(found)))
    assert held == [(0, 1_000_000, "oversized: more than 5000 bytes")]


def test_a_line_with_a_word_beyond_counting_is_put_aside_though_the_line_is_not_too_large() -> None:
    aside: list[tuple[int, int, str]] = []
    # Megabytes without a line end: judged in one pass.
    pieces = [b"a b\n", b"x" * LONGEST_WORD, b"x\nc\n", b"d " + b"y" * LONGEST_WORD]
    kept = b"".join(without_quarantined(pieces, 0, Quarantine(undecodable=True), lambda *found: aside.append(found)))
    assert kept == b"a b\nc\n" + pieces[-1]
    assert aside == [(4, 6 + LONGEST_WORD, TOO_LONG)]

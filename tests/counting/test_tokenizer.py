from __future__ import annotations

import codecs
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.counting.lines import as_counter, expected, line, lines, untimed
from wordtide.counting.kernel import count_words
from wordtide.counting.tokenizer import Tokenizer, _lowered, reference

each_tokenizer = pytest.mark.parametrize("tokenizer", list(Tokenizer))


def _is_interesting(code: int) -> bool:
    # Every assigned character, and a few of the others, which are by far the most.
    category = unicodedata.category(chr(code))
    return category != "Cs" and (category not in ("Cn", "Co") or code % 97 == 0)


ALL_CHARACTERS = [chr(code) for code in range(0x110000) if _is_interesting(code)]


def fast_words(tokenizer: Tokenizer, text: bytes) -> list[str]:
    normal = tokenizer.normalise(text)
    return [word for word in normal.text.decode().split(" ") if word or normal.keep_empty]


@each_tokenizer
@untimed
@given(many=lines)
@example(many=[b""])
@example(many=["aİb İ".encode()])
@example(many=[b"", b"", b""])
@example(many=["ΟΔΟΣ".encode(), "ΟΔΟΣ.".encode(), "Σ".encode(), "ΑΣ".encode(), "\u0345Σ".encode()])
@example(many=[b"cut\xe2\x80", b"\x8b", b"\xf0\x9f", b"\x98\x80"])
def test_joined_lines_are_cut_into_the_words_of_the_rule(tokenizer: Tokenizer, many: list[bytes]) -> None:
    words = [word for one in many for word in reference(tokenizer, one)]
    assert fast_words(tokenizer, b" ".join(many)) == words


@each_tokenizer
@untimed
@given(many=lines)
def test_joined_lines_are_counted_by_the_rule(tokenizer: Tokenizer, many: list[bytes]) -> None:
    # Repeated until the kernel leaves its path for tiny texts.
    for repeated in (many, many * (10_000 // (len(b" ".join(many)) + 1) + 1)):
        normal = tokenizer.normalise(b" ".join(repeated))
        assert as_counter(count_words(normal.text, normal.keep_empty)) == expected(tokenizer, repeated)


@each_tokenizer
def test_a_line_of_ten_megabytes_is_counted_by_the_rule(tokenizer: Tokenizer) -> None:
    some = "Ein Wort, ein\u00a0zweites: ΟΔΟΣ \r\n\x00 (ungebräuchlich) слово…  ".encode() + b"\xe2\x80 "
    long = some * (10_000_000 // len(some)) + b"\xf0\x9f"
    normal = tokenizer.normalise(long)
    assert as_counter(count_words(normal.text, normal.keep_empty)) == expected(tokenizer, [long])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("space", " a  b\tc ", ["", "a", "", "b\tc", ""]),
        ("space", "", [""]),
        ("space", "a\r\nb", ["a\r\nb"]),
        ("whitespace", " a\u00a0b\u2028c\x1cd\x85e\u200bf ", ["a", "b", "c", "d", "e\u200bf"]),
        ("whitespace", " \t", []),
        ("words", "Don't STOP_1, Straße-Ärger!", ["don", "t", "stop_1", "straße", "ärger"]),
        ("words", "e\u0301te\u0301 İI ΟΔΟΣ", ["e\u0301te\u0301", "i\u0307i", "οδος"]),
        ("words", "½ 漢字、Ⅷ a\0b", ["½", "漢字", "ⅷ", "a", "b"]),
    ],
)
def test_reference_says_what_the_documentation_says(name: str, text: str, words: list[str]) -> None:
    assert reference(name, text.encode()) == words


def test_space_leaves_valid_text_as_it_is() -> None:
    text = "a\0 b\r\nc\u00a0d ".encode()
    assert Tokenizer.SPACE.normalise(text).text == text


def test_whitespace_knows_every_character_that_python_splits_at() -> None:
    text = "a".join(ALL_CHARACTERS).encode()
    assert fast_words(Tokenizer.WHITESPACE, text) == text.decode().split()


def test_words_lowers_and_keeps_every_character_as_python_does() -> None:
    # Line by line and in one text, so that both the tables and the whole str.lower() are asked for each character.
    alone = {character: reference("words", f"a{character} {character}".encode()) for character in ALL_CHARACTERS}
    simple = [character for character in ALL_CHARACTERS if character not in "Σİ"]
    basic = [character for character in simple if character < "\U00010000"]
    for characters in (basic, simple, ALL_CHARACTERS):
        text = " ".join(f"a{character} {character}" for character in characters)
        assert fast_words(Tokenizer.WORDS, text.encode()) == [word for one in characters for word in alone[one]]


def test_words_are_letters_digits_underscores_and_marks() -> None:
    for character in ALL_CHARACTERS:
        if len(character.lower()) == 1:
            kept = (
                character.isalnum() or character == "_" or unicodedata.category(character.lower()) in ("Mn", "Mc", "Me")
            )
            assert bool(reference("words", character.encode())) == kept


@each_tokenizer
@untimed
@given(text=st.lists(line, max_size=400).map(b" ".join))
@example(text=b"\xed\xa0\x80" * 9_000)
@example(text="\ufffd".encode() + b"\xff" + "\ufffdé".encode() * 9_000 + b"\xe2\x80\xef\xbf\xbd")
def test_replaced_bytes_are_counted(tokenizer: Tokenizer, text: bytes) -> None:
    replaced = 0

    def replace(error: UnicodeError) -> tuple[str | bytes, int]:
        nonlocal replaced
        replaced += 1
        return codecs.replace_errors(error)

    codecs.register_error("wordtide.test", replace)
    text.decode("utf-8", "wordtide.test")
    assert tokenizer.normalise(text).invalid == replaced


@pytest.mark.parametrize("length", [1, 2, 3])
def test_arrow_and_python_agree_on_what_is_valid(length: int) -> None:
    # Every sequence that can be told from another by its first bytes, in a text long enough for Arrow's validation.
    filler = "é".encode() * 9_000
    middle = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    for first in range(0xC0 if length > 1 else 0x80, 0x100):
        for second in middle if length > 1 else [0x20]:
            for third in (0x20, 0x80, 0xBF, 0xC0) if length > 2 else [0x20]:
                text = bytes([first, second, third]) + b"\x80 " + filler
                normal = Tokenizer.SPACE.normalise(text)
                assert normal.text == text.decode("utf-8", "replace").encode()


@given(text=st.text(st.sampled_from("ΣσςİiaA\u0307\u0345ʰ'-.1 😀\U00010400ǅ"), max_size=60))
def test_words_lowers_long_texts_in_pieces_as_python_does_at_once(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wordtide.counting.tokenizer._PIECE_CHARACTERS", 3)
        assert "".join(_lowered(text)) == text.lower()

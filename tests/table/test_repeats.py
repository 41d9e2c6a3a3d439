"""Files with the content of another counted file: each is counted, and names the other one."""

from __future__ import annotations

from wordtide.core.model import Counted, FileSplit, SplitProof, Taken
from wordtide.table.ledger import Ledger
from wordtide.table.nodes import KeyIndex
from wordtide.table.repeats import repeats_line, with_repeats


def counted(**contents: tuple[int, int | None]) -> Counted:
    proofs = tuple(
        SplitProof(FileSplit(path, length, 5, 0, length), 1, digest=digest)
        for path, (length, digest) in contents.items()
    )
    return Counted((), proofs, 0, 0, 0, "local")


def named(found: Counted) -> dict[str, str]:
    return {proof.split.what: proof.content_as for proof in found.proofs if proof.content_as is not None}


def test_a_file_names_another_one_of_its_length_and_digest_in_the_ledger_or_the_batch() -> None:
    files = {
        "a": Taken.of(8, 1, 0, 77),
        "shorter": Taken.of(7, 1, 0, 77),
        "again": Taken.of(9, 1, 0, 5),
        "skipped": Taken.of(6, 1, 0, 6),
        "undigested": Taken.of(8, 1),
        "empty": Taken.of(0, 1, 0, 0),
    }
    ledger = Ledger("t", files=files, skipped={"skipped"})
    batch = counted(b=(8, 77), c=(8, 78), again=(9, 5), d=(6, 6), e=(4, 4), f=(4, 4), g=(0, 0), h=(8, None))

    found = with_repeats(batch, ledger)

    assert named(found) == {"b": "a", "f": "e"}
    assert repeats_line(found) == "2 files have length and checksum of another counted file: b as a, f as e"
    assert repeats_line(with_repeats(counted(z=(3, 3)), ledger)) is None


def test_what_is_counted_later_is_found_and_what_is_gone_is_not() -> None:
    ledger = Ledger("t", files={"a": Taken.of(8, 1, 0, 77)})
    assert named(with_repeats(counted(b=(8, 77)), ledger)) == {"b": "a"}
    ledger.files.pop("a")
    assert named(with_repeats(counted(b=(8, 77)), ledger)) == {}


def test_an_index_finds_what_was_added_and_nothing_without_a_key() -> None:
    index = KeyIndex([("a", 7), ("none", 0)])
    assert list(index.find([7, 0])) == ["a"]
    index.add("b", 7)
    index.add("none", 0)
    assert list(index.find([7, 0, 8])) == ["a", "b"]

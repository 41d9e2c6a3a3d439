"""Files with the content of another counted file: each is counted, and names the other one."""

from __future__ import annotations

from datetime import UTC, datetime

from wordtide.core.model import Counted, FileSplit, SplitProof, Status, Taken
from wordtide.table.ledger import Ledger
from wordtide.table.nodes import KeyIndex
from wordtide.table.record import LedgerEntry, SplitRecord
from wordtide.table.repeats import repeats_line, with_repeats

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def counted(**contents: tuple[int, int | None]) -> Counted:
    proofs = tuple(
        SplitProof(FileSplit(path, length, 5, 0, length), 1, digest=digest)
        for path, (length, digest) in contents.items()
    )
    return Counted((), proofs, 0, 0, 0, "local")


def _published(number: int, path: str) -> LedgerEntry:
    taken = SplitRecord(path=path, length=9, mtime=1, file_id="1:2@3", digest="crc32:00000005")
    return LedgerEntry(batch=number, status=Status.PUBLISHED, committed_at=NOW, splits=(taken,))


def _put_away(number: int, path: str) -> LedgerEntry:
    gone = SplitRecord(path=path, length=9, mtime=1, detail={"staged": "x"})
    return LedgerEntry(batch=number, status=Status.PUT_AWAY, committed_at=NOW, splits=(gone,))


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


def test_an_index_finds_keys_that_differ_in_any_few_bits() -> None:
    keys = {f"low {n}": n for n in range(1, 3000)} | {f"high {n}": n << 40 for n in range(1, 3000)}
    index = KeyIndex(keys.items())
    wanted = [*range(1, 200), *(n << 40 for n in range(2900, 3000)), 5000]
    assert sorted(index.find(wanted)) == sorted(path for path, key in keys.items() if key in set(wanted))


def test_a_ledger_that_is_kept_does_not_remember_all_files_that_were_put_away() -> None:
    ledger = Ledger("t", files={"a": Taken.of(8, 1, 7, 77)})
    for number in range(5000):
        ledger.apply([_published(2 * number + 1, f"f{number}"), _put_away(2 * number + 2, f"f{number}")])
        if number % 500 == 0:
            assert [path for path, _ in ledger.with_nodes([7])] == ["a"]
            assert [path for path, _ in ledger.with_contents([(8, 77)])] == ["a"]
    known = ledger._nodes, ledger._contents
    assert all(index is not None and len(index) < 3000 for index in known)

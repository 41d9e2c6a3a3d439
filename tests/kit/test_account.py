"""The judge of a soak sees what must not be: a ledger that loses, doubles, invents, or gives up too much."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from wordtide.testing.soak.account import FolderAccount, Sent, TopicAccount

Rows = list[dict[str, Any]]


def row(number: int, status: str, *splits: dict[str, Any], topic_id: str | None = None) -> dict[str, Any]:
    identity = json.dumps({"topic_id": topic_id}) if topic_id else None
    return {"batch": number, "status": status, "identity": identity, "splits": list(splits)}


def offsets(start: int, end: int, records: int | None = None, partition: int = 0) -> dict[str, Any]:
    return {"path": None, "partition": partition, "start": start, "end": end, "records": records}


def account(values: Sequence[str | None]) -> TopicAccount:
    """Return the account of one partition; None was aborted."""
    sent = {n: Sent((value or "aborted").encode(), value is not None) for n, value in enumerate(values)}
    return TopicAccount("space", ["T"], {("T", 0): sent})


FOUNDED = row(0, "founded", offsets(0, 0), topic_id="T")


def test_a_ledger_that_took_everything_once_is_right() -> None:
    rows = [FOUNDED, row(1, "published", offsets(0, 2, 2)), row(2, "published", offsets(2, 4, 1))]
    verdict = account(["a b", "a", None, "c"]).verdict(rows)
    assert verdict.problems == []
    assert verdict.words == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(1, "published", offsets(0, 2, 2))], "offset 2 was sent and is in no range"),
        ([row(1, "published", offsets(0, 2, 2)), row(2, "published", offsets(1, 3, 2))], r"\[1, 3\) was counted"),
        ([row(1, "published", offsets(1, 3, 2))], r"was at 0, and \[1, 3\) was counted"),
        ([row(1, "published", offsets(0, 3, 4))], "4 records in .* 3 were sent"),
        ([row(1, "resolved", offsets(0, 1)), row(2, "published", offsets(1, 3, 2))], r"gave up \[0, 1\)"),
    ],
    ids=["lost", "doubled", "left out", "invented", "given up what was there"],
)
def test_a_ledger_that_cannot_be_is_found_out(rows: Rows, problem: str) -> None:
    found = account(["a", "b", "c"]).verdict([FOUNDED, *rows]).problems
    assert any(re.search(problem, text) for text in found), found


def test_what_was_deleted_may_be_given_up_and_is_not_expected() -> None:
    sent = account(["a", "b", "c"])
    sent.deleted["T", 0] = 2
    verdict = sent.verdict([FOUNDED, row(1, "resolved", offsets(0, 2)), row(2, "published", offsets(2, 3, 1))])
    assert (verdict.problems, verdict.words) == ([], {"c": 1})


def test_what_went_with_its_topic_is_not_expected_and_what_the_new_one_has_is() -> None:
    sent = account(["a", "b"])
    sent.ids.append("U")
    sent.records["U", 0] = {0: Sent(b"c", True), 1: Sent(b"d", True)}
    taken = [FOUNDED, row(1, "published", offsets(0, 1, 1)), row(2, "resolved", offsets(0, 1), topic_id="U")]
    verdict = sent.verdict([*taken, row(3, "published", offsets(1, 2, 1))])
    assert (verdict.problems, verdict.words) == ([], {"a": 1, "d": 1})
    assert sent.verdict(taken).problems == ["('U', 0): offset 1 was sent and is in no range of the ledger"]


def file(path: str, length: int, mtime: int) -> dict[str, Any]:
    return {"path": path, "length": length, "mtime": mtime, "partition": None}


@pytest.fixture
def landed() -> FolderAccount:
    files = FolderAccount("space")
    files.landed("/a", (2, 1), [b"a"])
    files.landed("/a", (2, 2), [b"b"])
    files.landed("/c", (9, 1), None)
    return files


def test_a_file_counts_as_it_was_when_it_was_taken_or_recounted(landed: FolderAccount) -> None:
    unread = row(1, "resolved", file("/c", 9, 1))
    taken = [unread, row(2, "published", file("/a", 2, 1))]
    skipped = landed.verdict([*taken, row(3, "resolved", file("/a", 2, 2))])
    assert (skipped.problems, skipped.words) == ([], {"a": 1})
    recounted = landed.verdict([*taken, row(3, "correction", file("/a", 2, 2))])
    assert (recounted.problems, recounted.words) == ([], {"b": 1})


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "/a is there as (2, 2), the ledger has None"),
        ([row(1, "published", file("/a", 2, 1))], "/a is there as (2, 2), the ledger has (2, 1)"),
        (
            [row(1, "published", file("/a", 2, 1)), row(2, "published", file("/a", 2, 2))],
            "batch 2: /a was taken a second time",
        ),
        ([row(1, "published", file("/a", 3, 3))], "/a was counted as (3, 3), which was never landed whole"),
        ([row(1, "published", file("/c", 9, 1))], "/c was counted as (9, 1), which was never landed whole"),
    ],
    ids=["left out", "not as it is", "twice", "invented", "unreadable"],
)
def test_a_folder_ledger_that_cannot_be_is_found_out(rows: Rows, problem: str, landed: FolderAccount) -> None:
    assert problem in landed.verdict(rows).problems

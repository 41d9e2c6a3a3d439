"""What a soak lands is what the stream takes."""

from __future__ import annotations

import random

import pytest

from tests.support import Place, create_topic, unique
from wordtide.sources.files.names import is_candidate
from wordtide.testing.soak.account import FolderAccount, TopicAccount
from wordtide.testing.soak.feed import FolderFeed, TopicFeed


@pytest.mark.parametrize(("glob", "packs"), [("**/*", True), ("*.txt", False), ("1/**", True), ("**/*.json*", True)])
def test_files_have_names_that_the_glob_takes(glob: str, packs: bool, place: Place) -> None:
    stream = place.folder_stream()
    storage, root = place.landing(stream)
    account = FolderAccount("space")
    feed = FolderFeed(storage, root, glob, place.hdfs, random.Random(1), account)
    for _ in range(30):
        feed.give(2)
    assert len(account.latest) == 30
    assert all(is_candidate(path.removeprefix(f"{root}/"), glob) for path in account.latest)
    assert feed.packs == packs == any(path.endswith(".gz") for path in account.latest)


def test_a_glob_that_no_name_fits_is_refused(place: Place) -> None:
    stream = place.folder_stream()
    storage, root = place.landing(stream)
    with pytest.raises(AssertionError, match="no name"):
        FolderFeed(storage, root, "*.parquet", place.hdfs, random.Random(1), FolderAccount("space"))


def test_records_of_which_an_acknowledgement_does_not_tell_the_offset_are_found_in_the_topic(place: Place) -> None:
    topic = unique("soak")
    create_topic(place.cluster, topic, 2)
    account = TopicAccount("space")
    feed = TopicFeed(place.cluster, topic, "read_committed", random.Random(1), account)
    feed.give(50)
    feed.settle()
    whole = {key: dict(records) for key, records in account.records.items()}
    # As if the broker had been killed before it answered, and had told the second time only that it has them.
    for (_, number), records in account.records.items():
        feed._unplaced += [(number, records.pop(offset)) for offset in sorted(records)[2:9]]
    assert account.records != whole

    feed.settle()

    assert account.records == whole

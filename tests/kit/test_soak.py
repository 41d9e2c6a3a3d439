"""A topic and a folder on HDFS, two drains, every fault at random; then everything adds up to the word."""

from __future__ import annotations

from collections.abc import Callable

from wordtide.testing.place import Place
from wordtide.testing.topics import create_topic
from wordtide.testing.waiting import unique


def test_nothing_is_lost_or_counted_twice_whatever_happens(
    wordtide_place: Place, wordtide_soak: Callable[..., None]
) -> None:
    topic, folder = unique("soak"), unique("soak")
    create_topic(wordtide_place.cluster, topic, 3)
    pace = {"batch_interval": "200ms", "linger": "2s", "max_run": "10s"}
    streams = wordtide_place.streams(
        {
            "lines": {"kafka": {"topic": topic}, **pace},
            "files": {"landing": {"path": f"hdfs:///{folder}/landing", "min_age": "300ms"}, **pace},
        },
        tables=f"hdfs:///{folder}/tables",
    )
    storage, root = wordtide_place.landing(streams["files"])
    storage.mkdirs(root)
    wordtide_soak(streams["lines"], streams["files"])

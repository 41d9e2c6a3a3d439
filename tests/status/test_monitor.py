"""A watcher goes on looking, whatever a look ends with."""

from __future__ import annotations

import time

from tests.dagster.support import NEWS
from wordtide.config import Stream
from wordtide.status.monitor import Watcher, look_at_all
from wordtide.table.commit import WordCounts


def test_an_error_that_nobody_foresaw_is_said_and_the_next_look_is_made() -> None:
    errors = [RuntimeError("not foreseen"), KeyError("nor this")]

    def opens(_stream: Stream) -> WordCounts:
        raise errors.pop(0)

    said: list[str] = []
    watcher = Watcher(NEWS, said.append, opens)
    began = time.monotonic()
    first = look_at_all([watcher], 60.0)["news"]
    second = look_at_all([watcher], 60.0)["news"]
    assert first.table_problem == "RuntimeError: not foreseen"
    assert second.table_problem == "KeyError: 'nor this'"
    assert began < first.finished < second.finished
    assert said[0] == "stream news: RuntimeError: not foreseen"

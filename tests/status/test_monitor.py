"""A watcher goes on looking, whatever a look ends with."""

from __future__ import annotations

import time
from typing import NoReturn

from tests.dagster.support import NEWS
from wordtide.config import Stream
from wordtide.status.monitor import Watcher, look_at_all
from wordtide.table.commit import WordCounts


class NoTable:
    """A table that is not founded yet."""

    def snapshot(self, _known: object) -> None:
        return None


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


def test_a_watcher_goes_on_when_what_it_throws_away_does_not_close_and_nobody_hears_it() -> None:
    class Stubborn:
        def __getattr__(self, name: str) -> NoReturn:
            raise RuntimeError(f"cannot {name}")

    def gone(_said: str) -> None:
        raise BrokenPipeError

    watcher = Watcher(NEWS, gone, lambda _stream: NoTable(), lambda _stream: Stubborn())  # type: ignore[arg-type, return-value]
    for _ in range(2):
        began = time.monotonic()
        seen = look_at_all([watcher], 60.0)["news"]
        assert seen.source_problem is not None
        assert "cannot look" in seen.source_problem
        assert seen.finished > began

"""The maintenance job sees to every table, whatever it meets at one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.dagster.support import by_hand, definitions, instance
from tests.support import Place
from wordtide.dagster import jobs
from wordtide.table.commit import WordCounts


class PanicException(BaseException):
    """As that of a Rust library, which is no Exception."""


def test_a_table_that_cannot_be_tidied_is_named_and_the_others_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = place.folder_stream(engine="local")
    first = replace(last, name="first", table=f"{last.table}-first")
    defs = definitions(place, first, last)
    tidied: list[str] = []

    def compact(table: WordCounts, live_files: int) -> int:
        tidied.append(table.stream.name)
        if table.stream.name == "first":
            raise PanicException("index out of bounds")
        return live_files

    monkeypatch.setattr(jobs, "compact_if_needed", compact)
    with instance() as home:
        for stream in (first, last):
            assert by_hand(defs, stream, home).success
        ended = defs.resolve_job_def("maintenance").execute_in_process(instance=home, raise_on_error=False)
        assert not ended.success
        (failure,) = ended.get_step_failure_events()
    assert tidied == ["first", "s"]
    assert failure.step_failure_data.user_failure_data.description == "first: delta-rs panicked: index out of bounds"

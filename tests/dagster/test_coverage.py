"""Which batches have an event, and how many events a run may log."""

import pytest

from tests.dagster.support import NEWS, report
from wordtide.core.model import Status
from wordtide.core.position import Offsets, parse
from wordtide.dagster.coverage import Reported, reported_by, unreported
from wordtide.dagster.definitions import build_definitions
from wordtide.dagster.events import Report, merge, placed, source_version
from wordtide.dagster.preview import ROWS, preview_from
from wordtide.dagster.reporter import PAUSE_SECONDS, SINGLE_EVENTS, pause


def covers(first: int, last: int) -> dict[str, str]:
    return {"wordtide_first": str(first), "wordtide_batch": str(last)}


@pytest.mark.parametrize(
    ("events", "more", "through", "beyond"),
    [
        ([], False, 0, set()),
        ([covers(1, 1), covers(3, 3)], False, 1, {3}),
        ([covers(3, 3), covers(2, 2), covers(1, 1)], False, 3, set()),
        ([covers(1, 900)], False, 900, set()),
        ([{"wordtide_reported_through": "7"}, covers(9, 9)], False, 7, {9}),
        ([covers(700, 700), covers(702, 702)], True, 700, {702}),
    ],
)
def test_events_say_which_batches_are_reported(events, more, through, beyond):
    assert reported_by(events, more=more) == Reported(through, beyond)


def test_the_newest_unreported_batches_are_told_singly_and_the_rest_together():
    assert unreported(range(1, 9), Reported(2, {6}), 3) == ([3, 4], [5, 7, 8])


def test_a_run_logs_a_bounded_number_of_events():
    now = last = 0.0
    events = 0
    while now < 3600:
        now += 0.1
        if pause(events, now - last) == 0:
            events, last = events + 1, now
    assert events <= SINGLE_EVENTS + 3600 / PAUSE_SECONDS


def test_one_event_for_several_batches_joins_their_ranges():
    def of(number: int, start: int) -> Report:
        line = {"partition": "news/0", "start": start, "end": start + 5, "records": 5}
        return report(number, line, position=Offsets({0: start + 5}), lag=0, seconds={"read": 1.0})

    told = merge([of(4, 10), of(5, 15)])
    assert (told.first, told.last, told.batches, told.words, told.position) == (4, 5, 2, 18, Offsets({0: 20}))
    assert told.splits == ({"partition": "news/0", "start": 10, "end": 20, "records": 10},)


def test_batches_of_the_past_get_their_positions_from_the_last_one_back():
    def of(partition: int, start: int) -> dict[str, str | int]:
        return {"partition": f"a/{partition}", "start": start, "end": start + 5, "records": 5}

    reports = [
        report(1, of(0, 0), of(1, 7)),
        report(2, {"what": "a/1", "reason": "lost"}, status=Status.PARKED),
        report(3, of(0, 5)),
    ]
    told, before = placed(reports, parse("0:10 1:12"))
    assert [str(one.position) for one in told] == ["0:5 1:12", "0:5 1:12", "0:10 1:12"]
    assert before == parse("0:0 1:7")
    landed = [report(1, {"file": "a"}, {"file": "b"}), report(2, {"file": "c"})]
    assert [str(one.position) for one in placed(landed, parse("3 files"))[0]] == ["2 files", "3 files"]


def test_a_position_before_an_operators_decision_or_of_nobody_knows_what_is_left_out():
    decided = [report(1, {"partition": "a/0", "start": 0}), report(2, status=Status.RESOLVED)]
    assert [one.position for one in placed(decided, parse("0:9"))[0]] == [None, parse("0:9")]
    assert placed(decided, None)[0][1].position is None


@pytest.mark.parametrize(
    ("known", "before", "position", "version"),
    [
        ("INITIAL", None, "0:5", "0:5"),
        ("0:5", "0:5", "0:9", "0:9"),
        ("0:9", "0:2", "0:5", "0:9"),  # another stream is ahead
        ("0:9 1:2", "0:2 1:2", "0:5 1:7", "0:9 1:7"),
        ("0:9", "0:5", "0:9 1:0", "0:9"),  # a partition without a record
        ("0:9", "0:9", "0:3", "0:3"),  # recreated
        ("batch 7", "batch 7", "0:5", "0:5"),
        ("2 files", "2 files", "3 files", "3 files"),
    ],
)
def test_the_version_of_a_source_goes_forward_only_unless_the_streams_own_position_went_back(
    known, before, position, version
):
    assert source_version(known, parse(before or ""), parse(position)) == version


def test_a_preview_takes_the_newest_batches_that_are_small_enough():
    assert preview_from([(1, ROWS), (2, 10), (3, 10)]) == 2
    assert preview_from([(1, ROWS + 1)]) is None
    assert preview_from([]) is None


def test_a_table_says_in_the_graph_what_it_is_and_whose():
    stream = type(NEWS)("news", NEWS.config.model_copy(update={"owners": ("team:data",)}), NEWS.table, None)
    graph = build_definitions({"news": stream}).resolve_asset_graph()
    (table,) = graph.materializable_asset_keys
    node = graph.get(table)
    assert list(node.owners) == ["team:data"]
    assert node.metadata["dagster/table_name"] == "news.word_counts"
    assert node.metadata["dagster/storage_kind"] == "deltalake"
    assert {"dagster/column_schema", "dagster/column_lineage", "dagster/code_references", "dagster/uri"} <= set(
        node.metadata
    )
    assert "SELECT word" in node.description
    assert node.freshness_policy.fail_window.to_timedelta().total_seconds() == 86_400

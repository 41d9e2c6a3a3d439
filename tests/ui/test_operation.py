"""What people do there: switch a sensor, materialize, terminate a run."""

from __future__ import annotations

import time

import dagster as dg
from playwright.sync_api import Page, expect

from tests.support import assert_numbered, some_lines, words_of
from tests.ui.platform import Platform, eventually


def switch_sensor(page: Page, platform: Platform, name: str, *, on: bool) -> None:
    """Switch a sensor on its page.

    A look that it has in hand writes its state back when it ends, which can undo a switch: such is Dagster 1.13. So
    once others have looked it is looked at again.
    """
    for _ in range(3):
        page.goto(f"/locations/wordtide/sensors/{name}_sensor")
        switch = page.get_by_role("row").filter(has_text="Running").get_by_role("checkbox")
        expect(switch).to_be_checked(checked=not on)
        # Not clicked: what is drawn of it covers it.
        switch.dispatch_event("click")
        expect(switch).to_be_checked(checked=on)
        eventually("it is switched", lambda: platform.is_on(name) is on)
        if on:
            return
        wait_for_look(platform)
        if not platform.is_on(name):
            return
    raise AssertionError(f"{name}_sensor is on again each time it was switched off")


def wait_for_look(platform: Platform) -> None:
    """Wait until a sensor that nobody switches has looked once more from beginning to end."""
    now = time.time()
    eventually("another sensor looks", lambda: platform.looked("parked") > now)


def test_a_sensor_that_is_switched_off_starts_nothing_until_it_is_on_again(page: Page, platform: Platform) -> None:
    stream, lines = platform.streams["watched"], some_lines(50)
    platform.wait_for_events("watched", 1)
    switch_sensor(page, platform, "watched", on=False)
    platform.place.produce(stream, lines)
    wait_for_look(platform)
    assert not platform.place.counted(stream)
    switch_sensor(page, platform, "watched", on=True)
    eventually("they are counted", lambda: platform.place.counted(stream) == words_of(lines))


def test_materialize_counts_what_is_there(page: Page, platform: Platform) -> None:
    stream, lines = platform.streams["by_hand"], some_lines(50)
    platform.wait_for_events("by_hand", 1)
    switch_sensor(page, platform, "by_hand", on=False)
    before = len(platform.runs("by_hand"))
    platform.place.produce(stream, lines)
    page.goto("/assets/by_hand/word_counts")
    # Before the page knows what the asset is, its button does nothing.
    expect(page.get_by_text("counted exactly once")).to_be_visible()
    page.get_by_role("button", name="Materialize").click()
    eventually("a run is launched", lambda: len(platform.runs("by_hand")) > before)
    platform.wait_for_events("by_hand", 3)
    assert platform.place.counted(stream) == words_of(lines)
    run = platform.runs("by_hand")[0].run_id
    assert [row["run_id"] for row in platform.place.ledger(stream)[1:]] == [run]
    page.goto(f"/runs/{run}")
    expect(page.get_by_text("Success", exact=True)).to_be_visible()


def test_a_run_that_is_terminated_ends_as_canceled_and_the_next_takes_the_rest(page: Page, platform: Platform) -> None:
    stream, lines = platform.streams["endless"], some_lines(1000)
    (run,) = eventually("a run drains", lambda: platform.runs("endless"))
    eventually("it has founded the table", lambda: platform.place.table(stream).open())
    page.goto("/assets/endless/word_counts?view=checks")
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()
    page.goto(f"/runs/{run.run_id}")
    platform.place.produce(stream, lines)
    eventually("some batches are there", lambda: len(platform.place.ledger(stream)) > 3)
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("button", name="Terminate 1 run").click()
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    eventually("it has ended", lambda: platform.run(run.run_id).status is dg.DagsterRunStatus.CANCELED)
    eventually("the rest is counted", lambda: platform.place.counted(stream) == words_of(lines))
    rows = platform.place.ledger(stream)
    assert_numbered(rows)
    assert [row["run_id"] == run.run_id for row in rows[1:]].count(True) in range(3, len(rows) - 1)

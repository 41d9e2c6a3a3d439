"""What people see of streams that run: graph, events, plots, checks."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support import words_of
from tests.ui.platform import SHOWN_LINES, Platform

BATCHES = 3


def open_events(page: Page, platform: Platform) -> None:
    platform.wait_for_events("shown", BATCHES + 1)
    page.goto("/assets/shown/word_counts?view=events")
    # The newest, which ends the run, is the chosen one.
    expect(page.get_by_text("Materialized in run")).to_be_visible()


def value(page: Page, key: str):
    """Return the cell beside a key of the metadata."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True))
    return row.get_by_role("cell").nth(1)


def test_the_graph_shows_groups_sources_and_tables_with_their_kinds(page: Page, platform: Platform) -> None:
    platform.wait_for_events("shown", BATCHES + 1)
    page.goto("/asset-groups")
    graph = page.locator("svg")
    for group in platform.streams:
        expect(graph.get_by_text(group, exact=True)).to_be_visible()
    for group in ("shown", "parked"):
        # Not click(): with one group open, the next may lie under the list of assets until somebody moves the graph.
        graph.get_by_text(group, exact=True).first.dispatch_event("click")
    expect(graph.get_by_text(platform.topic("shown"), exact=True)).to_be_visible()
    expect(graph.get_by_text("word_counts", exact=True)).to_have_count(2)
    expect(graph.get_by_text("top_words", exact=True)).to_have_count(2)
    for kind, count in {"Kafka": 1, "Hadoop": 1, "Delta Lake": 4, "Table": 2, "DuckDB": 2}.items():
        expect(graph.get_by_text(kind, exact=True)).to_have_count(count)
    # Nothing there says that a table is behind its source.
    expect(page.get_by_text("Unsynced")).to_have_count(0)


def test_an_assets_page_says_what_it_is(page: Page, platform: Platform) -> None:
    platform.wait_for_events("shown", BATCHES + 1)
    page.goto("/assets/shown/word_counts")
    expect(page.get_by_text(f"Words of {platform.topic('shown')}, counted exactly once")).to_be_visible()
    expect(page.get_by_text("SELECT word, sum(count) AS n FROM word_counts")).to_be_visible()
    expect(page.get_by_role("cell", name="what the batch adds; a word's total is the sum")).to_be_visible()
    expect(page.get_by_text("Fails if more than 24 hours since last materialization")).to_be_visible()
    expect(page.get_by_role("link", name="shown in streams.yaml")).to_be_visible()
    for text in ("Delta Lake", "Table", "shown.word_counts", "words"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    external = page.get_by_role("link", name=f"kafka / {platform.topic('shown')}")
    external.first.click()
    expect(page.get_by_text("External Asset")).to_be_visible()
    expect(page.get_by_role("cell", name="one line of text; a tombstone counts nothing")).to_be_visible()


def test_the_event_that_ends_a_run_shows_the_table_and_its_top_words(page: Page, platform: Platform) -> None:
    open_events(page, platform)
    expect(value(page, "batch")).to_have_text(str(BATCHES))
    expect(value(page, "run_words")).to_have_text(str(words_of(SHOWN_LINES).total()))
    expect(value(page, "dagster/table_name")).to_have_text("shown.word_counts")
    uri = platform.streams["shown"].table
    expect(value(page, "dagster/uri")).to_have_text(uri)
    at = f"http://{platform.place.cluster.webhdfs}/explorer.html#{uri.removeprefix('hdfs://')}"
    expect(value(page, "table").get_by_role("link").first).to_have_attribute("href", at)
    word, count = max(words_of(SHOWN_LINES).items(), key=lambda pair: pair[1])
    shown = value(page, "top_words").get_by_role("row").nth(1)
    expect(shown.get_by_role("cell")).to_have_text([word or "(empty)", str(count)])


def test_the_event_of_a_batch_shows_what_it_took_and_how_long_that_was(page: Page, platform: Platform) -> None:
    open_events(page, platform)
    batch = platform.place.ledger(platform.streams["shown"])[-1]
    page.get_by_text(re.compile(r"^\w+ \d+, \d+:\d+ [AP]M$")).nth(1).click()
    expect(page.get_by_text(f"batch {BATCHES}: {batch['words']:,} words from 20 records")).to_be_visible()
    for split in batch["splits"]:
        cells = [f"{split['topic']}/{split['partition']}", *(str(split[key]) for key in ("start", "end", "records"))]
        row = value(page, "ranges").get_by_role("row").filter(has_text=cells[0])
        expect(row.get_by_role("cell")).to_have_text(cells)
    for key in ("seconds_plan", "seconds_read", "seconds_count", "seconds_write", "seconds_batch", "latency_seconds"):
        expect(value(page, key)).to_have_text(re.compile(r"^\d+(\.\d+)?$"))


def test_numbers_of_batches_are_plotted_under_stable_names(page: Page, platform: Platform) -> None:
    platform.wait_for_events("shown", BATCHES + 1)
    page.goto("/assets/shown/word_counts")
    page.get_by_role("button", name="Plots").click()
    steps = ("plan", "read", "count", "write", "batch")
    for name in ("words", "records", "rows", "bytes", "lag", "latency_seconds", *(f"seconds_{step}" for step in steps)):
        plot = page.get_by_text(name, exact=True).locator("xpath=ancestor::div[.//canvas][1]")
        expect(plot.locator("canvas").first).to_be_visible()


def test_a_parked_file_is_a_failed_check_that_names_it(page: Page, platform: Platform) -> None:
    platform.wait_for_events("parked", 2)
    page.goto("/assets/parked/word_counts?view=checks")
    expect(page.get_by_text("nothing_parked").first).to_be_visible()
    expect(page.get_by_text("Failed").first).to_be_visible()
    expect(page.get_by_text(re.compile("waiting for a decision: .*bad.txt.gz"))).to_be_visible()

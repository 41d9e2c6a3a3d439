"""One `dagster dev` and one Chromium for the tests of what people see."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.browser import INSTALL, chromium, launch
from tests.support import Place, unique
from tests.ui.browser import Complaints
from tests.ui.platform import SECONDS, Platform, prepare
from wordtide.cli.dagster_dev import DagsterDev
from wordtide.embedded.cluster import ClusterAddress

# What a page shows is waited for longer than Playwright would: CI has two cores for all of this.
expect.set_options(timeout=SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests where there is no Chromium, before anything is started for them."""
    if chromium() is None:
        for item in items:
            if "tests/ui/" in item.nodeid:
                item.add_marker(pytest.mark.skip(INSTALL))


# Of the package, not of the session: while Playwright is at work, nothing in its thread may run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as started:
        browser = launch(started)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def platform(cluster: ClusterAddress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A `dagster dev` in a home of its own, with streams on the session's servers."""
    place = Place(tmp_path_factory.mktemp("ui"), cluster)
    home = place.folder / "home"
    streams = prepare(place, unique("ui"))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place.environment().items():
            if name.startswith("WORDTIDE_"):
                environment.setenv(name, value)
        environment.setenv("WORDTIDE_HOME", str(home))
        with DagsterDev(log=place.folder / "dagster.log") as dagster:
            dagster.wait_ready()
            with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
                yield Platform(place, streams, dagster.url, instance)


@pytest.fixture
def page(browser: Browser, platform: Platform) -> Iterator[Page]:
    """A fresh page of the platform; the test fails if anything on it complains."""
    context = browser.new_context(base_url=platform.url, viewport={"width": 1440, "height": 1200})
    complaints = Complaints()
    complaints.listen(context)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    yield page
    context.close()
    assert complaints.said == []

"""Takes the README's pictures of a real demo, its pages in Chromium and its commands in a terminal: `make pictures`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import click
from playwright.sync_api import FloatRect, Page, expect, sync_playwright

from scripts.browser import INSTALL, chromium, launch
from scripts.terminal import Terminal, to_svg
from wordtide.config import PROJECT_ROOT

PICTURES = PROJECT_ROOT / "docs" / "pictures"
STARTED_SECONDS = 300.0
PAGE_MILLISECONDS = 120_000.0
FED_SECONDS = 60.0
"""How long text flows before the first picture, so that plots and ledgers have something to show."""
WIDE, COLUMNS = 100, 80
LIVE_ROWS = 34
_BLANK_END = re.compile(r"(\s|\x1b\[[\d;?]*[a-zA-Z])+$")
WORDTIDE = (sys.executable, "-m", "wordtide.cli.main")
SETTLED_MILLISECONDS = 4000.0
SIDE = 240
"""Width of Dagster's navigation, which is left out."""


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that runs in a folder of its own."""

    terminal: Terminal
    folder: Path
    environment: dict[str, str]

    def url(self) -> str:
        """Return where Dagster is, once it is."""
        deadline = time.monotonic() + STARTED_SECONDS
        while not (found := re.search(r"wordtide: Dagster (http://\S+)", self.terminal.text())):
            if not self.terminal.running() or time.monotonic() > deadline:
                raise click.ClickException(f"the demo does not start:\n{self.terminal.text()[-2000:]}")
            time.sleep(0.5)
        return found.group(1)

    def said(self, *commands: str) -> str:
        """Return what some of our commands write, below each other, as somebody sees it who types them."""
        said = []
        for command in commands:
            with Terminal((*WORDTIDE, *command.split()), self.folder, self.environment, COLUMNS, 40) as terminal:
                terminal.wait()
            # What a progress bar drew, it has taken away again.
            text = _BLANK_END.sub("", terminal.text().rpartition("\x1b[2K")[2])
            said.append(f"\x1b[1;32m$\x1b[0m wordtide {command}\n{text}\x1b[0m\n")
        return "\n".join(said)


def main() -> None:
    """Start a demo, take all pictures, end it."""
    if chromium() is None:
        raise click.ClickException(INSTALL)
    PICTURES.mkdir(parents=True, exist_ok=True)
    # A short path, for it is to be seen.
    with tempfile.TemporaryDirectory(prefix="wordtide-") as name:
        folder = Path(name)
        shutil.copy(PROJECT_ROOT / "streams.yaml", folder)
        ours = {"WORDTIDE_HOME": str(folder / "home"), "WORDTIDE_STREAMS": str(folder / "streams.yaml")}
        environment = {**os.environ, **ours, "PYTHONPATH": str(PROJECT_ROOT)}
        with Terminal((*WORDTIDE, "demo"), folder, environment, WIDE, LIVE_ROWS) as terminal:
            demo = Demo(terminal, folder, environment)
            url = demo.url()
            click.echo(f"a demo runs at {url}; text flows for {FED_SECONDS:.0f} s")
            time.sleep(FED_SECONDS)
            with sync_playwright() as playwright:
                browser = launch(playwright)
                expect.set_options(timeout=PAGE_MILLISECONDS)
                of_terminals(browser.new_page(), demo)
                context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
                context.set_default_timeout(PAGE_MILLISECONDS)
                of_pages(context.new_page())
                browser.close()
    for picture in sorted(PICTURES.iterdir()):
        click.echo(f"{picture.relative_to(PROJECT_ROOT)}  {picture.stat().st_size / 1000:,.0f} kB")


def of_terminals(page: Page, demo: Demo) -> None:
    """Take pictures of the live view and of commands."""
    shown = {
        "live": ("make demo", demo.terminal.frame(), WIDE),
        "commands": ("wordtide", demo.said("status", "lag", "top news -n 8"), COLUMNS),
        "ledger": ("wordtide", demo.said("ledger news -n 8", "ledger articles -n 4"), COLUMNS),
    }
    for name, (title, text, columns) in shown.items():
        style = "<style>svg { width: 1000px } text { font-family: 'DejaVu Sans Mono', monospace }</style>"
        page.set_content(style + to_svg(text, title, columns))
        page.locator("svg").screenshot(path=PICTURES / f"{name}.png")


def of_pages(page: Page) -> None:
    """Take pictures of Dagster's pages."""
    for name, show in (
        # First, while each batch still has an event of its own.
        ("plots", show_plots),
        ("graph", show_graph),
        ("asset", show_asset),
        ("batch", show_batch),
        ("run", show_run),
    ):
        page.set_viewport_size({"width": 1440, "height": 900})
        clip = show(page)
        # What is still drawn or moves.
        page.wait_for_timeout(SETTLED_MILLISECONDS)
        page.screenshot(path=PICTURES / f"{name}.png", clip=clip)


def below(top: float, width: float, height: float) -> FloatRect:
    """Return a part of a page beside its navigation."""
    return {"x": SIDE, "y": top, "width": width, "height": height}


def show_graph(page: Page) -> FloatRect:
    """Show the ways of all streams; return the part of the page that is the picture."""
    page.set_viewport_size({"width": 1440, "height": 1180})
    groups = ",".join(f"global@global:{name}" for name in ("news", "articles", "wire", "logs"))
    page.goto(f"/asset-groups?expanded={quote(groups)}")
    graph = page.locator("svg")
    expect(graph.get_by_text("word_counts", exact=True)).to_have_count(4)
    expect(graph.get_by_text("Loading")).to_have_count(0)
    page.get_by_role("button", name="panel_show_right", exact=True).last.click()
    return below(108, 860, 1000)


def show_asset(page: Page) -> FloatRect:
    """Show what a table's page says of it."""
    page.goto("/assets/news/word_counts")
    expect(page.get_by_text("Passing").first).to_be_visible()
    expect(page.get_by_text("seconds ago").first).to_be_visible()
    return below(0, 1200, 900)


def show_batch(page: Page) -> FloatRect:
    """Show the newest event of a table."""
    page.goto("/assets/articles/word_counts?view=events")
    expect(page.get_by_role("cell", name="seconds_batch")).to_be_visible()
    return below(0, 1200, 900)


def show_plots(page: Page) -> FloatRect:
    """Show the plots of a table's numbers."""
    page.set_viewport_size({"width": 1440, "height": 2800})
    page.goto("/assets/news/word_counts")
    page.get_by_role("button", name="Plots").click()
    expect(page.locator("canvas")).not_to_have_count(0)
    box = page.get_by_role("button", name="Plots").bounding_box()
    return below(box["y"] - 70 if box else 0, 810, 1140)


def show_run(page: Page) -> FloatRect:
    """Show a drain run with its batches."""
    page.goto("/assets/news/word_counts?view=events")
    link = page.get_by_text("Materialized in run").locator("xpath=..").get_by_role("link").first
    # Without its query, which would choose the step.
    page.goto(str(link.get_attribute("href")).partition("?")[0])
    page.get_by_placeholder("Filter…").fill("batch")
    expect(page.get_by_text("words from").first).to_be_visible()
    return below(0, 1200, 900)


if __name__ == "__main__":
    main()

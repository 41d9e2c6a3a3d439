"""`wordtide watch`: each batch's counts as it commits, as `pprint` shows those of a DStream."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wordtide.cli import show
from wordtide.cli.questions import splits_line
from wordtide.cli.signals import Interrupts
from wordtide.config import load_configuration
from wordtide.core.problems import SourceUnavailable
from wordtide.table.follow import BatchCounts, Follower
from wordtide.wiring import open_table

_PAUSE_SECONDS = 0.25
_JSON = ("batch", "status", "committed_at", "splits", "records", "lines", "words", "engine", "reason", "replaces")


@click.command()
@click.argument("stream")
@click.option("-n", "limit", type=click.IntRange(min=1), default=10, show_default=True, help="Words of each batch.")
@click.option("--from", "first", type=click.IntRange(min=0), help="Begin with this batch, instead of the next one.")
@click.option("--json", "as_json", is_flag=True, help='Print a line a batch: {"batch": …, "words": …, "top": […], …}.')
def watch(stream: str, limit: int, first: int | None, as_json: bool) -> None:
    """Print the most frequent words of each batch of STREAM when it commits, until Ctrl-C or SIGTERM.

    It reads the table only: nothing has to run here, and any number of people may watch.
    """
    table = open_table(load_configuration().stream(stream))
    follower = Follower(table, first, limit)
    console = show.console()
    with Interrupts() as interrupts:
        try:
            _follow(follower, stream, console, interrupts, as_json)
        except KeyboardInterrupt:
            return


def _follow(follower: Follower, stream: str, console: Console, interrupts: Interrupts, as_json: bool) -> None:
    said = ""
    while True:
        interrupts.check()
        try:
            found = follower.next()
            news = "" if follower.founded else f"{stream}: there is no table yet; waiting for its first batch"
        except SourceUnavailable as problem:
            found, news = [], f"{problem}; trying again"
        if news and news != said:
            click.echo(f"wordtide: {news}", err=True)
        said = news
        for one in found:
            if as_json:
                show.print_json(plain(one))
            else:
                _print(console, one)
        if found:
            # A pipe gets each batch when it is there; whoever reads no more is noticed here.
            console.file.flush()
        else:
            time.sleep(_PAUSE_SECONDS)


def plain(one: BatchCounts) -> dict[str, Any]:
    """Return what `--json` prints of a batch."""
    columns = one.row.as_dict()
    return {
        **{name: columns[name] for name in _JSON},
        "distinct": one.distinct,
        "seconds": round(one.row.batch_seconds, 6),
        "top": [{"word": word, "count": count} for word, count in one.top],
    }


def _print(console: Console, one: BatchCounts) -> None:
    row = one.row
    head = Text.assemble((f"batch {row.batch:,}", "bold"), f"  {show.local_time(row.committed_at)}")
    if row.replaces is not None:
        head.append(f"  corrects batch {row.replaces:,}", "yellow")
    elif row.engine is None:
        head.append(f"  {row.status}", "yellow")
    tail = f"  {row.words:,} words  {row.batch_seconds:.2f} s" if row.engine is not None else ""
    taken = show.visible(splits_line(row.splits)) if row.splits else Text()
    taken.stylize("dim")
    taken.truncate(max(0, console.width - head.cell_len - 2 - len(tail)), overflow="ellipsis", pad=True)
    console.print(head.append("  ").append_text(taken).append(tail), no_wrap=True, overflow="crop")
    if row.reason:
        console.print(show.indented(show.visible(row.reason)), style="yellow")
    if one.top:
        console.print(_words(one))
    if one.distinct > len(one.top):
        console.print(f"  … and {one.distinct - len(one.top):,} more words", style="dim")
    console.print()


def _words(one: BatchCounts) -> Table:
    words = Table.grid(padding=(0, 1))
    words.add_column(width=1)
    words.add_column(min_width=24, max_width=32)
    words.add_column(min_width=9, justify="right", no_wrap=True)
    words.add_column(no_wrap=True)
    highest = max(abs(count) for _, count in one.top)
    sign = "+," if one.row.replaces is not None else ","
    for word, count in one.top:
        bar = Text("█" * max(1, round(24 * abs(count) / highest)), style="cyan")
        words.add_row("", show.cell(word), f"{count:{sign}}", bar)
    return words

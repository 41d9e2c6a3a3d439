"""`wordtide top`, `ledger` and `parked`: questions to tables. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.text import Text

from wordtide.cli import show
from wordtide.cli.progress import progress
from wordtide.config import Stream, load_configuration
from wordtide.status.lag import ledger_of, problem_line, seen_stalled
from wordtide.table.commit import BATCH_APP
from wordtide.table.panics import panics_as_errors
from wordtide.table.query import top as top_words
from wordtide.table.record import LedgerRow, SplitRecord
from wordtide.table.scan import Scan
from wordtide.wiring import open_table

_SHOWN_BATCHES = 20
_SHOWN_RANGES = 4


@click.command()
@click.argument("stream")
@click.option("-n", "limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many words.")
@click.option("--json", "as_json", is_flag=True, help='Print [{"word": …, "count": …}, …].')
def top(stream: str, limit: int, as_json: bool) -> None:
    """Show the most frequent words of STREAM, highest first."""
    with progress("adding up words"):
        handle = open_table(load_configuration().stream(stream)).open()
        words = top_words(handle, limit) if handle is not None else []
    if as_json:
        show.print_json(words)
    elif not words:
        _say_empty(stream, "no word is counted yet" if handle is not None else "nothing is counted yet")
    else:
        _print_words(words)


def _print_words(words: Sequence[Mapping[str, Any]]) -> None:
    table = show.table("#", "word", "count", "", numbers=("#", "count"))
    highest = max(int(row["count"]) for row in words)
    for rank, row in enumerate(words, 1):
        bar = Text("█" * max(1, round(24 * row["count"] / highest)) if highest > 0 else "", style="cyan")
        word = show.cell(row["word"]) if row["word"] else show.visible("")
        table.add_row(str(rank), word, show.number(row["count"]), bar)
    show.console().print(table)


@click.command()
@click.argument("stream")
@click.option("-n", "limit", type=click.IntRange(min=1), help="Only the newest N batches.")
@click.option("--json", "as_json", is_flag=True, help="Print every batch with all its columns and splits.")
def ledger(stream: str, limit: int | None, as_json: bool) -> None:
    """Show what each batch of STREAM has taken, oldest first; batch 0 founded the table."""
    newest = limit if as_json else limit or _SHOWN_BATCHES
    with progress("reading the ledger"):
        handle = open_table(load_configuration().stream(stream)).open()
        last = (handle.transaction_version(BATCH_APP) or 0) if handle is not None else -1
        after = max(-1, last - newest) if newest else -1
        rows = Scan(handle).rows(after) if handle is not None else []
    if as_json:
        show.print_json([row.as_dict() for row in rows])
    elif not rows:
        _say_empty(stream, "there is no table yet")
    else:
        _print_ledger(rows, older=after + 1)


def _print_ledger(rows: Sequence[LedgerRow], older: int) -> None:
    console = show.console()
    table = show.table(
        "batch",
        "status",
        "committed",
        "lines",
        "words",
        "s",
        "took",
        numbers=("batch", "committed", "lines", "words", "s"),
        fill=True,
    )
    for row in rows:
        seconds = sum(row.seconds.values())
        took = show.cell(splits_line(row.splits))
        if row.reason:
            # Not cut: it is what the reader has to know.
            took = show.visible(row.reason)
            took.stylize("yellow")
        table.add_row(
            show.number(row.batch),
            show.cell(row.status),
            show.short_time(row.committed_at),
            show.number(row.lines),
            show.number(row.words),
            f"{seconds:.2f}" if seconds else "",
            took,
        )
    console.print(table)
    if older:
        console.print(f"{older:,} older batches are not shown; -n {older + len(rows)} or --json shows all")


def splits_line(splits: Sequence[SplitRecord]) -> str:
    """Return what a batch has taken as one line: ranges of offsets, or files."""
    files = [split.path for split in splits if split.path is not None]
    if files:
        return files[0] if len(files) == 1 else f"{len(files):,} files: {files[0].rpartition('/')[2]} …"
    ranges = [f"{s.partition}:[{s.start},{s.end})" for s in splits if s.partition is not None]
    return " ".join(ranges) if len(ranges) <= _SHOWN_RANGES else f"{len(ranges):,} partitions: {ranges[0]} …"


@click.command()
@click.argument("stream", required=False)
@click.option("--json", "as_json", is_flag=True, help='Print [{"stream": …, "what": …, …}, …].')
@click.pass_context
def parked(ctx: click.Context, stream: str | None, as_json: bool) -> None:
    """Show partitions and files that wait for a decision or are stalled, and why; exit 1 if a table cannot be read."""
    configuration = load_configuration()
    chosen = [configuration.stream(stream)] if stream is not None else list(configuration.streams.values())
    problems = list(configuration.problems.values()) if stream is None else []
    rows: list[dict[str, Any]] = []
    with progress("reading ledgers"):
        for one in chosen:
            try:
                with panics_as_errors():
                    rows += _standing_of(one)
            except Exception as error:  # Whatever it is, one table must not hide what is parked of the others.
                problems.append(f"stream {one.name}: {problem_line(error)}")
    if as_json:
        show.print_json(rows)
    elif rows:
        _print_parked(rows)
    elif not problems:
        click.echo("nothing is parked or stalled")
    for problem in problems:
        click.echo(f"wordtide: {problem}", err=True)
    if problems:
        ctx.exit(1)


def _standing_of(stream: Stream) -> list[dict[str, Any]]:
    """Return what waits for a decision, then what is stalled and goes on by itself, each oldest first."""
    handle = open_table(stream).open()
    if handle is None:
        return []
    ledger = ledger_of(handle)
    return [
        {"stream": stream.name, "what": one.what, "reason": one.reason, "since": one.since, "stalled": stalled}
        for stalled, found in ((False, ledger.parked.values()), (True, seen_stalled(stream, handle, ledger)))
        for one in sorted(found, key=lambda one: (one.since, one.what))
    ]


def _print_parked(rows: Sequence[Mapping[str, Any]]) -> None:
    # Reasons are sentences: below each other they stay readable at 80 columns.
    console = show.console()
    for row in rows:
        head = Text.assemble((row["stream"], "bold"), "  ", show.visible(row["what"]))
        if row["stalled"]:
            head.append("  stalled; retried automatically", style="dim")
        console.print(head)
        since = Text(f"  since {show.local_time(row['since'])}", style="dim")
        console.print(show.indented(show.sentence(row["reason"]).append_text(since)))


def _say_empty(stream: str, what: str) -> None:
    click.echo(f"{stream}: {what}; wordtide dev drains it, wordtide lag {stream} shows what waits")

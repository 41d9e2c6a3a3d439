"""`wordtide lag`: what waits to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import click
from rich.text import Text

from wordtide.cli import show
from wordtide.cli.progress import progress
from wordtide.config import Stream, load_configuration
from wordtide.status.lag import PartitionLag, StreamLag, json_line, problem_line, stream_lag
from wordtide.table.panics import panics_as_errors

_PARALLEL = 8
"""Streams looked at side by side, so that a silent server is waited for once and not once a stream."""
_SHOWN_PARTITIONS = 8
"""Partitions of a stream that an overview of all streams shows at most; one stream alone shows all of its."""


@click.command()
@click.argument("stream", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list with an object a stream.")
@click.pass_context
def lag(ctx: click.Context, stream: str | None, as_json: bool) -> None:
    """Show what waits to be counted: records of topics, files of folders."""
    configuration = load_configuration()
    refused = configuration.problems.values() if stream is None else ()
    with progress("looking at sources and tables"):
        if stream is not None:
            found = [stream_lag(configuration.stream(stream))]
        else:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                found = list(pool.map(_lag_or_problem, configuration.streams.values()))
    if as_json:
        show.print_json([asdict(one) for one in found])
    elif not found and not refused:
        click.echo("no stream is configured")
    else:
        _print_lag(found, whole=stream is not None)
    problems = [one for one in found if one.problem is not None]
    for one in problems:
        click.echo(f"wordtide: stream {one.stream}: {one.problem}", err=True)
    for refusal in refused:
        click.echo(f"wordtide: {refusal}", err=True)
    if problems or refused:
        ctx.exit(1)


def _lag_or_problem(stream: Stream) -> StreamLag:
    """One stream that cannot be looked at must not hide the others."""
    try:
        with panics_as_errors():
            return stream_lag(stream)
    except Exception as error:  # Whatever it is.
        unit = "records" if stream.config.kafka else "files"
        source = stream.config.kafka.topic if stream.config.kafka else stream.landing or ""
        return StreamLag(stream.name, source, unit, None, None, None, founded=False, problem=problem_line(error))


def _print_lag(found: Sequence[StreamLag], *, whole: bool) -> None:
    table = show.table("stream", "part", "position", "end", "lag", "", numbers=("part", "position", "end", "lag"))
    for one in found:
        note = Text("cannot be looked at" if one.problem else one.unit + ("" if one.founded else ", no table yet"))
        if one.parked:
            note.append(f", {one.parked:,} parked", style="yellow")
        if one.doubtful:
            note.append(f", {one.doubtful:,} doubtful", style="yellow")
        if one.stalled:
            note.append(f", {one.stalled:,} stalled", style="yellow")
        if one.in_doubt:
            note.append(f", {one.in_doubt:,} to be compared", style="yellow")
        if one.left_out:
            note.append(f", {one.left_out:,} left out", style="dim")
        table.add_row(
            show.cell(one.stream),
            "",
            show.number(one.position),
            show.number(one.end),
            show.number(one.lag),
            note,
            style="bold",
        )
        shown = one.partitions if whole else _worst(one.partitions)
        for row in shown:
            table.add_row(
                "",
                str(row.partition),
                show.number(row.position),
                show.number(row.end),
                show.number(row.lag),
                Text("parked", style="yellow") if row.parked else "",
            )
        if len(shown) < len(one.partitions):
            table.add_row(
                "", "…", "", "", "", Text(f"{len(one.partitions) - len(shown):,} more partitions", style="dim")
            )
    console = show.console()
    console.print(table)
    for one in found:
        # Sentences and names: below the table they are readable at 80 columns.
        for why in filter(None, (one.stalled_why, one.in_doubt_why, one.repeated_why, one.left_out_why)):
            console.print(Text.assemble((one.stream, "bold"), "  ", show.sentence(why)))
        if one.json_share is not None:
            click.echo(json_line(show.visible(one.stream).plain, one.json_share))


def _worst(partitions: Sequence[PartitionLag]) -> list[PartitionLag]:
    """Return, of many partitions, those that an overview must show."""
    if len(partitions) <= _SHOWN_PARTITIONS:
        return list(partitions)
    urgent = sorted(partitions, key=lambda row: (not row.parked, -(row.lag or 0), row.partition))
    return sorted(urgent[:_SHOWN_PARTITIONS], key=lambda row: row.partition)

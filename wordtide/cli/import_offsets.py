"""`wordtide import-offsets`: a stream begins where a consumer group stopped."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict

import click

from wordtide.cli import show
from wordtide.config import load_configuration
from wordtide.core.model import Decision, Verdict
from wordtide.sources.kafka.first_position import FirstPosition, GroupOffsets
from wordtide.sources.kafka.founding import begin_at, look_at_group
from wordtide.wiring import open_source, open_table


@click.command("import-offsets")
@click.argument("stream")
@click.option("--group", required=True, help="The consumer group, as kafka-consumer-groups.sh --list names it.")
@click.option("--why", default="", help="Goes into the ledger, beside who, when and the group.")
@click.option("--dry-run", is_flag=True, help="Only show the positions.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print {"stream": …, "group": …, "batch": …, "partitions": [{"partition": …, "position": …, …}]}.',
)
def import_offsets(stream: str, group: str, why: str, dry_run: bool, as_json: bool) -> None:
    """Found the table of STREAM at the offsets that a consumer group has committed.

    It is for a stream that has no table yet: do it before Dagster's sensors see the stream, and stop the group first.
    A partition without a committed offset begins where kafka.start says.
    """
    opened = load_configuration().stream(stream)
    table, source = open_table(opened), open_source(opened)
    try:
        topic, committed, positions = look_at_group(opened, source, table, group)
        if not dry_run:
            by = Decision(Verdict.IMPORT, getpass.getuser(), " ".join(why.split()))
            begin_at(opened, table, topic, positions, group, by)
    finally:
        source.close()
    if as_json:
        rows = [asdict(one) for one in positions]
        batch = None if dry_run else 0
        show.print_json({"stream": stream, "topic": topic.topic, "group": group, "batch": batch, "partitions": rows})
    else:
        _print(positions, group)
        click.echo(
            f"nothing was changed; without --dry-run {stream} begins there"
            if dry_run
            else f"recorded as batch 0 of {stream}: it begins there"
        )
    _warn(committed)


def _print(positions: Sequence[FirstPosition], group: str) -> None:
    numbers = ("partition", "position", "end", "waits")
    shown = show.table("partition", "position", "end", "waits", "begins", numbers=numbers, fill=True)
    for one in positions:
        begins = show.visible(f"where group {group} stopped") if one.committed else "by kafka.start"
        waits = max(0, one.end - one.position)
        shown.add_row(str(one.partition), *map(show.number, (one.position, one.end, waits)), begins)
    show.console().print(shown)


def _warn(committed: GroupOffsets) -> None:
    if committed.at_work:
        click.echo(
            f"wordtide: consumer group {committed.group} is at work: what it takes from now on is counted here as well",
            err=True,
        )

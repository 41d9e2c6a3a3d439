"""`wordtide lag`: what waits to be counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import click
from deltalake import DeltaTable
from rich.text import Text

from wordtide.cli import show
from wordtide.config import Stream, find_stream, load_streams
from wordtide.errors import WordtideError
from wordtide.planning.kafka import TopicSnapshot
from wordtide.sources.base import Source
from wordtide.sources.kafka import KafkaTopic, identity_of
from wordtide.table.commit import BATCH_APP
from wordtide.table.ledger import Ledger
from wordtide.table.rows import catch_up
from wordtide.wiring import open_source, open_table

_PARALLEL = 8
"""Streams looked at side by side, so that a silent server is waited for once and not once a stream."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far one partition is taken. A null lag: the topic is not the one the position belongs to."""

    partition: int
    position: int | None
    end: int
    lag: int | None
    parked: bool


@dataclass(frozen=True, slots=True)
class StreamLag:
    """What a stream's source holds beyond its table, in records or files.

    Attributes:
        stream: Its name.
        source: Topic or folder.
        unit: ``records`` (offsets) or ``files``.
        position: Taken so far; files: how many. Null where it has no meaning.
        end: What there is, parked partitions left out.
        lag: Their difference.
        founded: Whether there is a table yet; if not, positions are where its first batch will start.
        partitions: One for each partition; empty for a folder.
        problem: Why there are no figures.
    """

    stream: str
    source: str
    unit: str
    position: int | None
    end: int | None
    lag: int | None
    founded: bool
    partitions: tuple[PartitionLag, ...] = ()
    problem: str | None = None


def ledger_of(handle: DeltaTable) -> Ledger:
    """Return the whole ledger of a table."""
    ledger = Ledger(str(handle.metadata().id))
    catch_up(handle, ledger, handle.transaction_version(BATCH_APP) or 0)
    return ledger


def stream_lag(stream: Stream) -> StreamLag:
    """Look at a stream's source and table.

    Raises:
        WordtideError: Either does not answer.
    """
    handle = open_table(stream).open()
    source = open_source(stream)
    try:
        return lag_of(stream, source, handle, ledger_of(handle) if handle is not None else None)
    finally:
        source.close()


def lag_of(stream: Stream, source: Source, handle: DeltaTable | None, ledger: Ledger | None) -> StreamLag:
    """Return what an open source holds beyond a table and its ledger, None where there is no table yet."""
    if isinstance(source, KafkaTopic):
        return _topic_lag(stream, source, handle, ledger)
    plan = source.look().plan(ledger or Ledger(""), lambda _app_id: None)
    lag = len(plan.splits) + plan.backlog + plan.waiting
    taken = len(ledger.files) if ledger else 0
    return StreamLag(stream.name, stream.landing or "", "files", taken, taken + lag, lag, founded=ledger is not None)


def _topic_lag(stream: Stream, source: KafkaTopic, handle: DeltaTable | None, ledger: Ledger | None) -> StreamLag:
    seen = source.snapshot()
    topic = seen.identity.topic
    positions: dict[int, int | None]
    if handle is None or ledger is None:
        starts = {txn.app_id: txn.after for txn in source.found().transactions}
        positions = {p: starts.get(seen.identity.app_id(p)) for p in seen.partitions}
        rows = _partitions(seen, positions, frozenset())
    elif seen.identity != identity_of(ledger):
        rows = tuple(PartitionLag(p, None, at.end, None, True) for p, at in sorted(seen.partitions.items()))
        problem = "the topic is not the one the positions belong to (recreated, or another cluster)"
        return StreamLag(stream.name, topic, "records", None, None, None, True, rows, problem)
    else:
        positions = {p: handle.transaction_version(seen.identity.app_id(p)) for p in seen.partitions}
        rows = _partitions(seen, positions, frozenset(ledger.parked))
    flowing = [row for row in rows if not row.parked]
    return StreamLag(
        stream.name,
        topic,
        "records",
        sum(row.position or 0 for row in flowing),
        sum(row.end for row in flowing),
        sum(row.lag or 0 for row in flowing),
        ledger is not None,
        rows,
    )


def _partitions(
    seen: TopicSnapshot, positions: Mapping[int, int | None], parked: frozenset[str]
) -> tuple[PartitionLag, ...]:
    rows = []
    for partition, offered in sorted(seen.partitions.items()):
        stored = positions.get(partition)
        # One that the table has no position of is new and starts at its beginning.
        position = offered.begin if stored is None else stored
        waits = seen.identity.topic in parked or f"{seen.identity.topic}/{partition}" in parked
        rows.append(PartitionLag(partition, position, offered.end, max(0, offered.end - position), waits))
    return tuple(rows)


@click.command()
@click.argument("stream", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list with an object a stream.")
@click.pass_context
def lag(ctx: click.Context, stream: str | None, as_json: bool) -> None:
    """Show what waits to be counted: records of topics, files of folders."""
    streams = load_streams()
    if stream is not None:
        found = [stream_lag(find_stream(streams, stream))]
    else:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            found = list(pool.map(_lag_or_problem, streams.values()))
    if as_json:
        show.print_json([asdict(one) for one in found])
    elif not found:
        click.echo("no stream is configured")
    else:
        _print_lag(found)
    problems = [one for one in found if one.problem is not None]
    for one in problems:
        click.echo(f"wordtide: stream {one.stream}: {one.problem}", err=True)
    if problems:
        ctx.exit(1)


def _lag_or_problem(stream: Stream) -> StreamLag:
    """One stream that cannot be looked at must not hide the others."""
    try:
        return stream_lag(stream)
    except WordtideError as error:
        unit = "records" if stream.config.kafka else "files"
        source = stream.config.kafka.topic if stream.config.kafka else stream.landing or ""
        return StreamLag(stream.name, source, unit, None, None, None, founded=False, problem=str(error))


def _print_lag(found: Sequence[StreamLag]) -> None:
    table = show.table("stream", "part", "position", "end", "lag", "", numbers=("part", "position", "end", "lag"))
    for one in found:
        note = "cannot be looked at" if one.problem else one.unit + ("" if one.founded else ", no table yet")
        table.add_row(
            one.stream, "", show.number(one.position), show.number(one.end), show.number(one.lag), note, style="bold"
        )
        for row in one.partitions:
            table.add_row(
                "",
                str(row.partition),
                show.number(row.position),
                show.number(row.end),
                show.number(row.lag),
                Text("parked", style="yellow") if row.parked else "",
            )
    show.console().print(table)

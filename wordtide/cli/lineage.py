"""`wordtide lineage`: what OpenLineage backends are told of batches, shown or told again."""

from __future__ import annotations

from contextlib import closing

import click
from deltalake import DeltaTable

from wordtide.cli import show
from wordtide.cli.progress import progress
from wordtide.config import Stream, load_configuration
from wordtide.core.problems import ConfigError, SourceUnavailable, WordtideError
from wordtide.exporters.openlineage.naming import Names, names_of
from wordtide.exporters.openlineage.settings import NAMESPACE, lineage_settings
from wordtide.table.commit import BATCH_APP
from wordtide.wiring import hdfs_address, kafka_connection, open_table

_FIRST = click.option("--from", "first", type=click.IntRange(min=0), default=0, help="The first batch.")
_LAST = click.option("--to", "last", type=click.IntRange(min=0), help="The last batch; the newest unless named.")


@click.group()
def lineage() -> None:
    """Tell an OpenLineage backend of batches again, or look at what it is told.

    Runs under Dagster tell by themselves where OPENLINEAGE_URL is set.
    """


@lineage.command()
@click.argument("stream")
@_FIRST
@_LAST
@click.option("--json", "as_json", is_flag=True, help='Print {"stream": …, "first": …, "last": …, "events": …}.')
def emit(stream: str, first: int, last: int | None, as_json: bool) -> None:
    """Tell the backend of batches of STREAM, from the ledger: the same run ids and events each time."""
    from wordtide.exporters.openlineage.backend import Backend
    from wordtide.exporters.openlineage.telling import Telling

    settings = lineage_settings()
    if settings is None:
        raise ConfigError("no lineage backend: set OPENLINEAGE_URL=http://host:port")
    opened = load_configuration().stream(stream)
    handle, through = _range(opened, first, last)
    names = _names(opened, settings.namespace)
    sent, number = 0, first
    with closing(Backend(settings)) as backend, progress(f"telling batches {first:,} to {through:,}"):
        try:
            for batch, events in Telling(names).events(handle, first - 1, through):
                number = batch
                for event in events:
                    backend.send(event)
                    sent += 1
        except WordtideError as error:
            raise type(error)(f"batch {number}: {error}; go on with --from {number}") from error
    if as_json:
        show.print_json({"stream": stream, "first": first, "last": through, "events": sent})
    else:
        click.echo(f"{stream}: told {settings.place} of batches {first:,} to {through:,} ({sent:,} events)")


@lineage.command(name="show")
@click.argument("stream")
@_FIRST
@_LAST
def show_events(stream: str, first: int, last: int | None) -> None:
    """Print the events of batches of STREAM, a line of JSON each. Nothing is sent."""
    from openlineage.client.serde import Serde

    from wordtide.exporters.openlineage.telling import Telling

    settings = lineage_settings()
    opened = load_configuration().stream(stream)
    handle, through = _range(opened, first, last)
    names = _names(opened, settings.namespace if settings else NAMESPACE)
    for _, events in Telling(names).events(handle, first - 1, through):
        for event in events:
            show.print_json(Serde.to_dict(event))


def _names(stream: Stream, jobs: str) -> Names:
    return names_of(stream, jobs, kafka_connection() if stream.config.kafka else None, hdfs_address())


def _range(stream: Stream, first: int, last: int | None) -> tuple[DeltaTable, int]:
    """Return the table and the last batch that is asked for and there."""
    handle = open_table(stream).open()
    newest = handle.transaction_version(BATCH_APP) if handle is not None else None
    if handle is None or newest is None:
        raise SourceUnavailable(f"stream {stream.name} has no table yet; drain it first")
    through = newest if last is None else min(last, newest)
    if first > through:
        raise click.UsageError(f"there is no batch from {first} to {through}; the newest is {newest}")
    return handle, through

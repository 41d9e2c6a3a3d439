"""`wordtide dev`: Dagster with persistent storage, sensors on."""

from __future__ import annotations

import time
from contextlib import ExitStack

import click

from wordtide.cli.dagster_dev import LOOPBACK, DagsterDev
from wordtide.cli.signals import Interrupts
from wordtide.config import home, load_streams
from wordtide.errors import ConfigError, EnvironmentProblem
from wordtide.wiring import hdfs_address, kafka_connection


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the web server.  [default: 3000 if free]")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address the web server listens on.")
def dev(port: int | None, host: str) -> None:
    """Run `dagster dev` with its storage in $WORDTIDE_HOME/dagster until Ctrl-C."""
    streams = load_streams()
    _hint(any(stream.config.kafka for stream in streams.values()))
    with Interrupts() as interrupts:
        started = DagsterDev(port=port, host=host)
        try:
            with started, ExitStack() as stack:
                # What ends it must not be interrupted.
                stack.callback(interrupts.end)
                started.wait_ready()
                where = home() / "dagster"
                click.echo(f"wordtide: Dagster is at {started.url}, its storage in {where}; Ctrl-C ends it", err=True)
                while started.running():
                    interrupts.check()
                    time.sleep(0.2)
                raise EnvironmentProblem(started.obituary())
        except KeyboardInterrupt:
            # The way to end it, not a failure.
            click.echo("wordtide: Dagster has ended", err=True)


def _hint(needs_kafka: bool) -> None:
    """Say once, now, what sensors would otherwise say at each tick."""
    try:
        if needs_kafka:
            kafka_connection()
        hdfs_address()
    except ConfigError as error:
        click.echo(f"wordtide: {error}; Dagster starts all the same", err=True)

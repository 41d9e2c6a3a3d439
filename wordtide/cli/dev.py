"""`wordtide dev`: Dagster with persistent storage, sensors on."""

from __future__ import annotations

import time
from contextlib import ExitStack

import click

from wordtide.cli.dagster_dev import LOOPBACK, DagsterDev
from wordtide.cli.receivers import Receivers
from wordtide.cli.signals import BATCH_SECONDS, Interrupts
from wordtide.config import home, load_configuration
from wordtide.config.asset_names import withheld
from wordtide.core.problems import ConfigError, EnvironmentProblem
from wordtide.wiring import hdfs_address, kafka_connection


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of the web server.  [default: 3000 if free]")
@click.option("--host", default=LOOPBACK, show_default=True, help="Address the web server listens on.")
def dev(port: int | None, host: str) -> None:
    """Run `dagster dev` with its storage in $WORDTIDE_HOME/dagster, and the receivers of streams.yaml, until Ctrl-C."""
    configuration = load_configuration()
    for problem in withheld(configuration).values():
        _say(f"withheld: {problem}")
    streams = configuration.streams
    _hint(any(stream.config.kafka for stream in streams.values()))
    with Interrupts(BATCH_SECONDS) as interrupts:
        started = DagsterDev(port=port, host=host)
        try:
            with started, ExitStack() as stack:
                receivers = stack.enter_context(Receivers(streams.values(), _say))
                # What ends it must not be interrupted.
                stack.callback(interrupts.end)
                started.wait_ready()
                where = home() / "dagster"
                _say(f"Dagster is at {started.url}, its storage in {where}; Ctrl-C ends it")
                while started.running():
                    interrupts.check()
                    receivers.watch()
                    time.sleep(0.2)
                raise EnvironmentProblem(started.obituary())
        except KeyboardInterrupt:
            # The way to end it, not a failure.
            _say("Dagster has ended")


def _hint(needs_kafka: bool) -> None:
    """Say once, now, what sensors would otherwise say at each tick."""
    try:
        if needs_kafka:
            kafka_connection()
        hdfs_address()
    except ConfigError as error:
        _say(f"{error}; Dagster starts all the same")


def _say(text: str) -> None:
    click.echo(f"wordtide: {text}", err=True)

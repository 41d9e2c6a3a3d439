"""`wordtide metrics`: figures for Prometheus."""

from __future__ import annotations

import time
from contextlib import suppress

import click

from wordtide.cli.signals import Interrupts
from wordtide.config import load_configuration
from wordtide.exporters.prometheus.http import served
from wordtide.exporters.prometheus.serve import StreamsCollector
from wordtide.status.monitor import Watcher

_TICK_SECONDS = 0.5


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where Prometheus asks; 0: any free one.")
@click.option("--listen", "host", default="127.0.0.1", show_default=True, help="This machine's address to listen on.")
def metrics(port: int, host: str) -> None:
    """Serve lag, positions, batch times and counters of all streams to Prometheus, until Ctrl-C or SIGTERM.

    Counters and histograms are those of the ledger, from its first batch on: they survive a restart, and compaction
    does not change them. A scrape ends within six seconds; what does not answer by then is wordtide_source_up 0 or
    wordtide_table_up 0 and has no lag. There is no authentication: only this machine can ask, unless --listen says
    otherwise.
    """
    configuration = load_configuration()
    for problem in configuration.problems.values():
        _say(problem)
    streams = configuration.streams
    collector = StreamsCollector(streams, [Watcher(stream, _say) for stream in streams.values()])
    with Interrupts() as interrupts, suppress(KeyboardInterrupt), served(collector, host, port) as there:
        click.echo(f"wordtide: metrics at http://{host}:{there}/metrics", err=True)
        while True:
            interrupts.check()
            time.sleep(_TICK_SECONDS)


def _say(text: str) -> None:
    # That nobody reads any more must not stop the serving.
    with suppress(OSError):
        click.echo(f"wordtide: {text}", err=True)

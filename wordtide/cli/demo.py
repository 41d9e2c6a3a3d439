"""`wordtide demo`: everything at once, watched live, counted again at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import click
from rich.console import Console
from rich.live import Live

from wordtide.cli.dagster_dev import DagsterDev
from wordtide.cli.progress import progress
from wordtide.cli.receivers import Receivers
from wordtide.cli.signals import BATCH_SECONDS, Interrupts
from wordtide.config import SocketConfig, Stream, home, is_url, load_streams, streams_path
from wordtide.core.problems import ConfigError, EnvironmentProblem
from wordtide.demo.feed import Arrivals, Feed, FolderFeed, TopicFeed
from wordtide.demo.live import Scene, plain_line, render
from wordtide.demo.received import FlumeFeed, ReceivedFeed, SocketFeed, local_receiver
from wordtide.demo.recount import Verdict, recount
from wordtide.demo.watch import StreamView, StreamWatch, source_of
from wordtide.embedded import cluster
from wordtide.storage import storage_for
from wordtide.system.cluster import read_address
from wordtide.system.process import STOP_GRACE
from wordtide.wiring import hdfs_address, kafka_connection

_LOOK_SECONDS = 1.0
_PLAIN_SECONDS = 5.0
_CATCH_UP_SECONDS = 300.0
_GRACE_SECONDS = 3.0
"""How long the servers have to end after a Ctrl-C; they lose nothing when they are killed."""
_FOREIGN = ("WORDTIDE_KAFKA_BOOTSTRAP", "WORDTIDE_HDFS_URL")


@click.command()
@click.option("--seconds", type=click.IntRange(min=1), help="End after so long, count everything again and compare.")
@click.option("--rate", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Lines a second a topic.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of Dagster's web page.  [default: 3000 if free]")
@click.pass_context
def demo(ctx: click.Context, seconds: int | None, rate: int, port: int | None) -> None:
    """Start Kafka, HDFS and Dagster, feed real text to every stream of streams.yaml, and show it being counted.

    Ctrl-C ends all of it; data is kept, and the next demo goes on from there.
    """
    streams = load_streams()
    _check(streams)
    streams = {name: _ours(stream) for name, stream in streams.items()}
    verdicts: list[Verdict] = []
    with Interrupts(BATCH_SECONDS) as interrupts:
        try:
            with _cluster_ended(interrupts):
                with _dagster(port, interrupts) as dagster:
                    # Side by side: Dagster loads its code while the servers start.
                    _start_cluster()
                    sent = _feed_and_watch(list(streams.values()), dagster, interrupts, seconds, rate)
                if seconds is not None:
                    _say("counting everything again, from the sources")
                    with progress("recounting what was sent"):
                        verdicts = [recount(stream, sent.get(stream.name)) for stream in streams.values()]
        except KeyboardInterrupt:
            # Without --seconds it is the way to end; with it, what was asked for has not happened.
            if seconds is not None:
                raise
    _say(f"data is kept in {home()}; the next demo goes on from there")
    for verdict in verdicts:
        click.echo(str(verdict))
    ctx.exit(0 if all(verdict.exact for verdict in verdicts) else 1)


def _check(streams: Mapping[str, Stream]) -> None:
    if not streams:
        raise ConfigError(f"{streams_path()}: no stream to feed; add one, or unset WORDTIDE_STREAMS")
    for name in _FOREIGN:
        if os.environ.get(name):
            raise ConfigError(
                f"{name} is set: the demo fills topics and folders, so it uses embedded servers only; unset it"
            )


def _ours(stream: Stream) -> Stream:
    """Return a stream whose receiver hears the demonstration and nobody else."""
    if stream.receiver is None:
        return stream
    ours = replace(stream, receiver=local_receiver(stream))
    if source_of(ours) != source_of(stream):
        _say(f"{stream.name}: {source_of(stream)} is not ours to use; this time it is {source_of(ours)}")
    return ours


def _start_cluster() -> None:
    if read_address(home()) is None:
        _say(f"starting Kafka and HDFS in {home()}")
    address = cluster.up(home(), waiting=progress)
    _say(f"Kafka {address.kafka}, HDFS {address.hdfs}")


@contextmanager
def _cluster_ended(interrupts: Interrupts) -> Iterator[None]:
    """End the cluster, however the demo ends; one that ran before is left running."""
    before = read_address(home()) is not None
    grace = STOP_GRACE
    try:
        yield
    except KeyboardInterrupt:
        grace = _GRACE_SECONDS
        raise
    finally:
        interrupts.end()
        if before:
            _say("Kafka and HDFS ran before and go on; wordtide down ends them")
        else:
            _say("ending Kafka and HDFS")
            cluster.down(home(), grace)


@contextmanager
def _dagster(port: int | None, interrupts: Interrupts) -> Iterator[DagsterDev]:
    with DagsterDev(port=port, log=home() / "logs" / "dagster.log") as started:
        try:
            yield started
        finally:
            interrupts.end()
            _say("ending Dagster")


def _feed_and_watch(
    streams: Sequence[Stream], dagster: DagsterDev, interrupts: Interrupts, seconds: int | None, rate: int
) -> dict[str, Iterator[bytes]]:
    """Feed every stream and show it until the time is over and all is counted, or for ever.

    Returns:
        What was sent, of the streams whose feeds know that.
    """
    arrivals = Arrivals()
    with ExitStack() as stack:
        # After what feeds on them, and before the servers: they land what they have.
        receivers = stack.enter_context(Receivers(streams, _say, home() / "logs"))
        feeds = []
        for stream in streams:
            feed = _feed(stream, arrivals, rate)
            if isinstance(feed, ReceivedFeed):
                stack.callback(feed.close)
            feeds.append(feed)
        received = {feed.name: feed for feed in feeds if isinstance(feed, ReceivedFeed)}
        dagster.wait_ready()
        _say(f"Dagster {dagster.url}")
        watches = [StreamWatch(stream, arrivals) for stream in streams]
        for watch in watches:
            stack.callback(watch.close)
        show = stack.enter_context(_screen())
        for feed in feeds:
            feed.start()
            stack.callback(feed.stop)
        # What ends them must not be interrupted.
        stack.callback(interrupts.end)
        began = time.monotonic()
        stopped: float | None = None
        expected: dict[str, int] = {}
        while True:
            interrupts.check()
            looked = time.monotonic()
            views = [watch.look() for watch in watches]
            receivers.watch()
            caught_up = stopped is not None and all(
                view.lag == 0 and view.lines >= expected.get(view.name, 0) for view in views
            )
            phase = "feeding" if stopped is None else "all counted" if caught_up else "catching up"
            show(Scene(looked - began, dagster.url, phase), views)
            _refuse_failure(feeds, dagster)
            if caught_up or (stopped is not None and looked - stopped > _CATCH_UP_SECONDS):
                return {name: feed.lines() for name, feed in received.items()}
            if seconds is not None and stopped is None and looked - began >= seconds:
                for feed in feeds:
                    feed.stop()
                expected = {name: feed.expected() for name, feed in received.items()}
                stopped = time.monotonic()
            time.sleep(max(0.05, looked + _LOOK_SECONDS - time.monotonic()))


def _feed(stream: Stream, arrivals: Arrivals, rate: int) -> Feed:
    if stream.config.kafka is not None:
        return TopicFeed(stream, kafka_connection(), rate, arrivals)
    assert stream.landing is not None
    storage, root = storage_for(stream.landing, hdfs_address() if is_url(stream.landing) else None)
    if stream.receiver is None:
        return FolderFeed(stream, storage, root, arrivals)
    return (SocketFeed if isinstance(stream.receiver, SocketConfig) else FlumeFeed)(stream, storage, root, arrivals)


def _refuse_failure(feeds: Sequence[Feed], dagster: DagsterDev) -> None:
    for feed in feeds:
        if feed.problem is not None:
            raise feed.problem
    if not dagster.running():
        raise EnvironmentProblem(dagster.obituary())


@contextmanager
def _screen() -> Iterator[Callable[[Scene, Sequence[StreamView]], None]]:
    """Yield what shows a look: a live view on a terminal, elsewhere one line every few seconds."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield _PlainScreen()
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda scene, views: live.update(render(scene, views, *console.size), refresh=True)


class _PlainScreen:
    def __init__(self) -> None:
        self._next = 0.0
        self._phase = ""

    def __call__(self, scene: Scene, views: Sequence[StreamView]) -> None:
        if scene.elapsed >= self._next or scene.phase != self._phase:
            self._next = scene.elapsed + _PLAIN_SECONDS
            self._phase = scene.phase
            click.echo(plain_line(scene, views))


def _say(what: str) -> None:
    # The terminal may have gone (that is one way to end): nobody to tell, but servers still to end.
    with suppress(OSError):
        click.echo(f"wordtide: {what}", err=True)

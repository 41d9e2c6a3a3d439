"""`wordtide receive`: what other programs send becomes landed files."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from wordtide.cli.receivers import arguments_of, lock_of
from wordtide.cli.signals import Interrupts
from wordtide.config import MAX_HELD, is_url, load_configuration, parse_bytes, parse_seconds
from wordtide.core.problems import ConfigError
from wordtide.receivers.landing import Lander, Limits, Write
from wordtide.receivers.metrics import Metrics, Snapshot
from wordtide.receivers.socket import SocketReceiver, tls_context
from wordtide.storage import Storage, storage_for
from wordtide.system.address import Server
from wordtide.system.locks import exclusive

_LOOPBACK = "127.0.0.1"
_LANDING = "A folder or hdfs://…; made if missing."
_TICK_SECONDS = 0.5
_STOP_SECONDS = 5.0
_LAND_SECONDS = 30.0
_CTRL_C_SECONDS = 10.0
"""Somebody waits for the end then: stopping and landing together."""
_ALONE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Around:
    """What surrounds a receiver, whatever it receives.

    Attributes:
        metrics_port: Where Prometheus asks for the figures; 0 for any free port, None for nowhere.
        parent: The process whose end is ours too; None if there is none.
    """

    metrics_port: int | None = None
    parent: int | None = None


class Receiver(Protocol):
    """What takes something from the network and puts it into a lander."""

    def run(self, stop: threading.Event) -> None:
        """Do so until told to stop; then put what is still in hand and return soon."""
        ...


def say(text: str) -> None:
    """Tell the operator, on standard error."""
    # That nobody reads any more must not stop the receiving.
    with suppress(OSError):
        click.echo(f"wordtide: {text}", err=True)


def storage_of(landing: str) -> tuple[Storage, str]:
    """Return where a landing folder is, and its path there.

    Raises:
        WordtideError: It is on an HDFS that cannot be found.
    """
    address = None
    if is_url(landing):
        # Not above: it brings the tables' libraries along, and a receiver stays in memory for ever.
        from wordtide.wiring import hdfs_address

        address = hdfs_address()
    return storage_for(landing, address)


def lander_for(
    where: tuple[Storage, str], prefix: str, limits: Limits, metrics: Metrics, write: Write | None = None
) -> Lander:
    """Return a lander that works: its folder is there.

    Args:
        where: See `storage_of`.
        prefix: See `Lander`, as for the others.
        limits: When a file is full.
        metrics: Counts.
        write: Lands a file, instead of the storage alone.

    Raises:
        WordtideError: The folder can neither be found nor made.
    """
    lander = Lander(*where, prefix, limits, metrics, say, write)
    lander.start()
    return lander


@contextmanager
def told_by_signals() -> Iterator[Interrupts]:
    """Ctrl-C, SIGTERM and hang-up end the block and are no failure, also before anything could be received."""
    try:
        # First of all that a command does: what tells it to end knows nothing of how far it is.
        with Interrupts(_STOP_SECONDS + _LAND_SECONDS + 2.0) as interrupts:
            yield interrupts
    except KeyboardInterrupt:
        say("ended before anything was received")


def run_until_told(
    receiver: Receiver, lander: Lander, metrics: Metrics, interrupts: Interrupts, around: Around
) -> None:
    """Run a receiver until a signal says to end, land what it has, and say what it did in one line.

    Raises:
        EnvironmentProblem: Some of what was received could not be landed.
    """
    stop, ended = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            receiver.run(stop)
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    try:
        # A daemon: a look-up of a name that hangs must not keep the process.
        threading.Thread(target=work, name="wordtide-receive", daemon=True).start()
        # Events, as a `Thread.join` that was interrupted takes the thread for ended.
        while not ended.wait(_TICK_SECONDS):
            interrupts.check()
            lander.watch()
            if around.parent is not None and os.getppid() != around.parent:
                say("the process that ran this receiver has gone")
                break
    except KeyboardInterrupt:
        pass
    finally:
        interrupts.end()
        stop.set()
        until = time.monotonic() + (
            _CTRL_C_SECONDS if interrupts.told == signal.SIGINT else _STOP_SECONDS + _LAND_SECONDS
        )
        ended.wait(_STOP_SECONDS)
        try:
            lander.close(min(_LAND_SECONDS, until - time.monotonic()))
        finally:
            say(_summary(metrics.snapshot()))
    if failed:
        raise failed[0]


def _summary(seen: Snapshot) -> str:
    parts = [
        f"received {seen.received_bytes:,} bytes",
        f"landed {seen.landed_bytes:,} bytes in {_count(seen.events, 'line')} and {_count(seen.files, 'file')}",
        f"connected again {_count(seen.reconnects, 'time')}",
    ]
    if seen.lost_bytes:
        parts.append(f"dropped {seen.lost_bytes:,} bytes of unfinished lines")
    if seen.cuts:
        parts.append(f"cut long lines {_count(seen.cuts, 'time')}")
    if seen.dropped_repeats:
        parts.append(f"dropped {_count(seen.dropped_repeats, 'repeat')}")
    if seen.doubtful:
        parts.append(f"landed {_count(seen.doubtful, 'doubtful line')}")
    if seen.last_landed_at is not None:
        parts.append(f"last landed at {seen.last_landed_at:%Y-%m-%dT%H:%M:%SZ}")
    return "; ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(_ctx: click.Context, _option: click.Parameter, text: str) -> int:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < size <= MAX_HELD:
        raise click.BadParameter(f"{text} is not between 1 and 1GB; twice as much is held in memory")
    return size


def _age(_ctx: click.Context, _option: click.Parameter, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _folder(_ctx: click.Context, _option: click.Parameter, text: str) -> str:
    # An unset variable of a script's: it would be the current folder.
    if not text.strip():
        raise click.BadParameter("name a folder or hdfs://…")
    return text


def _server(_ctx: click.Context, _argument: click.Parameter, text: str) -> Server:
    try:
        return Server.parse(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def _around(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `Around` is made of."""
    what = "Serve the figures to Prometheus, on this machine only; 0: any free port."
    command = click.option("--parent", type=int, hidden=True)(command)
    command = click.option("--alone", type=click.Path(path_type=Path), hidden=True)(command)
    return click.option("--metrics-port", type=click.IntRange(0, 65535), help=what)(command)


@contextmanager
def _metrics_served(metrics: Metrics, around: Around) -> Iterator[None]:
    if around.metrics_port is None:
        yield
        return
    # Not above: few want it, and a receiver stays in memory for ever.
    from wordtide.exporters.prometheus.http import served
    from wordtide.receivers.collector import ReceiverCollector

    with served(ReceiverCollector(metrics), _LOOPBACK, around.metrics_port) as port:
        say(f"metrics at http://{_LOOPBACK}:{port}/metrics")
        yield


@contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Be the only receiver of a stream on this machine; see `lock_of`.

    Raises:
        EnvironmentProblem: Another one runs.
    """
    if lock is None:
        yield
        return
    with exclusive(lock, timeout=_ALONE_SECONDS, holder=f"receiver of stream {lock.stem}"):
        yield


@click.group()
def receive() -> None:
    """Land what other programs send, as files that appear whole, until Ctrl-C or SIGTERM."""


@receive.command("socket")
@click.argument("server", metavar="HOST:PORT", callback=_server)
@click.option("--to", "landing", metavar="LANDING", required=True, callback=_folder, help=_LANDING)
@click.option("--max-size", default="16MB", show_default=True, callback=_size, help="Land a file before it is larger.")
@click.option("--max-age", default="2s", show_default=True, callback=_age, help="Land a file when it is older.")
@click.option("--tls", is_flag=True, help="Speak TLS and check the server's certificate and name.")
@click.option("--ca", metavar="FILE", help="With --tls: certificates to trust (PEM), instead of the system's.")
@_around
def receive_socket(
    server: Server,
    landing: str,
    max_size: int,
    max_age: float,
    tls: bool,
    ca: str | None,
    metrics_port: int | None,
    parent: int | None,
    alone: Path | None,
) -> None:
    r"""Connect to HOST:PORT, as Spark's socketTextStream does, and land the lines that come.

    A line ends with \n, \r\n or a lone \r and is never divided between two files. An unfinished last line counts
    when the server ends the connection and is dropped when that breaks, as in Spark. When told to stop, it waits up to
    a second for the end of an unfinished line, then lands what there is. A line of more than 5 MiB is cut at a space.

    When the disk is full or HDFS is away nothing is dropped: it stops reading, which slows the server down, and
    goes on by itself. It connects again when the connection ends or breaks.

    What TCP cannot promise: there is no replay. When this process or machine dies, what has not landed is lost, and
    the server is not told: what came during the last --max-age, up to twice --max-size while landing is slow, an
    unfinished line, and what is on its way. Whether a new connection goes on where the old one broke, leaves something
    out or repeats it is the server's doing. Counts are exactly once from the landed file on.
    """
    if ca is not None and not tls:
        raise click.UsageError("--ca is of use only with --tls")
    with told_by_signals() as interrupts, _alone(alone):
        context = tls_context(ca) if tls else None
        metrics = Metrics()
        around = Around(metrics_port, parent)
        with _metrics_served(metrics, around):
            lander = lander_for(storage_of(landing), f"socket-{server}", Limits(max_size, max_age), metrics)
            receiver = SocketReceiver(server, lander, metrics, say, tls=context)
            run_until_told(receiver, lander, metrics, interrupts, around)


@receive.command("flume")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where agents connect to; 0: any free one.")
@click.option("--to", "landing", metavar="LANDING", required=True, callback=_folder, help=_LANDING)
@click.option("--listen", "host", default="127.0.0.1", show_default=True, help="This machine's address to listen on.")
@click.option("--max-batch", default="16MB", show_default=True, callback=_size, help="Refuse a larger batch.")
@click.option("--max-event", default="1MB", show_default=True, callback=_size, help="Refuse a larger event.")
@click.option("--cert", metavar="FILE", help="Speak TLS, with this certificate (PEM).")
@click.option("--key", metavar="FILE", help="With --cert: its private key (PEM).")
@_around
def receive_flume(
    port: int,
    landing: str,
    host: str,
    max_batch: int,
    max_event: int,
    cert: str | None,
    key: str | None,
    metrics_port: int | None,
    parent: int | None,
    alone: Path | None,
) -> None:
    """Serve the Thrift sinks of Flume agents and land the bodies of their events, a line each.

    An agent hears OK once its batch is durable, so nothing is lost. EXACTLY ONCE from an agent with a TAILDIR source
    with fileHeader and byteOffsetHeader, a file channel, one sink, a name of its own, and files that are only appended
    to and whose paths are not reused: a line that it sends again is recognised by its body and its place in the file,
    even after a restart of either side. AT LEAST ONCE from any other source. It says which for each agent that it
    sees. examples/flume has ready configurations, including a relay for Avro sinks.

    An event is dropped as a repeat only if the same body was landed from the same place. Lines that may be repeats but
    cannot be proven to be (a path was reused for a second file, two hosts have agents with one name) are landed,
    logged and counted as doubtful.

    Agents are told apart by a header named agent, else by their address: give each its own header (a static
    interceptor) when several are behind one address, in containers for instance, and read files of the same name.

    When the disk is full or HDFS is away agents hear FAILED and keep what they have; it goes on by itself. There is
    no authentication: whoever reaches the port can send, so it is this machine only unless --listen says otherwise.
    One receiver lands in one folder; of two the older ends.
    """
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together")
    with told_by_signals() as interrupts, _alone(alone):
        from wordtide.receivers.flume import Bounds, FlumeReceiver, listen, server_tls
        from wordtide.receivers.flume_journal import PREFIX, Journal

        tls = server_tls(cert, key) if cert is not None and key is not None else None
        listener = listen(host, port)
        metrics = Metrics()
        around = Around(metrics_port, parent)
        with _metrics_served(metrics, around):
            where = storage_of(landing)
            journal = Journal(*where)
            marks = journal.open()
            # At once, as agents wait for it; what several of them send meanwhile shares a file.
            lander = lander_for(where, PREFIX, Limits(max_batch, 0.0), metrics, journal.write)
            receiver = FlumeReceiver(listener, lander, marks, metrics, say, Bounds(max_batch, max_event), tls)
            say(f"listening on {host} port {listener.getsockname()[1]}")
            run_until_told(receiver, lander, metrics, interrupts, around)


@receive.command("stream")
@click.argument("name", metavar="STREAM")
@_around
def receive_stream(name: str, metrics_port: int | None, parent: int | None, alone: Path | None) -> None:
    """Run the receiver that a stream of streams.yaml names (its key socket or flume), as wordtide dev does."""
    stream = load_configuration().stream(name)
    if stream.receiver is None:
        raise ConfigError(f"stream {name} names no receiver: add socket: {{…}} or flume: {{…}} to its entry")
    arguments = [*arguments_of(stream), "--alone", str(alone or lock_of(name))]
    arguments += [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    arguments += [] if parent is None else ["--parent", str(parent)]
    receive.main(arguments, prog_name="wordtide receive", standalone_mode=False)

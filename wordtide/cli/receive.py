"""`wordtide receive`: what other programs send becomes landed files."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Protocol

import click

from wordtide.cli.signals import Interrupts
from wordtide.config import is_url, parse_bytes, parse_seconds
from wordtide.errors import ConfigError
from wordtide.receivers.landing import Lander, Limits
from wordtide.receivers.metrics import Metrics, Snapshot
from wordtide.receivers.socket import Server, SocketReceiver, tls_context
from wordtide.storage import storage_for

_LARGEST = 1_000_000_000
_TICK_SECONDS = 0.5
_STOP_SECONDS = 5.0
_LAND_SECONDS = 30.0


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


def lander_for(landing: str, prefix: str, limits: Limits, metrics: Metrics) -> Lander:
    """Return a lander that works: its folder is there.

    Raises:
        WordtideError: The folder can neither be found nor made.
    """
    address = None
    if is_url(landing):
        # Not above: it brings the tables' libraries along, and a receiver stays in memory for ever.
        from wordtide.wiring import hdfs_address

        address = hdfs_address()
    storage, root = storage_for(landing, address)
    lander = Lander(storage, root, prefix, limits, metrics, say)
    lander.start()
    return lander


def run_until_told(receiver: Receiver, lander: Lander, metrics: Metrics) -> None:
    """Run a receiver until Ctrl-C, SIGTERM or hang-up, land what it has, and say what it did in one line.

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

    with Interrupts() as interrupts:
        try:
            # A daemon: a look-up of a name that hangs must not keep the process.
            threading.Thread(target=work, name="wordtide-receive", daemon=True).start()
            # Events, as a `Thread.join` that was interrupted takes the thread for ended.
            while not ended.wait(_TICK_SECONDS):
                interrupts.check()
                lander.watch()
        except KeyboardInterrupt:
            pass
        finally:
            interrupts.end()
            stop.set()
            ended.wait(_STOP_SECONDS)
            try:
                lander.close(_LAND_SECONDS)
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
    if not 0 < size <= _LARGEST:
        raise click.BadParameter(f"{text} is not between 1 and 1GB; twice as much is held in memory")
    return size


def _age(_ctx: click.Context, _option: click.Parameter, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _server(_ctx: click.Context, _argument: click.Parameter, text: str) -> Server:
    try:
        return Server.parse(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def receive() -> None:
    """Land what other programs send, as files that appear whole, until Ctrl-C or SIGTERM."""


@receive.command("socket")
@click.argument("server", metavar="HOST:PORT", callback=_server)
@click.option("--to", "landing", metavar="LANDING", required=True, help="A folder or hdfs://…; made if missing.")
@click.option("--max-size", default="16MB", show_default=True, callback=_size, help="Land a file before it is larger.")
@click.option("--max-age", default="2s", show_default=True, callback=_age, help="Land a file when it is older.")
@click.option("--tls", is_flag=True, help="Speak TLS and check the server's certificate and name.")
@click.option("--ca", metavar="FILE", help="With --tls: certificates to trust (PEM), instead of the system's.")
def receive_socket(server: Server, landing: str, max_size: int, max_age: float, tls: bool, ca: str | None) -> None:
    r"""Connect to HOST:PORT, as Spark's socketTextStream does, and land the lines that come.

    A line ends with \n, \r\n or a lone \r and is never divided between two files. An unfinished last line counts
    when the server ends the connection and is dropped when that breaks, as in Spark. When told to stop, it waits up to
    a second for the end of an unfinished line, then lands what there is. A line of more than 16 MiB is cut at a space.

    When the disk is full or HDFS is away nothing is dropped: it stops reading, which slows the server down, and
    goes on by itself. It connects again when the connection ends or breaks.

    What TCP cannot promise: there is no replay. When this process or machine dies, what has not landed is lost, and
    the server is not told: what came during the last --max-age, up to twice --max-size while landing is slow, an
    unfinished line, and what is on its way. Whether a new connection goes on where the old one broke, leaves something
    out or repeats it is the server's doing. Counts are exactly once from the landed file on.
    """
    if ca is not None and not tls:
        raise click.UsageError("--ca is of use only with --tls")
    context = tls_context(ca) if tls else None
    metrics = Metrics()
    lander = lander_for(landing, f"socket-{server}", Limits(max_size, max_age), metrics)
    run_until_told(SocketReceiver(server, lander, metrics, say, tls=context), lander, metrics)

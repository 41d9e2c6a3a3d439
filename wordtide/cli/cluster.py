"""`wordtide up`, `down` and `status`: the embedded cluster by itself."""

from __future__ import annotations

import json
import os

import click

from wordtide.cli.progress import progress
from wordtide.cli.signals import Interrupts
from wordtide.config import home
from wordtide.embedded import cluster
from wordtide.system.cluster import read_address

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON on stdout, nothing else.")


@click.command()
@_JSON
def up(as_json: bool) -> None:
    """Start a Kafka broker and an HDFS in the background; both answer when this returns."""
    if read_address(home()) is None:
        click.echo(f"starting Kafka and HDFS in {home()}", err=True)
    with Interrupts():
        # Told to end, it takes Ivy and half started servers with it.
        address = cluster.up(home(), waiting=progress)
    if as_json:
        click.echo(_json(address.kafka, address.hdfs))
    else:
        click.echo(f"Kafka  {address.kafka}\nHDFS   {address.hdfs}\nWeb    http://{address.webhdfs}")


@click.command()
def down() -> None:
    """End the embedded Kafka and HDFS; their data stays."""
    with progress("ending Kafka and HDFS"):
        ended = cluster.down(home())
    if ended:
        click.echo(f"ended Kafka and HDFS in {home()}, data kept", err=True)
    else:
        click.echo(f"nothing runs in {home()}", err=True)


@click.command()
@_JSON
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Tell where the embedded Kafka and HDFS are; exit 1 unless both run."""
    found = cluster.status(home())
    if as_json:
        click.echo(_json(found.kafka, found.hdfs))
    elif found.kafka is None and found.hdfs is None:
        click.echo(f"nothing runs in {found.home}: start it with wordtide up", err=True)
    else:
        stopped = click.style("does not run: start it again with wordtide up", fg="red")
        for name, address in (("Kafka", found.kafka), ("HDFS", found.hdfs)):
            click.echo(f"{name:<6} {click.style(address, fg='green') if address else stopped}", color=_colour())
    if found.address is None:
        context.exit(1)


def _colour() -> bool | None:
    """Return what click is to do about colour: it looks for a terminal, but not for NO_COLOR."""
    return False if os.environ.get("NO_COLOR") else None


def _json(kafka: str | None, hdfs: str | None) -> str:
    return json.dumps({"kafka": kafka, "hdfs": hdfs})

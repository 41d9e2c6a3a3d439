"""`wordtide doctor`: what would stop a drain, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from wordtide.cli import show
from wordtide.cli.progress import progress
from wordtide.doctor.examine import examine
from wordtide.doctor.findings import Finding

_MARKS = {(True, False): ("ok", "green"), (False, False): ("warn", "yellow"), (False, True): ("FAIL", "bold red")}
"""By whether all is well, and whether a drain would stop."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON on stdout, nothing else.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check Java, packages, servers, topics, folders, receivers, tables, clocks, disks; exit 1 if a drain would stop.

    Writes, renames and deletes hidden files in landing and table folders, and connects to the servers of socket
    receivers without reading. Ends within 30 seconds, whatever is dead.

    \b
    --json prints a list of
      {"check":  streams, python, packages, java, jars, spark, kafka, broker,
                 topic, hdfs, webhdfs, landing, receiver, table, clock, disk,
                 home, temp or dagster,
       "stream": its name, or null where it belongs to no one stream,
       "ok":     true or false; what is not created yet is ok,
       "stops":  whether a drain would stop, or a file cannot be read,
       "what":   what was found,
       "where":  the address (host:port) or path tried,
       "do":     what to do about it; a hint, or "", where it is ok}
    """  # noqa: D301 click's mark for lines to keep as they are
    with progress("looking at everything a drain needs"):
        findings = examine()
    if as_json:
        show.print_json([_plain(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.stops for finding in findings):
        ctx.exit(1)


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.line.check,
        "stream": finding.line.stream or None,
        "ok": finding.ok,
        "stops": finding.stops,
        "what": finding.what,
        "where": finding.line.where,
        "do": finding.do,
    }


def _print(findings: Sequence[Finding]) -> None:
    # Sentences and paths of any length: a column of marks, and beside it text that is broken where it must be.
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(width=4)
    lines.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.ok, finding.stops]
        lines.add_row(Text(mark, style=style), _sentence(finding))
    console = show.console()
    console.print(lines)
    console.print(_summary(findings))


def _sentence(finding: Finding) -> Text:
    named = " ".join(filter(None, (finding.line.check, finding.line.stream)))
    text = Text.assemble((named, "bold"), ": ", show.sentence(finding.what), "  ")
    # On a line of its own a long path is broken less.
    text.append_text(Text("\n" if not finding.ok else "").append_text(_dim(finding.line.where)))
    if finding.do:
        text.append("\n→ ").append_text(show.visible(finding.do))
    return text


def _dim(where: str) -> Text:
    shown = show.visible(where)
    shown.stylize("dim")
    return shown


def _summary(findings: Sequence[Finding]) -> Text:
    stopping = sum(finding.stops for finding in findings)
    odd = sum(not finding.ok for finding in findings) - stopping
    if not stopping and not odd:
        return Text("all is well", style="green")
    said = [f"{stopping} would stop a drain" if stopping else "nothing would stop a drain"]
    if odd:
        said.append(f"{odd} to look at")
    return Text("; ".join(said), style="bold red" if stopping else "yellow")

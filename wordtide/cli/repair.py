"""`wordtide resolve`, `replay` and `quarantine`: an operator puts things right, each change a numbered batch."""

from __future__ import annotations

import getpass
import heapq
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from wordtide.cli import show
from wordtide.cli.progress import progress
from wordtide.config import Stream, load_configuration
from wordtide.core.model import Aside, Committed, Decision, FileSplit, Verdict
from wordtide.core.problems import DecisionRefused
from wordtide.core.source import Source
from wordtide.repair.quarantine import batches_with_quarantined, contents
from wordtide.repair.recount import Difference, Published, find_published, publish, recount
from wordtide.repair.resolve import existing, until_committed
from wordtide.repair.resolve import resolve as carry_out
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.record import LedgerRow
from wordtide.wiring import open_source, open_table

_SHOWN_WORDS = 20


@click.command()
@click.argument("stream")
@click.argument("what")
@click.option(
    "--as",
    "verdict",
    type=click.Choice([Verdict.SKIP.value, Verdict.RECOUNT.value, Verdict.TEXT.value, Verdict.FROM_EARLIEST.value]),
    required=True,
    help="skip: go on behind it; recount: count a file as it is now, or try again to read a partition's damaged"
    " offsets; text: count as text what was parked for not being text; from-earliest: take a recreated topic whole.",
)
@click.option("--why", default="", help="Goes into the ledger, beside who and when.")
def resolve(stream: str, what: str, verdict: str, why: str) -> None:
    """Decide about WHAT, as `wordtide parked STREAM` names it."""
    opened = load_configuration().stream(stream)
    table, source = open_table(opened), open_source(opened)
    what = _named(opened, what)
    try:
        waiting = existing(table).ledger.parked.keys()
        with progress(f"deciding about {Path(what).name}"):
            decision = Decision(Verdict(verdict), getpass.getuser(), _line(why))
            committed = carry_out(opened, source, table, what, decision)
    finally:
        source.close()
    for parked in committed.batch.parked:
        click.echo(f"{show.visible(parked.what)}: {show.visible(parked.reason)}")
    if committed.counted is not None:
        counted = "counted as text" if decision.verdict is Verdict.TEXT else "recounted"
        click.echo(f"{show.visible(what)}: {counted}; {_words(committed.counted.words)}")
        others = {proof.split.what for proof in committed.counted.proofs} & waiting - {what}
        for other in sorted(others):
            click.echo(f"{show.visible(other)}: recounted with it, as it is of the same batch")
    click.echo(f"recorded as batch {committed.batch.number} of {stream}")


@click.command()
@click.argument("stream")
@click.option("--batch", type=click.IntRange(min=1), help="A batch of the ledger.")
@click.option("--file", "path", help="The batch that held this file, as `wordtide ledger` names it.")
@click.option("--partition", type=click.IntRange(min=0), help="Batches with offsets of this partition …")
@click.option("--start", type=click.IntRange(min=0), help="… at or after this one …")
@click.option("--end", type=click.IntRange(min=1), help="… and before this one.")
@click.option("--apply", "apply_it", is_flag=True, help="Publish the difference as signed rows.")
@click.option("--why", default="", help="With --apply: goes into the ledger, beside who and when.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print [{"batch": …, "applied": …, "words": [{"word": …, "was": …, "now": …}]}].',
)
def replay(
    stream: str,
    batch: int | None,
    path: str | None,
    partition: int | None,
    start: int | None,
    end: int | None,
    apply_it: bool,
    why: str,
    as_json: bool,
) -> None:
    """Read again what STREAM has published, and show what differs. Nothing changes without --apply."""
    _check_asked(batch, path, partition, start, end)
    opened = load_configuration().stream(stream)
    wanted = _wanted(batch, path and _named(opened, path), partition, start, end)
    table, source = open_table(opened), open_source(opened)
    decision = Decision(Verdict.REPLAY, getpass.getuser(), _line(why))
    said: list[dict[str, Any]] = []
    try:
        with progress("searching the ledger"):
            found = find_published(existing(table).handle, wanted)
        if not found:
            raise DecisionRefused(f"stream {stream}: no batch has published that; see wordtide ledger {stream}")
        for place, published in enumerate(found, 1):
            with progress(f"reading batch {published.number:,} again ({place:,} of {len(found):,})"):
                difference = recount(opened, source, existing(table), published)
                applied = _apply(table, source, difference, decision) if apply_it and len(difference.rows) else None
            if as_json:
                number = applied.batch.number if applied else None
                words = difference.changes.to_pylist()
                said.append({"batch": published.number, "applied": number, "words": words})
            else:
                _print(difference, applied)
    finally:
        source.close()
    if as_json:
        show.print_json(said)


@click.command()
@click.argument("stream")
@click.option(
    "--export", "folder", type=click.Path(path_type=Path), help="Write each record as a file into this folder."
)
@click.option("--replay", "replay_it", is_flag=True, help="Count them after all; bad UTF-8 becomes U+FFFD.")
@click.option("--why", default="", help="With --replay: goes into the ledger, beside who and when.")
@click.option(
    "--json", "as_json", is_flag=True, help='Print [{"batch": …, "what": …, "start": …, "end": …, "reason": …}].'
)
def quarantine(stream: str, folder: Path | None, replay_it: bool, why: str, as_json: bool) -> None:
    """Show the records of STREAM that were put aside: offsets, or bytes of a file's text."""
    opened = load_configuration().stream(stream)
    table, source = open_table(opened), open_source(opened)
    decision = Decision(Verdict.REPLAY, getpass.getuser(), _line(why))
    try:
        with progress("searching the ledger"):
            snapshot = existing(table)
            held = batches_with_quarantined(snapshot.handle)
        if folder is not None:
            _export(source, snapshot, held, folder)
        if replay_it:
            for published in held:
                with progress(f"counting batch {published.number:,} again"):
                    difference = recount(opened, source, existing(table), published, whole=True)
                    committed = _apply(table, source, difference, decision)
                click.echo(f"batch {published.number}: counted after all, as batch {committed.batch.number}", err=True)
    finally:
        source.close()
    rows = [_record(published, aside) for published in held for aside in published.aside]
    if as_json:
        show.print_json(rows)
    elif not rows:
        click.echo(f"{stream}: nothing is in quarantine")
    else:
        shown = show.table("batch", "where", "start", "end", "why", numbers=("batch", "start", "end"), fill=True)
        for row in rows:
            place = show.cell(row["what"]), show.number(row["start"]), show.number(row["end"])
            shown.add_row(show.number(row["batch"]), *place, show.visible(row["reason"]))
        show.console().print(shown)


def _export(source: Source, snapshot: Snapshot, held: Sequence[Published], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    with progress("writing records"):
        for published in held:
            for aside, content in contents(source, snapshot.ledger, published):
                name = aside.split.what.rpartition("/")[2] if isinstance(aside.split, FileSplit) else aside.split.what
                (folder / f"{published.number}-{name.replace('/', '-')}-{aside.split.start}").write_bytes(content)
                written += 1
    click.echo(f"wrote {written:,} records to {folder}", err=True)


def _record(published: Published, aside: Aside) -> dict[str, Any]:
    split = aside.split
    place = {"what": split.what, "start": split.start, "end": split.end}
    return {"batch": published.number, **place, "reason": aside.reason}


def _apply(table: WordCounts, source: Source, difference: Difference, decision: Decision) -> Committed:
    return until_committed(lambda: publish(table, source, difference, decision))


def _named(stream: Stream, what: str) -> str:
    """Return a file as the ledger names it, also where it was given by a relative path or with its server."""
    if what.startswith("hdfs://"):
        return "/" + what.removeprefix("hdfs://").partition("/")[2]
    if stream.landing is not None and "://" not in stream.landing:
        return str(Path(what).absolute())
    return what


def _check_asked(
    batch: int | None, path: str | None, partition: int | None, start: int | None, end: int | None
) -> None:
    ranged = (partition, start, end) != (None, None, None)
    if sum((batch is not None, path is not None, ranged)) != 1:
        raise click.UsageError("name one of --batch N, --file PATH, or --partition P --start A --end B")
    if ranged and (partition is None or start is None or end is None or start >= end):
        raise click.UsageError("a range needs --partition P --start A --end B, with A before B")


def _wanted(
    batch: int | None, path: str | None, partition: int | None, start: int | None, end: int | None
) -> Callable[[LedgerRow], bool]:
    """Return which ledger rows are asked for."""
    if batch is not None:
        return lambda row: row.batch == batch
    if path is not None:
        return lambda row: any(split.path == path for split in row.splits)
    assert start is not None
    assert end is not None
    return lambda row: any(
        split.partition == partition and (split.start or 0) < end and (split.end or 0) > start for split in row.splits
    )


def _print(difference: Difference, applied: Committed | None) -> None:
    number = difference.published.number
    changes = difference.changes
    if not len(difference.rows):
        click.echo(f"batch {number}: what it published is what its source holds")
        return
    console = show.console()
    if len(changes):
        table = show.table("word", "was", "now", "difference", numbers=("was", "now", "difference"))
        for row in _largest(changes):
            table.add_row(
                show.cell(row["word"]) if row["word"] else show.visible(""),
                show.number(row["was"]),
                show.number(row["now"]),
                f"{row['now'] - row['was']:+,}",
            )
        console.print(table)
    more = len(changes) - _SHOWN_WORDS
    rest = f" ({more:,} more with --json)" if more > 0 else ""
    windows = "" if len(changes) else "; only the windows that words fall into differ"
    click.echo(f"batch {number}: {len(changes):,} words differ{rest}{windows}")
    if applied is not None:
        click.echo(f"published as batch {applied.batch.number}, which replaces nothing and adds the difference")
    else:
        click.echo("nothing was changed; --apply publishes the difference")


def _largest(changes: pa.Table) -> list[dict[str, Any]]:
    return heapq.nlargest(_SHOWN_WORDS, changes.to_pylist(), key=lambda row: abs(row["now"] - row["was"]))


def _words(difference: int) -> str:
    return "the total is the same" if not difference else f"{difference:+,} words"


def _line(text: str) -> str:
    return " ".join(text.split())

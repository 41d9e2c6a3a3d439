"""What Dagster is told of a batch, or of several in a row. Pure; `wordtide.dagster.reporter` sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import dagster as dg

from wordtide import __version__
from wordtide.config import Stream
from wordtide.core.model import Committed, FileSplit, KafkaSplit, SplitProof, Status
from wordtide.core.position import FileCount, Offsets, Position, parse
from wordtide.dagster.coverage import FIRST_TAG, LAST_TAG
from wordtide.dagster.labels import column_lineage
from wordtide.dagster.translator import WordtideTranslator
from wordtide.dagster.versions import INITIAL, VERSION_TAG, Version
from wordtide.table.record import LedgerRow, SplitRecord
from wordtide.table.scan import BatchTotal
from wordtide.table.schema import STEPS

SHOWN_SPLITS = 20
_CORRECTED = ", corrected by batch "

Line = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """A version of a source as Dagster knows it.

    Attributes:
        version: Its data version.
        event: The storage id of the event that told it, if any.
    """

    version: Version = INITIAL
    event: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one event says.

    Attributes:
        first: The first batch.
        last: The last one.
        batches: How many.
        words: Words counted.
        rows: Rows added: distinct (window, word) pairs of each batch.
        records: Records, or lines of files.
        gaps: Offsets without a record.
        bytes: Bytes read.
        lag: Records or files that waited beyond it.
        position: What the table had taken with it.
        splits: Offset ranges, files, or what is parked and why.
        engine: Where it was counted.
        seconds: Seconds per step, of several batches the mean.
        latency: Seconds from its oldest record's timestamp, or file's mtime, to its commit; the longest of several.
        status: The ledger's.
    """

    first: int
    last: int
    batches: int
    words: int
    rows: int
    records: int
    gaps: int
    bytes: int
    lag: int | None = None
    position: Position | None = None
    splits: tuple[Line, ...] = ()
    engine: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    latency: float | None = None
    status: Status

    @classmethod
    def of(cls, committed: Committed) -> Report:
        """Return the report of a batch just committed."""
        counted, batch = committed.counted, committed.batch
        proofs = counted.proofs if counted else ()
        spent = counted.seconds if counted else {}
        seconds = {step: spent[step] for step in STEPS if step in spent}
        seconds["batch"] = (committed.committed_at - batch.planned_at).total_seconds()
        oldest = min((proof.oldest for proof in proofs if proof.oldest is not None), default=None)
        return cls(
            first=batch.number,
            last=batch.number,
            batches=1,
            words=counted.words if counted else 0,
            rows=counted.distinct if counted else 0,
            records=sum(proof.records or proof.lines for proof in proofs),
            gaps=sum(proof.gaps for proof in proofs),
            bytes=sum(proof.bytes for proof in proofs),
            lag=batch.backlog,
            position=batch.position,
            splits=tuple(map(_proved, proofs))
            or tuple({"what": one.what, "reason": one.reason} for one in batch.parked),
            engine=counted.engine if counted else None,
            seconds=seconds,
            latency=_latency(committed.committed_at.timestamp(), oldest),
            status=batch.status,
        )

    @classmethod
    def of_row(cls, row: LedgerRow) -> Report:
        """Return the report of a batch as the ledger holds it."""
        oldest = min((split.mtime for split in row.splits if split.mtime is not None), default=None)
        return cls(
            first=row.batch,
            last=row.batch,
            batches=1,
            words=row.words,
            rows=row.distinct,
            records=row.items,
            gaps=row.gaps,
            bytes=row.bytes,
            splits=tuple(map(_written, row.splits)),
            engine=row.engine,
            seconds={**row.seconds, "batch": (row.committed_at - row.planned_at).total_seconds()},
            latency=_latency(row.committed_at.timestamp(), oldest) if row.status == Status.PUBLISHED else None,
            status=row.status,
        )


def _latency(committed: float, oldest_ms: int | None) -> float | None:
    return None if oldest_ms is None else max(0.0, committed - oldest_ms / 1000)


def _proved(proof: SplitProof) -> Line:
    split = proof.split
    if isinstance(split, KafkaSplit):
        return {"partition": split.what, "start": split.start, "end": split.end, "records": proof.records}
    alike = {"same_content_as": proof.content_as} if proof.content_as is not None else {}
    return {**_file(split, proof.lines), **alike}


def _file(split: FileSplit, lines: int) -> Line:
    return {"file": split.path, "bytes": split.end - split.start, "lines": lines}


def _written(split: SplitRecord) -> Line:
    if split.reason:
        ended = "" if split.start is None else f" [{split.start}, {split.end})"
        return {"what": split.name + ended, "reason": split.reason}
    if split.path is not None:
        return {"file": split.path, "bytes": split.length or 0, "lines": split.lines or 0}
    return {
        "partition": split.name,
        "start": split.start or 0,
        "end": split.end or 0,
        "records": split.records or 0,
    }


def merge(reports: Sequence[Report]) -> Report:
    """Return one report for batches in a row."""
    last = reports[-1]
    if len(reports) == 1:
        return last
    steps = {step: [report.seconds[step] for report in reports if step in report.seconds] for step in last.seconds}
    published = any(report.status == Status.PUBLISHED for report in reports)
    return Report(
        first=reports[0].first,
        last=last.last,
        batches=sum(report.batches for report in reports),
        words=sum(report.words for report in reports),
        rows=sum(report.rows for report in reports),
        records=sum(report.records for report in reports),
        gaps=sum(report.gaps for report in reports),
        bytes=sum(report.bytes for report in reports),
        lag=last.lag,
        position=last.position,
        splits=_joined([line for report in reports for line in report.splits]),
        engine=last.engine,
        seconds={step: fmean(spent) for step, spent in steps.items()},
        latency=max((report.latency for report in reports if report.latency is not None), default=None),
        status=Status.PUBLISHED if published else last.status,
    )


def _joined(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return lines with the ranges of a partition joined where one begins at the other's end."""
    joined: list[dict[str, Any]] = []
    open_ranges: dict[Any, dict[str, Any]] = {}
    for line in lines:
        partition = line.get("partition")
        before = open_ranges.get(partition)
        if partition is not None and before is not None and before["end"] == line["start"]:
            before["end"] = line["end"]
            before["records"] += line["records"]
            continue
        joined.append(dict(line))
        if partition is not None:
            open_ranges[partition] = joined[-1]
    return tuple(joined)


def placed(reports: Sequence[Report], position: Position | None) -> tuple[list[Report], Position | None]:
    """Return reports of all batches in a row with their positions, and the position before them.

    Args:
        reports: As the ledger has them: it says what a batch took, not what had been taken by then.
        position: What the table had taken with the last of them; None where nobody knows.
    """
    found = []
    for report in reversed(reports):
        found.append(replace(report, position=position))
        position = position_before(report, position)
    return found[::-1], position


_STANDING = {Status.PARKED, Status.STALLED, Status.SETTLED, Status.PUT_AWAY, Status.CORRECTION}
"""Batches that move no position."""


def position_before(report: Report, position: Position | None) -> Position | None:
    """Return what the table had taken before a batch, of what it had taken with it; None where nobody can know."""
    if not position or report.status in _STANDING:
        return position
    if report.status != Status.PUBLISHED:
        # An operator's decision may put positions anywhere.
        return None
    if isinstance(position, FileCount):
        return FileCount(position.count - len(report.splits))
    begins = {int(str(line["partition"]).rpartition("/")[2]): int(line["start"]) for line in report.splits}
    return position.with_next(begins)


def summarise(totals: Sequence[BatchTotal], position: Position | None) -> Report:
    """Return one report for many batches of the past, from columns of the ledger, and the position after them."""
    published = any(total.status == Status.PUBLISHED for total in totals)
    return Report(
        first=totals[0].batch,
        last=totals[-1].batch,
        batches=len(totals),
        words=sum(total.words for total in totals),
        rows=sum(total.distinct for total in totals),
        records=sum(total.items for total in totals),
        gaps=sum(total.gaps for total in totals),
        bytes=sum(total.bytes for total in totals),
        position=position,
        status=Status.PUBLISHED if published else Status(totals[-1].status),
    )


def materialization(
    stream: Stream,
    report: Report,
    version: Version,
    source: SourceVersion,
    translator: WordtideTranslator,
    table_rows: int | None = None,
) -> dg.AssetMaterialization:
    """Return the event of a report.

    Args:
        stream: The stream.
        report: What to say.
        version: The table's data version with it.
        source: The version of the source that Dagster knows at this moment.
        translator: Names the assets.
        table_rows: Rows of the whole table, where that is known.
    """
    single = report.batches == 1
    name = f"batch {report.last}" if single else f"batches {report.first} to {report.last}"
    unit = "records" if stream.config.kafka else "lines"
    return dg.AssetMaterialization(
        translator.table_key(stream),
        description=f"{name}: {report.words:,} words from {report.records:,} {unit}",
        metadata=_metadata(stream, report, translator)
        | version.metadata
        | ({} if table_rows is None else {"dagster/row_count": table_rows}),
        # Dagster sets none of these on events logged within a run.
        tags={
            VERSION_TAG: version.tag,
            "dagster/data_version_is_user_provided": "true",
            "dagster/code_version": __version__,
            **input_tags(translator.source_key(stream), source),
            FIRST_TAG: str(report.first),
            LAST_TAG: str(report.last),
        },
    )


def _metadata(stream: Stream, report: Report, translator: WordtideTranslator) -> dict[str, Any]:
    """Return what an event shows, in the order in which its page shows it: what is asked for first stands first."""
    metadata: dict[str, Any] = {"batch": report.last}
    if report.batches > 1:
        # A text: a number would be plotted, a point here and there.
        metadata["batches"] = f"{report.batches:,}: {report.first} to {report.last}"
    metadata |= {"words": report.words, "records": report.records}
    metadata |= _splits(stream, report)
    if report.lag is not None:
        metadata["lag"] = report.lag
    if report.latency is not None:
        metadata["latency_seconds"] = shown_seconds(report.latency)
    if report.gaps:
        metadata["gaps"] = report.gaps
    metadata |= {"rows": report.rows, "bytes": report.bytes, "status": report.status.value}
    if report.engine is not None:
        metadata["engine"] = report.engine
    metadata |= {f"seconds_{step}": shown_seconds(spent) for step, spent in report.seconds.items()}
    metadata["dagster/column_lineage"] = column_lineage(stream, translator.source_key(stream))
    return metadata


def _splits(stream: Stream, report: Report) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    kinds = {"partition": "ranges", "file": "files", "what": "parked"}
    for key, label in kinds.items():
        lines = [line for line in report.splits if key in line]
        if lines:
            tables[label] = dg.MetadataValue.table([dg.TableRecord(line) for line in lines[:SHOWN_SPLITS]])
        if len(lines) > SHOWN_SPLITS:
            hidden = len(lines) - SHOWN_SPLITS
            tables[f"more_{label}"] = f"{hidden:,} more; wordtide ledger {stream.name} has them all"
    return tables


def shown_seconds(seconds: float) -> float:
    """Return seconds to the millisecond."""
    return round(seconds, 3)


def next_version(
    known: Version | None, number: int, position: Position | None, status: str = Status.PUBLISHED
) -> Version:
    """Return the table's data version with a batch.

    Args:
        known: The version of the batch before, if there is one.
        number: The batch.
        position: What the table had taken with it; None where that is not at hand.
        status: The batch's.
    """
    return Version.of(data_version(known.whole if known else None, number, position, status), known)


def data_version(known: str | None, number: int, position: Position | None, status: str = Status.PUBLISHED) -> str:
    """Return the table's data version: its position, and until that moves which batch corrected what was counted.

    Args:
        known: The version of the batch before, if there is one.
        number: The batch.
        position: What the table had taken with it; None where that is not at hand, then its number must do.
        status: The batch's.
    """
    if not position:
        return f"batch {number}"
    if status == Status.CORRECTION:
        return f"{position}{_CORRECTED}{number}"
    return known if known is not None and known.partition(_CORRECTED)[0] == str(position) else str(position)


def position_in(version: str) -> Position | None:
    """Return the position that a data version of a table begins with, if it does."""
    return parse(version.partition(_CORRECTED)[0])


def input_tags(key: dg.AssetKey, source: SourceVersion) -> dict[str, str]:
    """Return the tags that say from which version of the source, which has this key, a materialization comes.

    Both are needed: with the version alone Dagster shows the table as out of step with a dependency that is new to it.
    """
    name = key.to_user_string()
    return {
        f"dagster/input_data_version/{name}": source.version.tag,
        f"dagster/input_event_pointer/{name}": "NULL" if source.event is None else str(source.event),
    }


def source_version(known: str, before: Position | None, position: Position) -> str:
    """Return what a source's version is, once a table has taken it up to a position.

    Streams may share a topic, and one of them is ahead. So its version only goes forward, each partition for itself:
    going back and forth it would show tables as outdated that have nothing to take. Only if the table's own position
    went back (the topic was recreated, or an operator decided so) the past is over.

    Args:
        known: The version that Dagster knows.
        before: The table's own position when it was last told, if it ever was.
        position: And now.
    """
    told = parse(known)
    if not told or not isinstance(told, Offsets) or not isinstance(position, Offsets):
        return str(position)
    if isinstance(before, Offsets) and position.is_behind(before):
        return str(position)
    joined = told.joined(position)
    return known if joined == told else str(joined)


def source_events(
    stream: Stream, version: Version, position: Position, lag: int | None, translator: WordtideTranslator
) -> list[dg.AssetMaterialization]:
    """Return the events that tell Dagster a source's version, and how far a stream has taken it.

    What a receiver takes in gets one as well: it flows, and its asset must not look as if it never had.
    """
    metadata: dict[str, Any] = {
        "taken": str(position),
        "taken_by": dg.MetadataValue.asset(translator.table_key(stream)),
    }
    metadata |= version.metadata
    if lag is not None:
        metadata["lag"] = lag
    return [
        dg.AssetMaterialization(
            key,
            description=f"taken by {stream.name}: {position}"[:200],
            metadata=metadata,
            tags={VERSION_TAG: version.tag, "dagster/data_version_is_user_provided": "true"},
        )
        for key in (translator.source_key(stream), translator.receiver_key(stream))
        if key is not None
    ]

"""What assets tell of themselves, under Dagster's labels: schemas, lineage of columns, freshness, links."""

from __future__ import annotations

import re
import warnings
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import dagster as dg

from wordtide.config import Stream, is_url
from wordtide.storage import HdfsAddress

_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("kind", "string", description="count, or batch for a ledger row"),
        dg.TableColumn("day", "date", description="UTC day of the batch"),
        dg.TableColumn("batch", "bigint", description="number of the batch that added the row"),
        dg.TableColumn("window_start", "timestamp", description="start of the event-time window, UTC"),
        dg.TableColumn("word", "string", description="the word; null in ledger rows"),
        dg.TableColumn("count", "bigint", description="what the batch adds; a word's total is the sum"),
        dg.TableColumn("splits", "list<struct>", description="ledger rows: the offset ranges or files taken"),
    ]
)
_TOPIC_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("value", "string", description="one line of text; a tombstone counts nothing"),
        dg.TableColumn("timestamp", "timestamp", description="the record's, decides the window"),
        dg.TableColumn("partition", "int"),
        dg.TableColumn("offset", "bigint"),
    ]
)
_FOLDER_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("line", "string", description="one line of a landed file"),
        dg.TableColumn("mtime", "timestamp", description="the file's, decides the window"),
        dg.TableColumn("path", "string"),
    ]
)


def quoted(name: str) -> str:
    """Return a name for a description: in backticks, which lists show as they are, only where Markdown would act."""
    return f"`{name}`" if re.search(r"[*`<>\[\]\\~]|(^|[^\w])_|_([^\w]|$)", name) else name


def source_columns(stream: Stream) -> dg.TableSchema:
    """Return the columns of a topic or folder."""
    return _TOPIC_COLUMNS if stream.config.kafka else _FOLDER_COLUMNS


def table_name(stream: Stream) -> str:
    """Return the name of a stream's table."""
    return f"{stream.name}.word_counts"


def table_labels(stream: Stream, source: dg.AssetKey) -> dict[str, object]:
    """Return what a table's definition says of it under Dagster's own labels.

    Args:
        stream: The stream.
        source: The key of its topic or landing folder.
    """
    return {
        "dagster/table_name": table_name(stream),
        "dagster/storage_kind": "deltalake",
        "dagster/uri": stream.table,
        "dagster/column_schema": _COLUMNS,
        "dagster/column_lineage": column_lineage(stream, source),
        **code_references(stream, Path(__file__).with_name("word_counts.py")),
    }


def source_labels(stream: Stream) -> dict[str, object]:
    """Return what a source's definition says of it under Dagster's own labels."""
    topic = stream.config.kafka
    return {
        "dagster/column_schema": source_columns(stream),
        "dagster/uri": f"kafka:///{topic.topic}" if topic else stream.landing or "",
        **code_references(stream),
    }


def column_lineage(stream: Stream, source: dg.AssetKey) -> dg.TableColumnLineage:
    """Return which columns of the source, which has this key, a table's columns come from."""
    text, when, *where = (column.name for column in source_columns(stream).columns)

    def of(*columns: str) -> list[dg.TableColumnDep]:
        return [dg.TableColumnDep(source, column) for column in columns]

    return dg.TableColumnLineage({"word": of(text), "count": of(text), "window_start": of(when), "splits": of(*where)})


def code_references(stream: Stream, code: Path | None = None) -> dict[str, dg.CodeReferencesMetadataValue]:
    """Return where a stream is described, and which code serves it."""
    references: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = []
    with warnings.catch_warnings():
        # Beta in Dagster; users of a command should not hear that a hundred times.
        warnings.simplefilter("ignore", dg.BetaWarning)
        if stream.origin is not None:
            path, line = stream.origin
            label = f"{stream.name} in {path.name}"
            references.append(dg.LocalFileCodeReference(file_path=str(path.resolve()), line_number=line, label=label))
        if code is not None:
            references.append(dg.LocalFileCodeReference(file_path=str(code.resolve()), label="the asset's code"))
        if not references:
            return {}
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}


def freshness(stream: Stream) -> dg.FreshnessPolicy:
    """Return the policy that warns, then fails, when a table has got nothing for long."""
    window = timedelta(seconds=stream.config.fresh_within)
    return dg.FreshnessPolicy.time_window(fail_window=window, warn_window=window / 2)


def link(location: str, hdfs: HdfsAddress | None) -> dg.MetadataValue:
    """Return where a person finds a folder: the NameNode's own page for one on HDFS, else the path."""
    if is_url(location) and hdfs is not None:
        path = "/" + location.partition("://")[2].partition("/")[2]
        return dg.MetadataValue.url(f"http://{hdfs.webhdfs}/explorer.html#{quote(path)}")
    return dg.MetadataValue.path(location)

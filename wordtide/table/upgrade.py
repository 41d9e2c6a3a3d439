"""What a table that an older Wordtide founded lacks: columns, which are added, none is changed, and the present ages.

A Parquet file with fields that the table's schema lacks is accepted by Delta, and the fields are silently invisible. So
the schema comes first, by a metadata commit of its own; rows without the fields read as null, and a Wordtide that does
not know them goes on reading and writing. The format's number stays.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable, Schema
from deltalake.schema import Field

from wordtide.table.ages import AGES, FORMER_AGE
from wordtide.table.schema import SCHEMA


def missing_columns(handle: DeltaTable) -> list[Field]:
    """Return the columns that a table lacks, wholly or some field of them."""
    present = json.loads(handle.schema().to_json())
    wanted = Schema.from_arrow(SCHEMA)
    by_name = {field["name"]: field["type"] for field in present["fields"]}
    return [
        field for field in wanted.fields if not _covers(by_name.get(field.name), json.loads(field.to_json())["type"])
    ]


def outdated_properties(handle: DeltaTable) -> dict[str, str]:
    """Return the properties that a table is to get; what somebody chose for it stays."""
    present = handle.metadata().configuration
    return {name: age for name, age in AGES.items() if present.get(name, FORMER_AGE) == FORMER_AGE}


def dead_files(handle: DeltaTable) -> list[str]:
    """Return the files, relative to the table, that its log remembers as removed."""
    return [unquote(path) for path in handle.vacuum(0, dry_run=True, enforce_retention_duration=False)]


def _covers(present: Any, wanted: Any) -> bool:
    """Return whether a Delta type, as JSON, has all fields of another; a newer Wordtide's may have more."""
    if present is None or isinstance(wanted, str):
        return present is not None
    if wanted["type"] == "array":
        return _covers(present["elementType"], wanted["elementType"])
    by_name = {field["name"]: field["type"] for field in present["fields"]}
    return all(_covers(by_name.get(field["name"]), field["type"]) for field in wanted["fields"])

"""Facets that OpenLineage does not have: exact ranges, files, and what else the ledger says of a batch.

Their schemas lie beside this file, in `facets.json`.
"""

from __future__ import annotations

from typing import Any

import attr
from openlineage.client.generated.base import InputDatasetFacet, RunFacet

_SCHEMA = "urn:wordtide:lineage:1-0-0:facets.json#/$defs/"


@attr.define
class OffsetsInputDatasetFacet(InputDatasetFacet):
    """The offsets that a batch took: ``[start, end)`` of each partition, all of them."""

    clusterId: str | None  # noqa: N815
    topicId: str | None  # noqa: N815
    ranges: list[dict[str, Any]]

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMA}OffsetsInputDatasetFacet"


@attr.define
class FilesInputDatasetFacet(InputDatasetFacet):
    """The files that a batch took: how many, and path, length and mtime of the first of them."""

    total: int
    files: list[dict[str, Any]]

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMA}FilesInputDatasetFacet"


@attr.define
class BatchRunFacet(RunFacet):
    """The ledger row of a batch, less its splits."""

    batch: int
    status: str
    words: int
    records: int
    lines: int
    gaps: int
    invalid: int
    clamped: int
    quarantined: int
    engine: str | None = None
    reason: str | None = None
    decision: str | None = None
    who: str | None = None
    why: str | None = None
    replaces: int | None = None
    seconds: dict[str, float] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMA}BatchRunFacet"

"""What a table's ledger adds up to: sums and histograms that grow batch by batch, each batch taken once."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from wordtide.core.model import Status
from wordtide.table.scan import Scan, batches_in
from wordtide.table.schema import STEPS

BATCH_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
FILE_SECONDS = (1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
SUMMED = ("records", "lines", "bytes", "words", "gaps", "invalid", "clamped")
"""Columns of published batches that are added up."""
_COLUMNS = ["batch", "status", *SUMMED, "planned_at", "committed_at", "seconds", "splits", "quarantined"]


@dataclass(slots=True)
class Histogram:
    """Observations by upper bounds, the last one being infinity; ``counts`` are not cumulative."""

    bounds: tuple[float, ...]
    counts: npt.NDArray[np.int64]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Histogram:
        """Return a histogram without observations."""
        return cls(bounds, np.zeros(len(bounds) + 1, np.int64))

    def observe(self, values: npt.NDArray[np.float64]) -> None:
        """Take in observations; NaN is none."""
        known = values[~np.isnan(values)]
        places = np.searchsorted(np.asarray(self.bounds), known, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.total += float(known.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), as Prometheus has them."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, map(float, np.cumsum(self.counts)), strict=True))


@dataclass(slots=True)
class History:
    """What the batches up to ``last`` add up to. Compaction changes no ledger row, so nothing here ever goes down.

    Attributes:
        table_id: The Delta table they belong to; another one starts at nothing.
        last: Highest batch number taken in; -1 before any.
        batches: How many, by status.
        sums: Of published batches, by column; ``files`` and ``quarantined`` are counted from their lists.
        steps: Seconds of published batches, by step.
        whole: Seconds from the look at the source to the commit.
        file_latency: Seconds from a file's modification to the commit that counted it.
        committed_at: Of the last batch, in seconds since the epoch; None before any.
    """

    table_id: str
    last: int = -1
    batches: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Histogram] = field(default_factory=lambda: {s: Histogram.empty(BATCH_SECONDS) for s in STEPS})
    whole: Histogram = field(default_factory=lambda: Histogram.empty(BATCH_SECONDS))
    file_latency: Histogram = field(default_factory=lambda: Histogram.empty(FILE_SECONDS))
    committed_at: float | None = None

    def caught_up(self, handle: DeltaTable, through: int) -> History:
        """Return the history with the batches up to ``through`` of a table's version."""
        grown = copy.deepcopy(self)
        new = batches_in(self.last, before=through + 1)
        for rows in Scan(handle).arrow(_COLUMNS, new):
            grown.take(rows)
        grown.last = through
        return grown

    def take(self, rows: pa.RecordBatch) -> None:
        """Take in ledger rows, each once."""
        if not len(rows):
            return
        self.batches.update(rows.column("status").to_pylist())
        latest = pc.max(rows.column("committed_at")).as_py().timestamp()
        self.committed_at = max(latest, self.committed_at or latest)
        # Corrections read again what was read before, and add what may be negative: a counter cannot.
        published = rows.filter(pc.equal(rows.column("status"), Status.PUBLISHED.value))
        if not len(published):
            return
        for name in SUMMED:
            self.sums[name] += pc.sum(published.column(name)).as_py() or 0
        self.sums["quarantined"] += len(pc.list_flatten(published.column("quarantined")))
        committed, planned = _seconds(published.column("committed_at")), _seconds(published.column("planned_at"))
        spent = published.column("seconds")
        for step, histogram in self.steps.items():
            histogram.observe(_floats(pc.struct_field(spent, step)))
        self.whole.observe(committed - planned + np.nan_to_num(_floats(pc.struct_field(spent, "plan"))))
        splits = published.column("splits")
        modified = _floats(pc.struct_field(pc.list_flatten(splits), "mtime"))
        of_file = ~np.isnan(modified)
        self.sums["files"] += int(of_file.sum())
        parents = pc.list_parent_indices(splits).to_numpy(zero_copy_only=False)
        # A file with a time of the future has waited for nothing.
        self.file_latency.observe(np.maximum(committed[parents] - modified / 1000, 0.0)[of_file])


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _seconds(times: pa.Array) -> npt.NDArray[np.float64]:
    return _floats(times.cast(pa.int64())) / 1_000_000

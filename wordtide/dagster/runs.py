"""Dagster's runs that drain a stream."""

from __future__ import annotations

import dagster as dg

from wordtide.config import Stream
from wordtide.dagster.translator import WordtideTranslator

GRACE_SECONDS = 120.0
"""A run older than `max_run` and this is the run of a host that died; it no longer holds the stream."""
RUNS_LOOKED_AT = 200
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def may_live(stream: Stream, age: float) -> bool:
    """Return whether an unfinished run of this age, in seconds, is more than what a host that died left behind."""
    limit = stream.config.max_run + GRACE_SECONDS
    # Nor is one that began in the future: the clock was put back, and its host may have died before.
    return -limit <= age <= limit


def unfinished_runs(instance: dg.DagsterInstance, stream: Stream, translator: WordtideTranslator) -> list[dg.RunRecord]:
    """Return the unfinished runs that drain a stream, those started from its asset's page included; newest first."""
    key, tags = translator.table_key(stream), translator.run_tags(stream)
    return [
        record
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED), limit=RUNS_LOOKED_AT)
        if tags.items() <= record.dagster_run.tags.items() or key in (record.dagster_run.asset_selection or ())
    ]

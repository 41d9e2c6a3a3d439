"""Tells OpenLineage of drain runs and batches, where that is switched on."""

from __future__ import annotations

import logging
import traceback
from datetime import timedelta
from typing import Self
from urllib.parse import quote

import dagster as dg

from wordtide.config import home
from wordtide.config.asset_names import Definition, Role
from wordtide.core.problems import WordtideError
from wordtide.dagster.resources import OpenLineageResource
from wordtide.dagster.translator import WordtideTranslator
from wordtide.exporters.openlineage.feed import LineageFeed
from wordtide.exporters.openlineage.naming import names_of
from wordtide.exporters.openlineage.records import DrainRun, End, Records
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress
from wordtide.table.commit import WordCounts
from wordtide.table.files import utc_now

log = logging.getLogger("wordtide")

STRANGE_FOR = timedelta(days=1)
"""How long a run is taken for one of another Dagster where this one does not know it."""
STACK_CHARACTERS = 10_000
"""What is told of a stack: its end."""
_ENDS = {
    dg.DagsterRunStatus.SUCCESS: "COMPLETE",
    dg.DagsterRunStatus.FAILURE: "FAIL",
    dg.DagsterRunStatus.CANCELED: "ABORT",
}


class Lineage:
    """Tells of one drain run and of its batches while its context is open; does nothing where lineage is off.

    Args:
        context: The running asset's context.
        table: The stream's table.
        openlineage: The backend, if any.
        kafka: The cluster of the stream's topic, if that is its source.
        hdfs: The HDFS in use, if any.
        translator: Names the stream's job.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        table: WordCounts,
        openlineage: OpenLineageResource,
        kafka: KafkaConnection | None,
        hdfs: HdfsAddress | None,
        translator: WordtideTranslator,
    ) -> None:
        self._context = context
        self._table = table
        self._settings = openlineage.settings()
        self._servers = kafka, hdfs
        self._translator = translator
        self._feed: LineageFeed | None = None

    def __enter__(self) -> Self:
        if self._settings is not None:
            stream, naming = self._table.stream, self._translator
            job = naming.get_definition_name(Definition(Role.DRAIN_JOB, stream.name))
            self._feed = LineageFeed(
                DrainRun(self._context.run.run_id, utc_now()),
                names_of(stream, self._settings.namespace, *self._servers, job),
                self._table,
                self._settings,
                Records(home() / "lineage" / quote(naming.get_stream_tag(stream.name), safe="")),
                lambda run: _ended(self._context.instance, run),
                self._warn,
            )
        return self

    def submit(self) -> None:
        """Say that a batch is committed; returns at once."""
        if self._feed is not None:
            self._feed.batch_committed()

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if self._feed is not None:
            self._feed.close(_end_of(error))

    def _warn(self, message: str) -> None:
        try:
            self._context.log.warning(message)
        except Exception:  # Of whatever storage Dagster has.
            log.warning("%s", message)


def _end_of(error: BaseException | None) -> End:
    if error is None:
        return End("COMPLETE", utc_now())
    if isinstance(error, WordtideError):
        return End("FAIL", utc_now(), str(error))
    if isinstance(error, Exception):
        stack = "".join(traceback.format_exception(error))[-STACK_CHARACTERS:]
        return End("FAIL", utc_now(), f"{type(error).__name__}: {error}", stack)
    # Somebody ended the run.
    return End("ABORT", utc_now())


def _ended(instance: dg.DagsterInstance, run: DrainRun) -> End | None:
    """Return how a run ended that left no word, as a killed one does; None while it may go on."""
    try:
        known = instance.get_run_by_id(run.run_id)
    except Exception as error:  # Of whatever storage Dagster has; another time then.
        log.info("lineage: run %s: %s", run.run_id, error)
        return None
    if known is None:
        strange = utc_now() - run.started > STRANGE_FOR
        return End("FAIL", utc_now(), "the run left no word of its end") if strange else None
    state = _ENDS.get(known.status)
    if state is None:
        return None
    message = f"the process ended without a word; Dagster says {known.status.value}" if state == "FAIL" else None
    return End(state, utc_now(), message)

"""The `word_counts` asset of a stream: materializing it drains the stream."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from deltalake.exceptions import DeltaError

from wordtide.config import EngineName, Stream
from wordtide.config.asset_names import Part, StreamAsset, op_name
from wordtide.core.model import Committed
from wordtide.core.problems import ConfigError, WordtideError
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine
from wordtide.dagster.check import CheckReporter, as_result, check_key, check_spec, evaluate
from wordtide.dagster.coverage import THROUGH_TAG
from wordtide.dagster.events import input_tags, next_version, shown_seconds
from wordtide.dagster.labels import column_lineage, link, table_name
from wordtide.dagster.lineage import Lineage
from wordtide.dagster.preview import preview_from, row_count, top_words
from wordtide.dagster.reporter import Reporter, ReportProgress
from wordtide.dagster.resources import KafkaResource
from wordtide.dagster.resources.bound import DRAIN, Bound, resource_keys
from wordtide.dagster.translator import WordtideTranslator
from wordtide.drain.loop import Drain, Summary
from wordtide.drain.pacing import Pace, spark_objection
from wordtide.exporters.consumer_group import GroupMirror
from wordtide.status.lag import look
from wordtide.table.commit import WordCounts
from wordtide.wiring import open_source

log = logging.getLogger("wordtide")

FOLLOW_TAG = "wordtide/follow"
"""On runs of the sensor: drain until the source is quiet. Runs by hand take what is there and end."""
CANCEL_SECONDS = 10.0
"""A cancelled run finishes the batch in hand if that needs no longer than this."""
WAKE_SECONDS = 0.2
"""How often the waiting thread wakes: a signal that another thread took interrupts it only then."""


def build_word_counts(
    stream: Stream, *, translator: WordtideTranslator | None = None, resource_prefix: str = ""
) -> dg.AssetsDefinition:
    """Return the asset of a stream's table; materializing it drains the stream.

    Args:
        stream: The stream.
        translator: Names and describes the asset.
        resource_prefix: What the keys of the resources begin with.

    Example:
        ```python
        stream = load_streams()["news"]
        defs = dg.Definitions(
            assets=[*build_sources([stream]), build_word_counts(stream)],
            resources={"kafka": KafkaResource(), "hdfs": HdfsResource(), "spark": SparkResource(), ...},
        )
        ```
    """
    naming = translator or WordtideTranslator()
    spec = naming.get_asset_spec(StreamAsset.of(stream, Part.TABLE))
    key = spec.key

    @dg.multi_asset(
        name=op_name(key.path),
        specs=[spec],
        check_specs=[check_spec(key)],
        can_subset=True,
        op_tags=naming.run_tags(stream),
        required_resource_keys=resource_keys(resource_prefix, *DRAIN),
    )
    def drain_stream(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        found = Bound(context.resources, resource_prefix)
        kafka, hdfs, spark = found.kafka, found.hdfs, found.spark
        _warn_if_ephemeral(context)
        follow = context.run.tags.get(FOLLOW_TAG) == "true"
        # The drain job leaves the check out, for Dagster would show it as in progress until the run ends.
        asked = check_key(key) in context.selected_asset_check_keys
        try:
            if key not in context.selected_asset_keys:
                table = found.tables.open(stream)
                waiting = look(stream, table, kafka.connection, hdfs.address)
                yield as_result(evaluate(stream, table, check_key(key), waiting.blockers))
                return
            if (objection := spark_objection(stream, spark.own_cores())) is not None:
                raise ConfigError(objection)
            table = found.tables.open(stream)
            connection = kafka.connection() if stream.config.kafka else None
            source = open_source(stream, connection, hdfs.address())
            lineage = Lineage(context, table, found.openlineage, connection, hdfs.address(), naming)
            reporter = Reporter(context, stream, table, naming)
            check = CheckReporter(context, stream, table, check_key(key))
            mirror = mirror_of(context, stream, kafka, table)

            def on_commit(committed: Committed) -> None:
                reporter.submit(committed)
                if mirror is not None:
                    mirror.submit(committed)
                lineage.submit()

            summary: Summary | None = None
            stop = threading.Event()
            drain = Drain(
                stream,
                source,
                table,
                {
                    EngineName.LOCAL: LocalEngine(),
                    EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks(), spark.answers),
                },
                run_id=context.run.run_id,
                on_commit=on_commit,
                on_poll=check.submit,
                stop=stop,
                own_cores=spark.own_cores(),
            )
            try:
                with lineage:
                    summary = run_in_thread(drain, Pace.of(stream.config, by_hand=not follow), stop)
            finally:
                # A one-shot run says at its end what it left out: nothing follows that would record it.
                check.close(summary.blockers if summary is not None and not follow and not asked else None)
                progress = reporter.close(summary)
                if mirror is not None:
                    mirror.close()
                source.close()
        except WordtideError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        yield _result(
            stream,
            summary,
            progress,
            {"table": link(table.uri, hdfs.address()), **_preview(context, table, progress)},
            naming,
        )
        if asked:
            yield as_result(evaluate(stream, table, check_key(key), summary.blockers))

    return drain_stream


def mirror_of(
    context: dg.AssetExecutionContext, stream: Stream, kafka: KafkaResource, table: WordCounts
) -> GroupMirror | None:
    """Return what shows the stream's positions to lag tools, if that is asked for."""
    if stream.config.kafka is None or stream.config.kafka.group is None:
        return None
    return GroupMirror(stream, kafka.connection(), table, stream.config.kafka.group, context.log.warning)


def run_in_thread(drain: Drain, pace: Pace, stop: threading.Event) -> Summary:
    """Run a drain in a thread while this one, which signals interrupt, waits for it.

    On an interrupt the batch in hand is finished if it needs no more than ten seconds, else abandoned: a batch is
    whole or absent, so either is safe.

    Args:
        drain: The drain.
        pace: Its pace.
        stop: Ends it after the batch in hand.
    """
    outcome: list[Summary | BaseException] = []
    # Not Thread.join: Python 3.11 takes a thread for ended when a signal interrupts whoever joins it.
    ended = threading.Event()

    def work() -> None:
        try:
            outcome.append(drain.run(pace))
        except BaseException as error:
            outcome.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="drain", daemon=True).start()
    try:
        while not ended.wait(WAKE_SECONDS):
            pass
    except BaseException:
        stop.set()
        ended.wait(CANCEL_SECONDS)
        raise
    (end,) = outcome
    if isinstance(end, BaseException):
        raise end
    return end


def _result(
    stream: Stream, summary: Summary, progress: ReportProgress, shown: Mapping[str, Any], translator: WordtideTranslator
) -> dg.MaterializeResult[Any]:
    version = next_version(progress.version, summary.last, summary.position)
    source = translator.source_key(stream)
    return dg.MaterializeResult(
        translator.table_key(stream),
        metadata={
            "batch": progress.through,
            "lag": summary.backlog,
            # Not under the names that batches use: sums would dwarf them in the same plot.
            "run_batches": summary.batches,
            "run_words": summary.words,
            "run_records": summary.records,
            **shown,
            **version.metadata,
            "dagster/table_name": table_name(stream),
            "dagster/uri": stream.table,
            "dagster/column_lineage": column_lineage(stream, source),
        },
        data_version=dg.DataVersion(version.tag),
        tags={**input_tags(source, progress.source), THROUGH_TAG: str(progress.through)},
    )


def _preview(context: dg.AssetExecutionContext, table: WordCounts, progress: ReportProgress) -> dict[str, Any]:
    """Return what the table itself shows once the run has done its work; a picture, not worth a failed run."""
    began = time.monotonic()
    try:
        handle = table.open()
        if handle is None:
            return {}
        shown: dict[str, Any] = {}
        first = preview_from(progress.newest)
        if first is not None:
            shown["top_words"] = dg.MetadataValue.md(top_words(handle, first, progress.newest[-1][0]))
        shown["dagster/row_count"] = row_count(handle)
        shown["seconds_preview"] = shown_seconds(time.monotonic() - began)
    except (WordtideError, DeltaError, OSError) as error:
        context.log.warning(f"no preview of the table: {error}")
        return {}
    return shown


def _warn_if_ephemeral(context: dg.AssetExecutionContext) -> None:
    if context.instance.is_ephemeral or not os.environ.get("DAGSTER_HOME"):
        context.log.warning(
            "this Dagster instance will not keep its events (no DAGSTER_HOME); counts and ledger are kept in the table"
            " all the same. Use wordtide dev, or set DAGSTER_HOME"
        )

"""From looks at streams to Prometheus' families of metrics. Pure; every name that we export is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import InfoMetricFamily, Metric

from wordtide import __version__
from wordtide.config import Stream
from wordtide.status.monitor import Seen

COUNTED = {
    "records": "Kafka records read by published batches, tombstones included.",
    "lines": "Lines and values counted by published batches.",
    "bytes": "Bytes of values and files read by published batches.",
    "words": "Words counted by published batches; corrections are not part of it.",
    "files": "Landed files counted by published batches.",
    "gaps": "Offsets without a visible record in published batches.",
    "invalid": "U+FFFD counted for bytes that were not UTF-8.",
    "clamped": "Records whose timestamp was absurd and was clamped.",
    "quarantined": "Records put aside instead of counted.",
}
"""What the ledger adds up to, by its name in `History.sums`; the metric is ``wordtide_<name>_total``."""

Families = Iterator[Metric]


def families(streams: Mapping[str, Stream], seen: Mapping[str, Seen]) -> Families:
    """Yield everything that is exported."""
    yield InfoMetricFamily("wordtide_build", "The Wordtide that exports this.", {"version": __version__})
    yield from _up(streams, seen)
    yield from _now(seen)
    yield from _partitions(seen)
    yield from _counters(seen)
    yield from _histograms(seen)


def _up(streams: Mapping[str, Stream], seen: Mapping[str, Seen]) -> Families:
    table = GaugeMetricFamily("wordtide_table_up", "1 if the table answers.", labels=["stream"])
    source = GaugeMetricFamily(
        "wordtide_source_up", "1 if the topic or landing folder answers.", labels=["stream", "source"]
    )
    for name, look in seen.items():
        kafka = streams[name].config.kafka
        table.add_metric([name], float(look.table_problem is None))
        where = kafka.topic if kafka else streams[name].landing or ""
        source.add_metric([name, where], float(look.source_problem is None))
    yield table
    yield source


def _now(seen: Mapping[str, Seen]) -> Families:
    parked = GaugeMetricFamily("wordtide_parked", "Partitions and files that wait for a decision.", labels=["stream"])
    live = GaugeMetricFamily("wordtide_live_files", "Files of the table's newest version.", labels=["stream"])
    last = GaugeMetricFamily(
        "wordtide_last_commit_timestamp_seconds", "When the last batch was committed.", labels=["stream"]
    )
    files = GaugeMetricFamily("wordtide_lag_files", "Files that wait to be counted.", labels=["stream"])
    size = GaugeMetricFamily("wordtide_lag_bytes", "Bytes of complete files that wait.", labels=["stream"])
    for name, look in seen.items():
        if look.parked is not None:
            parked.add_metric([name], len(look.parked))
        if look.live_files is not None:
            live.add_metric([name], look.live_files)
        if look.history is not None and look.history.committed_at is not None:
            last.add_metric([name], look.history.committed_at)
        if look.lag is not None and look.lag.unit == "files":
            files.add_metric([name], look.lag.lag or 0)
            size.add_metric([name], look.lag.bytes or 0)
    yield from (parked, live, last, files, size)


def _partitions(seen: Mapping[str, Seen]) -> Families:
    labels = ["stream", "topic", "partition"]
    lag = GaugeMetricFamily("wordtide_lag_records", "Offsets that wait to be counted.", labels=labels)
    position = GaugeMetricFamily("wordtide_position_offset", "The next offset to be counted.", labels=labels)
    end = GaugeMetricFamily("wordtide_end_offset", "Where the partition ends for a reader.", labels=labels)
    for name, look in seen.items():
        for one in look.lag.partitions if look.lag else ():
            assert look.lag is not None
            which = [name, look.lag.source, str(one.partition)]
            end.add_metric(which, one.end)
            if one.lag is not None and one.position is not None:
                lag.add_metric(which, one.lag)
                position.add_metric(which, one.position)
    yield from (lag, position, end)


def _counters(seen: Mapping[str, Seen]) -> Families:
    batches = CounterMetricFamily("wordtide_batches", "Batches of the ledger, by status.", labels=["stream", "status"])
    counted = {name: CounterMetricFamily(f"wordtide_{name}", text, labels=["stream"]) for name, text in COUNTED.items()}
    for name, look in seen.items():
        if look.history is None:
            continue
        for status, count in sorted(look.history.batches.items()):
            batches.add_metric([name, status], count)
        for what, family in counted.items():
            family.add_metric([name], look.history.sums[what])
    yield batches
    yield from counted.values()


def _histograms(seen: Mapping[str, Seen]) -> Families:
    steps = HistogramMetricFamily(
        "wordtide_batch_step_seconds", "Seconds of a step of a published batch.", labels=["stream", "step"]
    )
    whole = HistogramMetricFamily(
        "wordtide_batch_seconds",
        "Seconds from the look at the source to the commit of what it showed, without the commit itself.",
        labels=["stream"],
    )
    files = HistogramMetricFamily(
        "wordtide_file_latency_seconds",
        "Seconds from a file's mtime to its commit; min_age is part.",
        labels=["stream"],
    )
    for name, look in seen.items():
        history = look.history
        if history is None:
            continue
        for step, histogram in history.steps.items():
            steps.add_metric([name, step], histogram.buckets(), histogram.total)
        whole.add_metric([name], history.whole.buckets(), history.whole.total)
        if history.sums["files"]:
            files.add_metric([name], history.file_latency.buckets(), history.file_latency.total)
    yield from (steps, whole, files)

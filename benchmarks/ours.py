"""Our side: streams made for a benchmark, and their drains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from wordtide.config import EngineName, Stream, parse_streams
from wordtide.core.model import Committed
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain, Engine, Summary
from wordtide.drain.pacing import Pace
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress
from wordtide.table.query import counts
from wordtide.wiring import open_source, open_table


def make_stream(folder: Path, name: str, settings: Mapping[str, Any], tables: str | None = None) -> Stream:
    """Return a stream with its own table below ``folder``, or below the URL ``tables``."""
    text = yaml.safe_dump({"tables": tables or str(folder / "tables"), "streams": {name: dict(settings)}})
    return parse_streams(text, folder / "streams.yaml")[name]


class Drained:
    """A stream's drain that is run again and again, as one process of ours would.

    Args:
        stream: The stream.
        kafka: Its cluster, where it has one.
        hdfs: Its HDFS, where source or table is there.
        engines: By name.
        own_cores: See `Drain`.
        on_commit: Called after each commit.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        kafka: KafkaConnection | None = None,
        hdfs: HdfsAddress | None = None,
        engines: Mapping[EngineName, Engine] | None = None,
        own_cores: int | None = None,
        on_commit: Callable[[Committed], None] = lambda _: None,
    ) -> None:
        self._stream = stream
        self._source = open_source(stream, kafka, hdfs)
        self._table = open_table(stream, hdfs)
        self._drain = Drain(
            stream,
            self._source,
            self._table,
            engines or {EngineName.LOCAL: LocalEngine()},
            run_id="benchmark",
            on_commit=on_commit,
            own_cores=own_cores,
        )

    def run(self) -> tuple[Summary, float]:
        """Take what is there, as a run by hand does; return what was done and the seconds it took."""
        started = time.perf_counter()
        summary = self._drain.run(Pace.of(self._stream.config, by_hand=True))
        seconds = time.perf_counter() - started
        if summary.parked:
            raise RuntimeError(f"parked: {summary.parked[:3]}")
        return summary, seconds

    def counted(self) -> pa.Table:
        """Return (word, count), sorted by word."""
        handle = self._table.open()
        if handle is None:
            raise RuntimeError("there is no table")
        return counts(handle).sort_by("word")

    def close(self) -> None:
        """Close the source's connections."""
        self._source.close()

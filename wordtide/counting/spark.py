"""Counts a batch on Spark with the same reader and kernel, inside `mapInArrow`: no Spark Kafka jar, also over Connect.

Two stages. The first reads and counts pieces of the splits and divides the partial counts into shares by word; Spark
brings equal shares together; the second sums and writes each share, sorted, as files of the batch's attempt. Only file
names and proofs come back to the driver, so nothing there grows with the number of words. Between the stages Spark sees
a few rows of a megabyte each instead of a row a word: its own rows, hashes and copies would cost as much as the count.
"""

from __future__ import annotations

import base64
import json
import pickle
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession

from wordtide.core.model import Batch, Counted, DataFile, Split, SplitProof
from wordtide.core.problems import EnvironmentProblem, PlanAgain, ReadFailed, WordtideError
from wordtide.core.proofs import merge_proofs
from wordtide.core.source import SplitReader
from wordtide.counting.accumulate import Accumulator
from wordtide.counting.kernel import int64s
from wordtide.counting.local import Target, count_splits
from wordtide.counting.tokenizer import Tokenizer
from wordtide.system.limits import Call, Server
from wordtide.table.files import write_counts

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession as ConnectSession

PIECES_A_TASK = 2
"""More pieces balance better, fewer make smaller partials."""

IDLE_SECONDS = 120.0
"""How long a batch may wait for an executor, whether none has come yet or all have gone."""

ANSWER_EVERY_SECONDS = 10.0
"""How often a Connect server is asked whether it answers, while a batch is counted there."""

_ROWS = pa.schema([("window", pa.int64()), ("word", pa.string()), ("count", pa.int64())])
# A row holds either count rows of one share, as an Arrow message, or news from a task: proofs, or what ended it.
_PARTIAL = pa.schema([("share", pa.int32()), ("rows", pa.binary()), ("news", pa.string())])
_PARTIAL_DDL = "share int, rows binary, news string"
_RESULT = pa.schema([("what", pa.string()), ("json", pa.string())])
_RESULT_DDL = "what string, json string"


class SparkEngine:
    """Counts on Spark; the session is made when first needed and stays.

    Args:
        session: Returns the session.
        tasks: How many tasks run at once.
        answers: Raises when a Connect server does not answer; left to itself its client waits for one that hangs for
            ever.
    """

    name = "spark"

    def __init__(
        self,
        session: Callable[[], SparkSession | ConnectSession],
        tasks: int,
        answers: Callable[[], None] | None = None,
    ) -> None:
        self._session = session
        self._tasks = tasks
        self._answers = answers

    def count(
        self,
        batch: Batch,
        reader: SplitReader,
        tokenizer: Tokenizer,
        target: Target,
        after_read: Callable[[], None],
    ) -> Counted:
        """Count a batch's splits and write its count files; see `LocalEngine.count`."""
        spark = self._session()
        started = time.monotonic()
        pieces = reader.cut(batch.splits, self._tasks * PIECES_A_TASK)
        partials = spark.range(0, len(pieces), 1, len(pieces)).mapInArrow(
            _CountPieces(tuple(tuple(piece) for piece in pieces), reader, tokenizer, self._tasks),
            _PARTIAL_DDL,
        )
        together = partials.repartitionById(self._tasks, "share")
        try:
            sums = together.mapInArrow(_WriteSums(target), _RESULT_DDL)
            if isinstance(spark, SparkSession):
                with _given_up_if_idle(spark, f"batch {batch.number}"):
                    rows = sums.collect()
            else:
                rows = collected_over_connect(spark, sums.collect, f"batch {batch.number}", self._answers)
        except (PySparkException, Py4JError, OSError) as error:
            raise EnvironmentProblem(
                f"Spark failed while batch {batch.number} was counted: {spark_reason(error)}"
            ) from error
        after_read()
        news = [(row["what"], json.loads(row["json"])) for row in rows]
        counted = _summed(batch, reader, news, len(pieces), time.monotonic() - started)
        _see(target, counted.files)
        return counted


def _see(target: Target, files: Sequence[DataFile]) -> None:
    """Make sure that what executors wrote is where readers of the table, and this process, find it.

    Raises:
        EnvironmentProblem: A file is not there, or is another one.
    """
    for file in files:
        path = f"{target.root}/{file.path}"
        try:
            found: int | None = target.storage.stat(path).length
        except FileNotFoundError:
            found = None
        if found != file.size:
            seen = "this machine does not see it" if found is None else f"here it has {found} bytes"
            raise EnvironmentProblem(
                f"a Spark executor wrote {path} ({file.size} bytes), and {seen}: executors and this machine do not"
                " share the table's folder; use hdfs://, or mount it at the same path on every worker. Nothing was"
                " published"
            )


@contextmanager
def _given_up_if_idle(spark: SparkSession, what: str) -> Iterator[None]:
    """Cancel the block's jobs when no executor works on them: left to itself Spark waits for one for ever.

    Raises:
        EnvironmentProblem: None did, for `IDLE_SECONDS`.
    """
    context = spark.sparkContext
    ended = threading.Event()
    given_up = threading.Event()

    def watch() -> None:
        tracker = context.statusTracker()
        worked = time.monotonic()
        while not ended.wait(1.0):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            if not stages or any(stage and stage.numActiveTasks for stage in stages):
                worked = time.monotonic()
            elif time.monotonic() - worked >= IDLE_SECONDS:
                given_up.set()
                context.cancelAllJobs()
                return

    watcher = threading.Thread(target=watch, name="spark-idle", daemon=True)
    watcher.start()
    try:
        yield
    except (PySparkException, Py4JError) as error:
        if not given_up.is_set():
            raise
        raise _idle(f"Spark at {context.master}", what) from error
    finally:
        ended.set()
        watcher.join()


def _idle(where: str, what: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"no executor of {where} worked on {what} for {IDLE_SECONDS:.0f} s: start workers there,"
        " or see whether they have the cores and the memory free that are asked for. Nothing was published"
    )


def collected_over_connect(
    spark: ConnectSession, collect: Callable[[], list[Row]], what: str, answers: Callable[[], None] | None
) -> list[Row]:
    """Return what a query over Connect collects, unless its server hangs or no executor works on it.

    Args:
        spark: The session; of no use any more once the query was given up.
        collect: Runs the query.
        what: What is counted.
        answers: See `SparkEngine`.

    Raises:
        EnvironmentProblem: No executor worked on it for `IDLE_SECONDS`.
        Exception: Whatever `answers` or the query raises.
    """
    work = _Work()
    # By its shape a handler; its base class would have executors import gRPC.
    spark.registerProgressHandler(work)  # type: ignore[arg-type]

    def run() -> list[Row]:
        work.reported = _reports(spark)
        return collect()

    # Its worker is free again once the session's channel is closed.
    query = Call(run, Server("Spark", ""))
    asked = time.monotonic()
    try:
        while not query.wait(0.05 if time.monotonic() - asked < 1 else 1.0):
            if work.idle() >= IDLE_SECONDS:
                raise _idle("the Spark Connect server", what)
            if answers is not None and time.monotonic() - asked >= ANSWER_EVERY_SECONDS:
                answers()
                asked = time.monotonic()
    except BaseException:
        # The server ends what nobody collects.
        spark.client.close()
        raise
    spark.removeProgressHandler(work)  # type: ignore[arg-type]
    return query.result()


class _Work:
    """Whether executors work on a query, by what a Connect server reports every two seconds: how many tasks run."""

    def __init__(self) -> None:
        self.reported = False
        """Whether it reports that at all."""
        self._running = 0
        self._worked = time.monotonic()

    def __call__(
        self, stages: Iterable[object] | None, inflight_tasks: int, operation_id: str | None, done: bool
    ) -> None:
        del stages, operation_id, done
        if inflight_tasks or self._running:
            self._worked = time.monotonic()
        self._running = inflight_tasks

    def idle(self) -> float:
        """Return for how many seconds none has worked."""
        return time.monotonic() - self._worked if self.reported and not self._running else 0.0


def _reports(spark: ConnectSession) -> bool:
    every = spark.conf.get("spark.connect.progress.reportInterval", "0") or "0"
    return not every.startswith(("0", "-"))


def spark_reason(error: Exception) -> str:
    """Return what an error of Spark's says, in one line and without Java's stack."""
    # Py4J names the call first; the exception stands in a line of its own, after a colon.
    thrown = re.search(r"^: (?:[a-z]\w*\.)*(.+)", str(error), re.MULTILINE)
    return " ".join((thrown[1] if thrown else str(error)).split())[:300]


@dataclass(frozen=True, slots=True)
class _CountPieces:
    """The first stage, as a value that Spark can ship."""

    pieces: tuple[tuple[Split, ...], ...]
    reader: SplitReader
    tokenizer: Tokenizer
    shares: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                try:
                    yield from self._count(index, self.pieces[index])
                except (PlanAgain, WordtideError) as error:
                    # Raised on the driver instead, where its type still means something.
                    yield _news(index, "error", {"error": _pickled(error)})

    def _count(self, index: int, piece: Sequence[Split]) -> Iterator[pa.RecordBatch]:
        with Accumulator() as counts:
            tally = count_splits(self.reader, piece, self.tokenizer, counts)
            for rows in counts.result():
                yield from self._shared(rows)
            words = counts.words
        proofs = _pickled(tally.proofs)
        yield _news(index, "proofs", {"words": words, "invalid": tally.invalid, "proofs": proofs})

    def _shared(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        window, word, count = (rows.column(name) for name in ("window_start", "word", "count"))
        whole = pa.record_batch([window.cast(pa.int64()), word, count], schema=_ROWS)
        share_of = shares_of(word, self.shares)
        for share in range(self.shares):
            mine = whole.take(int64s(np.flatnonzero(share_of == share)))
            if len(mine):
                yield pa.record_batch([[share], [mine.serialize().to_pybytes()], [None]], schema=_PARTIAL)


@dataclass(frozen=True, slots=True)
class _WriteSums:
    """The second stage: sums and writes, passes news on."""

    target: Target

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        target = self.target
        with Accumulator() as sums:
            for batch in batches:
                _, messages, news = batch.columns
                if len(news) > news.null_count:
                    yield _result([json.loads(text) for text in news.drop_null().to_pylist()])
                for message in messages.drop_null():
                    # A copy, because inside the column its integers need not be aligned.
                    rows = pa.ipc.read_record_batch(pa.py_buffer(message.as_py()), _ROWS)
                    sums.add_table(pa.Table.from_batches([rows]))
            try:
                # A retried or speculative task must not write where its twin does.
                tag = f"-{uuid.uuid4().hex}"
                files = list(
                    write_counts(
                        target.storage,
                        target.root,
                        target.number,
                        target.attempt,
                        target.day,
                        sums.result(),
                        tag,
                    )
                )
            except WordtideError as error:
                yield _result([{"what": "error", "error": _pickled(error)}])
                return
            written = [{"what": "file", **asdict(file)} for file in files]
            yield _result(
                [
                    *written,
                    {"what": "totals", "words": sums.words, "distinct": sums.distinct},
                ]
            )


def _news(index: int, what: str, content: dict[str, Any]) -> pa.RecordBatch:
    text = json.dumps({"what": what, "piece": index, **content}, sort_keys=True)
    return pa.record_batch([[index], [None], [text]], schema=_PARTIAL)


def shares_of(words: pa.StringArray, shares: int) -> npt.NDArray[np.int64]:
    """Return each word's share, by a hash of its length and of its first and last eight bytes."""
    _, bounds, data = words.buffers()
    offsets = np.frombuffer(bounds, np.int32)[words.offset : words.offset + len(words) + 1]
    padded = np.zeros(int(offsets[-1]) + 16, np.uint8)
    padded[8:-8] = np.frombuffer(data, np.uint8)[: offsets[-1]]
    loads = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, strides=(1,))
    lengths = np.diff(offsets).astype(np.uint64)
    # Bytes of the word before, which are the lower ones, are shifted out.
    last = loads[offsets[1:]] >> (np.uint64(8) * (np.uint64(8) - np.minimum(lengths, np.uint64(8))))
    first = np.where(lengths > 8, loads[offsets[:-1] + 8], np.uint64(0))
    mixed = ((last ^ lengths) * np.uint64(0x9E3779B97F4A7C15)) ^ first
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    share: npt.NDArray[np.int64] = ((mixed >> np.uint64(32)) * np.uint64(shares) >> np.uint64(32)).astype(np.int64)
    return share


def _result(items: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    return pa.record_batch(
        [[item["what"] for item in items], [json.dumps(item) for item in items]],
        schema=_RESULT,
    )


def _pickled(value: Sequence[SplitProof] | Exception) -> str:
    """Return a value, whatever kind of source it is of, as JSON carries it beside the other news."""
    return base64.b64encode(pickle.dumps(value)).decode()


def _unpickled(text: str) -> Any:
    # Written by our own tasks a moment ago, not by a stranger.
    return pickle.loads(base64.b64decode(text))  # noqa: S301


def _together(errors: Sequence[Exception]) -> Exception:
    """Return the first error; if it is of the source, as if one reader had read all splits."""
    first = errors[0]
    return (
        first.joined([e for e in errors[1:] if isinstance(e, ReadFailed)]) if isinstance(first, ReadFailed) else first
    )


def _summed(
    batch: Batch, reader: SplitReader, news: Sequence[tuple[str, dict[str, Any]]], pieces: int, seconds: float
) -> Counted:
    errors = [_unpickled(packed["error"]) for what, packed in news if what == "error"]
    if errors:
        raise _together(errors)
    words = sum(packed["words"] for what, packed in news if what == "totals")
    counted = sum(packed["words"] for what, packed in news if what == "proofs")
    if sorted(packed["piece"] for what, packed in news if what == "proofs") != list(range(pieces)) or counted != words:
        # After the loss of an executor Spark computes parts again; only a batch that adds up is published.
        raise PlanAgain(f"Spark lost or repeated a part of batch {batch.number}")
    files = tuple(
        DataFile(packed["path"], packed["size"], packed["partition"], packed["stats"])
        for what, packed in news
        if what == "file"
    )
    proofs = [proof for what, packed in news if what == "proofs" for proof in _unpickled(packed["proofs"])]
    reader.settle(batch.splits, proofs)
    return Counted(
        files,
        merge_proofs(batch.splits, proofs),
        words=words,
        distinct=sum(packed["distinct"] for what, packed in news if what == "totals"),
        invalid=sum(packed["invalid"] for what, packed in news if what == "proofs"),
        engine=SparkEngine.name,
        seconds={"count": seconds},
    )

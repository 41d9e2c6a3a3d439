"""The drain: plan → read → count → prove → commit, batch after batch. The only place that strings effects together."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from wordtide.config import EngineName, Stream
from wordtide.core.model import Batch, Committed, Counted, Parked, Status, Stop
from wordtide.core.position import Position
from wordtide.core.problems import EnvironmentProblem, PlanAgain, ReadFailed, SourceUnavailable, WordtideError
from wordtide.core.source import EndsEarly, Source, SourcePlan, SplitReader
from wordtide.core.stalls import CONFIRM_SECONDS, Blockers, Stalls
from wordtide.counting.local import Target
from wordtide.counting.tokenizer import Tokenizer
from wordtide.drain.pacing import Moment, Pace, choose_engine, is_extra, next_wait
from wordtide.storage.local import NO_ROOM
from wordtide.table.commit import Snapshot, SnapshotGone, WordCounts
from wordtide.table.files import utc_now
from wordtide.table.ledger import Ledger
from wordtide.table.maintain import compact_if_needed
from wordtide.table.repeats import repeats_line, with_repeats
from wordtide.table.upkeep import Upkeep

log = logging.getLogger("wordtide")

PLAN_AGAIN_LIMIT = 50
"""Plans in a row that come to nothing (lost races, files that keep changing) before a drain gives up."""
FUTURE_SECONDS = 86_400
"""Timestamps further ahead than this are absurd."""
COMPACT_EVERY = 50
"""Batches between two looks at the number of live files."""


class Step(StrEnum):
    """The points between which a batch is in one state; the fault kit stops processes at them."""

    READ = "after-read"
    WRITE = "after-write"
    COMMIT = "in-commit"
    REPORT = "after-commit"


def reached(step: Step) -> None:
    """Mark a step. Does nothing; the fault kit replaces it."""


class Engine(Protocol):
    """Counts a batch."""

    name: str

    def count(
        self,
        batch: Batch,
        reader: SplitReader,
        tokenizer: Tokenizer,
        target: Target,
        after_read: Callable[[], None],
    ) -> Counted:
        """Read and count a batch's splits, write its count files, and return what it counted with a proof a split."""


@dataclass(slots=True)
class Summary:
    """What a drain did.

    Attributes:
        batches: Batches committed, ledger-only ones included.
        words: Words counted.
        records: Records, or lines of files.
        backlog: Records or files that waited when it ended.
        blockers: What waits for a decision, and what could not move at the last poll and is recorded as stalled or was
            left out.
        last: The last batch number of the table.
        position: What the table has taken; None before the first look.
    """

    batches: int = 0
    words: int = 0
    records: int = 0
    backlog: int = 0
    blockers: Blockers = field(default_factory=Blockers)
    last: int = -1
    position: Position | None = None

    @property
    def parked(self) -> list[str]:
        """Names of what waits for a decision."""
        return list(self.blockers.parked)

    @property
    def stalled(self) -> list[str]:
        """What could not move at the last poll, each with why."""
        return [one.line for one in self.blockers.stalled]

    @property
    def left_out(self) -> str:
        """What of a folder nobody takes, as one line."""
        return self.blockers.left_out

    def add(self, committed: Committed) -> None:
        """Take in one more batch."""
        self.batches += 1
        self.last = committed.batch.number
        if committed.counted:
            self.words += committed.counted.words
            self.records += sum(proof.records or proof.lines for proof in committed.counted.proofs)


def _status(
    parked: Sequence[Parked], stalled: Sequence[Parked], settled: Sequence[Parked], away: Sequence[Parked]
) -> Status:
    """Return what a batch records, of several kinds of news the first."""
    if parked:
        return Status.PARKED
    if stalled:
        return Status.STALLED
    if settled:
        return Status.SETTLED
    return Status.PUT_AWAY if away else Status.PUBLISHED


class Drain:
    """Drains one stream into its table. One thread; `stop` may be set from another.

    Args:
        stream: The stream.
        source: Its topic or folder.
        table: Its table.
        engines: By name; `spark` may be missing where it is never chosen.
        run_id: Goes into the ledger.
        on_commit: Called after each commit; must be quick.
        on_poll: Called at each poll with what is recorded as parked or stalled; must be quick.
        stop: Ends the drain after the batch in hand.
        own_cores: Cores of this machine that the Spark engine uses; None if Spark runs elsewhere.
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        table: WordCounts,
        engines: Mapping[EngineName, Engine],
        *,
        run_id: str,
        on_commit: Callable[[Committed], None],
        on_poll: Callable[[Blockers], None] | None = None,
        stop: threading.Event | None = None,
        own_cores: int | None = None,
    ) -> None:
        self._stream = stream
        self._own_cores = own_cores
        self._source = source
        self._table = table
        self._engines = engines
        self._run_id = run_id
        self._on_commit = on_commit
        self._on_poll = on_poll
        self._stop = stop or threading.Event()
        self._ledger: Ledger | None = None
        self._suspected: dict[str, float] = {}
        self._stalls = Stalls(stream.config.stalled_after)
        self._parked_last = self._ledger_only_last = False
        self._untidy: WordtideError | None = None
        self._since_compaction = COMPACT_EVERY
        self._upkeep = Upkeep(table)
        self._beside = ThreadPoolExecutor(1, f"look-{stream.name}")

    def run(self, pace: Pace) -> Summary:
        """Take batches until the pace says to end.

        Raises:
            WordtideError: One line; everything committed so far stays.
        """
        summary = Summary()
        # Now, so that no batch is counted in vain; `commit` makes sure.
        self._table.bring_up_to_date(self._snapshot())
        self._tidy()
        if pace.by_hand:
            self._source.fix_ends()
        try:
            self._take(pace, summary)
        finally:
            self._upkeep.finish()
        if self._untidy is not None:
            # At the end: nothing has to wait for it.
            raise self._untidy
        if self._ledger is not None:
            summary.blockers = replace(summary.blockers, parked=tuple(sorted(self._ledger.parked)))
            summary.last = self._ledger.last
        return summary

    def _take(self, pace: Pace, summary: Summary) -> None:
        began = last_data = batch_began = time.monotonic()
        fruitless = 0
        extra = False
        while not self._stop.is_set():
            self._upkeep.nudge()
            if not extra:
                batch_began = time.monotonic()
            try:
                plan, committed = self._next(summary)
            except PlanAgain as reason:
                fruitless += 1
                if fruitless >= PLAN_AGAIN_LIMIT:
                    raise SourceUnavailable(
                        f"stream {self._stream.name}: gave up after {fruitless} plans in a row; the last: {reason}"
                    ) from reason
                log.info("stream %s: planning again: %s", self._stream.name, reason)
                if not pace.by_hand and time.monotonic() - began >= pace.max_run:
                    break
                self._stop.wait(min(0.02 * fruitless, 1.0))
                continue
            fruitless = 0
            now = time.monotonic()
            if committed is not None:
                last_data = now
            more = self._tidy()
            moment = Moment(
                now,
                began,
                batch_began,
                last_data,
                committed is not None,
                plan.behind or bool(plan.parked) or more,
                plan.waiting > 0,
                # It may move at any moment, and if it does not, it is for this run to record that.
                any(not one.recorded for one in plan.held),
                plan.due,
            )
            pause = next_wait(pace, moment)
            if pause is None:
                break
            extra = is_extra(pace, moment)
            self._stop.wait(pause)

    def _snapshot(self) -> Snapshot:
        """Open the table, founding it first where there is none."""
        snapshot = self._table.snapshot(self._ledger)
        if snapshot is None:
            founding = self._beside.submit(self._source.found).result()
            self._table.found(founding, uuid.uuid4().hex, self._run_id)
            snapshot = self._table.snapshot()
            if snapshot is None:
                raise SourceUnavailable(f"table {self._table.uri} is not there right after it was founded")
        self._ledger = snapshot.ledger
        return snapshot

    def _next(self, summary: Summary) -> tuple[SourcePlan, Committed | None]:
        """Plan and, if there is anything to take, commit one batch."""
        started = time.monotonic()
        look = self._beside.submit(self._source.look)
        try:
            snapshot = self._snapshot()
        finally:
            # A source is one thread's at a time.
            wait([look])
        try:
            plan = look.result().plan(snapshot.ledger, snapshot.position)
            if plan.parked:
                # What another drain took between the look and the snapshot would seem to be lost.
                plan = self._source.look().plan(snapshot.ledger, snapshot.position)
        except SnapshotGone as gone:
            raise PlanAgain(str(gone)) from gone
        recorded = Blockers.recorded(snapshot.ledger.parked, plan.held, plan.left_out.line)
        if self._on_poll is not None:
            self._on_poll(recorded)
        summary.backlog = plan.backlog
        stalled = self._stalls.due(plan.held, plan.splits, time.monotonic(), utc_now())
        due = {one.what for one in stalled}
        held = (one.parked for one in plan.held if one.recorded or not one.usual or one.parked.what in due)
        summary.blockers = replace(recorded, stalled=tuple(held))
        parked = self._confirmed(plan)
        if plan.splits and self._parked_last:
            # Turn and turn about: an endless row of bad files must not keep the good ones waiting.
            parked = ()
        # By turns with the rest, for the same reason.
        settled, away = ((), ()) if plan.splits and self._ledger_only_last else (plan.settled, plan.away)
        # What is parked or stalled is recorded by itself, so that a failing read never keeps it from the ledger.
        noted = parked or stalled or settled or away
        unconfirmed = plan.unconfirmed
        if unconfirmed and not noted and not plan.splits:
            self._stop.wait(CONFIRM_SECONDS)
            raise PlanAgain(f"{unconfirmed[0].what}: {unconfirmed[0].reason}; checking again")
        if not noted and not plan.splits:
            summary.position = plan.position
            return plan, None
        batch = Batch(
            self._stream.name,
            snapshot.next_batch,
            uuid.uuid4().hex,
            utc_now(),
            snapshot.version,
            () if noted else plan.splits,
            (snapshot.batch_transaction(), *(() if noted else plan.transactions)),
            noted,
            plan.backlog,
            plan.taken if noted else plan.position,
            _status(parked, stalled, settled, away),
        )
        try:
            counted = None if noted else self._count(batch, snapshot.ledger, time.monotonic() - started)
            if counted is not None and (stops := tuple(proof.stop for proof in counted.proofs if proof.stop)):
                batch, counted = self._what_was_read(batch, counted, stops)
                # The rest waits.
                plan = replace(plan, behind=True)
        except ReadFailed as problem:
            self._source.reject(problem)
            raise PlanAgain(str(problem)) from problem
        counted = with_repeats(counted, snapshot.ledger) if counted is not None else None
        reached(Step.COMMIT)
        committed = self._table.commit(snapshot, batch, counted, self._run_id)
        reached(Step.REPORT)
        summary.add(committed)
        summary.position = batch.position
        self._parked_last = bool(parked)
        self._ledger_only_last = batch.status in {Status.SETTLED, Status.PUT_AWAY}
        if counted is not None and (repeats := repeats_line(counted)) is not None:
            log.warning("stream %s: batch %d: %s", self._stream.name, batch.number, repeats)
        self._on_commit(committed)
        self._compact()
        return plan, committed

    def _what_was_read(self, batch: Batch, counted: Counted, stops: Sequence[Stop]) -> tuple[Batch, Counted]:
        """Return the batch without what was not read of it.

        Raises:
            ReadFailed: Nothing was.
        """
        assert isinstance(self._source, EndsEarly)
        short = self._source.ended_early(stops)
        batch, counted = self._source.shortened(batch, counted)
        if not batch.splits:
            raise short
        self._source.reject(short)
        log.info("stream %s: batch %d ends early: %s", self._stream.name, batch.number, short)
        return batch, counted

    def _confirmed(self, plan: SourcePlan) -> tuple[Parked, ...]:
        """Return what an earlier look, long enough ago, would have parked too."""
        now = time.monotonic()
        self._suspected = {parked.what: self._suspected.get(parked.what, now) for parked in plan.parked}
        return tuple(parked for parked in plan.parked if now - self._suspected[parked.what] >= CONFIRM_SECONDS)

    def _count(self, batch: Batch, ledger: Ledger, planning: float) -> Counted:
        config = self._stream.config
        reachable = not self._stream.unshared_paths
        engine = self._engines[choose_engine(config, batch.splits, self._own_cores, reachable=reachable)]
        latest_ms = int((batch.planned_at.timestamp() + FUTURE_SECONDS) * 1000)
        target = Target.of(batch, self._table.storage, self._table.root)
        verified: list[Future[None]] = []

        def after_read() -> None:
            reached(Step.READ)
            verified.append(self._beside.submit(self._source.verify, ledger, batch.splits))

        try:
            counted = engine.count(batch, self._source.reader(latest_ms), config.tokenizer, target, after_read)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            # Storages say it themselves, so it is what the counts spilled.
            raise EnvironmentProblem(
                f"{tempfile.gettempdir()}: no space left for temporary files while batch {batch.number} was counted;"
                " free some, or set TMPDIR to a larger disk. Nothing was published"
            ) from error
        finally:
            wait(verified)
        counted.seconds["plan"] = planning
        reached(Step.WRITE)
        for proof in verified:
            proof.result()
        return counted

    def _tidy(self) -> bool:
        """Put away some of what was counted; return whether more waits. What keeps it from that ends the drain last."""
        if self._ledger is None:
            return False
        more, self._untidy = self._source.tidy(self._ledger)
        return more

    def _compact(self) -> None:
        """Keep live files few between batches: they drive the cost of every commit."""
        self._since_compaction += 1
        if self._since_compaction >= COMPACT_EVERY:
            self._since_compaction = 0
            compact_if_needed(self._table)

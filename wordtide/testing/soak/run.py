"""Runs a soak and judges it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wordtide.config import Stream
from wordtide.drain.loop import Step
from wordtide.testing.ledger import assert_no_orphan_visible, assert_numbered
from wordtide.testing.network import Proxy
from wordtide.testing.place import Place
from wordtide.testing.servers import Broker
from wordtide.testing.soak.account import FolderAccount, TopicAccount, Verdict
from wordtide.testing.soak.drains import Drains
from wordtide.testing.soak.faults import BrokerFaults, Deck, FolderFaults, Later, NameNodeFaults, TopicFaults
from wordtide.testing.soak.feed import FolderFeed, TopicFeed, text_of
from wordtide.testing.soak.journal import Journal
from wordtide.testing.soak.operator import Operator
from wordtide.testing.waiting import wait_until

LONG_SECONDS = 120.0
"""In a soak of this length everything must have happened once."""
START_SECONDS = 120.0
ROUNDS = 50
"""Looks at what is left when the faults are over, until all of it is taken and decided."""


@dataclass(slots=True)
class SoakReport:
    """What a soak did.

    Attributes:
        seed: Repeats its decisions.
        seconds: How long faults happened.
        counts: How often each thing happened.
        totals: What came of it, by stream.
        problem: Why it failed, if it did.
        journal: What was done, in order.
    """

    seed: int
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    problem: str = ""
    journal: Path | None = None

    def lines(self) -> list[str]:
        """Return it as lines for people."""
        return [
            *(f"{count:6,} {what}" for what, count in sorted(self.counts.items())),
            *(
                f"{name}: " + ", ".join(f"{n:,} {what}" for what, n in came.items())
                for name, came in self.totals.items()
            ),
            *((f"FAILED: {self.problem}", f"journal: {self.journal}") if self.problem else ("everything adds up",)),
        ]


def soak(
    place: Place, home: Path, seconds: float, seed: int | None, report: Callable[[SoakReport], None]
) -> Callable[..., None]:
    """Return the function that soaks streams of a place, a topic, a folder or both.

    Args:
        place: Whose streams they are.
        home: The home of its servers, whose broker will be stopped and killed.
        seconds: How long faults happen; then comes the judgement.
        seed: Repeats the decisions of another soak; what they meet depends on the machine.
        report: Is told what happened, also when it fails.
    """

    def run(*streams: Stream) -> None:
        chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
        journal = Journal(place.folder / "soak.jsonl")
        told = SoakReport(chosen, seconds, journal.counts, journal=journal.path)
        journal.remark("soak", seed=chosen, seconds=seconds, streams=[stream.name for stream in streams])
        try:
            Soak(place, home, streams, chosen, journal, told.totals).run(seconds)
        except BaseException as error:
            told.problem = " ".join(f"{type(error).__name__}: {error}".split())[:2000]
            journal.remark("failed", error=told.problem)
            error.add_note(f"soak with seed {chosen}; what was done: {journal.path}")
            raise
        finally:
            report(told)

    return run


class Soak:
    """One soak. Everything but the drains happens in one thread."""

    def __init__(
        self,
        place: Place,
        home: Path,
        streams: Sequence[Stream],
        seed: int,
        journal: Journal,
        totals: dict[str, dict[str, int]],
    ) -> None:
        self._place = place
        self._broker = Broker(home, place.cluster.kafka)
        self._streams = streams
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._journal = journal
        self._totals = totals
        self._later = Later()
        self._broker_faults = BrokerFaults(self._broker, self._later, self._chance)
        self._topics: dict[str, tuple[TopicFeed, TopicAccount]] = {}
        self._folders: dict[str, tuple[FolderFeed, FolderAccount]] = {}
        for stream in streams:
            tokenizer = stream.config.tokenizer.value
            if (kafka := stream.config.kafka) is not None:
                assert kafka.start == "earliest", (
                    f"{stream.name}: a soak needs kafka.start earliest, it counts everything"
                )
                assert kafka.gaps == "allow", f"{stream.name}: a soak needs kafka.gaps allow, it sends transactions"
                account = TopicAccount(tokenizer)
                feed = TopicFeed(self._broker, kafka.topic, kafka.isolation, self._chance, account)
                self._topics[stream.name] = (feed, account)
            elif (landing := stream.config.landing) is not None:
                assert landing.after == "keep", (
                    f"{stream.name}: a soak needs landing.after keep, it changes counted files"
                )
                files = FolderAccount(tokenizer)
                storage, root = place.landing(stream)
                folder = FolderFeed(storage, root, landing.glob, place.hdfs, self._chance, files)
                self._folders[stream.name] = (folder, files)

    def run(self, seconds: float) -> None:
        """Shake, calm down, judge.

        Raises:
            AssertionError: Something does not add up.
        """
        with ExitStack() as stack:
            proxies = (
                stack.enter_context(Proxy(self._place.cluster.hdfs.removeprefix("hdfs://"))),
                stack.enter_context(Proxy(self._place.cluster.webhdfs)),
            )
            operators = [
                stack.enter_context(closing(Operator(self._place, stream, self._chance, self._journal)))
                for stream in self._streams
            ]
            # Whatever goes wrong, the broker is other tests' as well.
            stack.enter_context(closing(self._broker_faults))
            drains = stack.enter_context(closing(self._drains(proxies)))
            deck = self._deck(drains, proxies)
            self._start(drains)
            self._shake(seconds, drains, deck, operators)
            self._later.run(everything=True)
            drains.close()
            self._calm(operators)
        for stream in self._streams:
            self._judge(stream)
        never = self._missing(seconds, deck)
        assert not never, f"this never happened: {never}"

    def _drains(self, proxies: tuple[Proxy, Proxy]) -> Drains:
        environment = {
            **self._place.environment(),
            "WORDTIDE_HDFS_URL": f"hdfs://{proxies[0].address}",
            "WORDTIDE_WEBHDFS": proxies[1].address,
        }
        names = [stream.name for stream in self._streams]
        return Drains(names, self._place.folder, environment, self._chance, self._journal)

    def _deck(self, drains: Drains, proxies: tuple[Proxy, Proxy]) -> Deck:
        faults = dict(NameNodeFaults(proxies, self._later, self._chance).faults())
        if self._topics:
            faults.update(self._broker_faults.faults())
        for name, (topic, _) in self._topics.items():
            possible = TopicFaults(topic, drains, self._broker_faults, self._later, self._chance).faults()
            faults.update({f"{name}: {fault}": harm for fault, harm in possible.items()})
        for name, (folder, _) in self._folders.items():
            possible = FolderFaults(folder, self._later, self._chance).faults()
            faults.update({f"{name}: {fault}": harm for fault, harm in possible.items()})
        return Deck(faults, self._chance, self._journal)

    def _start(self, drains: Drains) -> None:
        """Begin when the drains have: on a busy machine their first start takes many seconds."""

        def at_work() -> bool:
            drains.tend()
            self._feed()
            return drains.awake

        wait_until("a drain is at work", at_work, START_SECONDS)

    def _shake(self, seconds: float, drains: Drains, deck: Deck, operators: Sequence[Operator]) -> None:
        due = looked = replayed = began = time.monotonic()
        # A busy machine gets as much time again for what has not happened yet.
        while (now := time.monotonic()) < began + seconds or (
            self._missing(seconds, deck) and now < began + 2 * seconds
        ):
            drains.tend()
            self._feed()
            self._later.run()
            if now >= due:
                deck.deal()
                due = now + self._chance.uniform(0.3, 2.2)
            if now >= looked + 1.0 and self._broker_faults.there:
                for operator in operators:
                    operator.look(patience=2.0)
                looked = now
            if now >= replayed + 5.0 and self._broker_faults.there:
                self._chance.choice(operators).replay()
                replayed = now
            time.sleep(0.1)

    def _feed(self) -> None:
        for topic, _ in self._topics.values():
            topic.give(self._chance.randrange(20))
        for folder, _ in self._folders.values():
            if self._chance.random() < 0.2:
                folder.give(self._chance.randrange(30))

    def _calm(self, operators: Sequence[Operator]) -> None:
        """Take everything there is, until nothing waits and nothing is parked."""
        for topic, _ in self._topics.values():
            topic.end(commit=True)
            topic.settle()
        waiting: list[Any] = ["everything"]
        for _ in range(ROUNDS):
            waiting = []
            for stream, operator in zip(self._streams, operators, strict=True):
                summary = self._place.drain(stream)
                operator.look(patience=0.0)
                waiting += [summary.backlog] if summary.backlog else []
                waiting += [summary.batches] if summary.batches else []
                # What a slow server held up is tried again.
                waiting += summary.stalled
                waiting += operator.parked()
            if not waiting:
                return
        raise AssertionError(f"after {ROUNDS} rounds this still waits: {waiting}")

    def _judge(self, stream: Stream) -> None:
        rows = self._place.ledger(stream)
        assert_numbered(rows)
        verdict = (
            self._topic_verdict(stream, rows) if stream.name in self._topics else self._folder_verdict(stream, rows)
        )
        assert not verdict.problems, f"{stream.name}: {len(verdict.problems)} problems: {verdict.problems[:10]}"
        counted = self._place.counted(stream)
        wrong = {
            word: (counted[word], verdict.words[word])
            for word in counted | verdict.words
            if counted[word] != verdict.words[word]
        }
        assert not wrong, f"{stream.name}: {len(wrong)} words differ (counted, sent): {dict(list(wrong.items())[:10])}"
        orphans = assert_no_orphan_visible(self._place.table(stream), rows)
        statuses = Counter(row["status"] for row in rows)
        self._totals[stream.name] = {
            "words": verdict.words.total(),
            "batches": len(rows),
            **statuses,
            "orphans": orphans,
        }

    def _topic_verdict(self, stream: Stream, rows: Sequence[dict[str, Any]]) -> Verdict:
        feed, account = self._topics[stream.name]
        # A killed broker may have forgotten a deletion: then deleted records are back.
        deleted = {number: account.deleted.get((feed.topic_id, number), 0) for number in range(feed.partitions)}
        sent = {
            (number, offset, record.value)
            for number in deleted
            for offset, record in account.records.get((feed.topic_id, number), {}).items()
            if record.committed and offset >= deleted[number]
        }
        held = {(number, offset, value) for (number, offset), value in feed.held().items() if offset >= deleted[number]}
        wrong = sorted(sent ^ held)
        assert not wrong, f"{stream.name}: the soak's own account is wrong about {len(wrong)} records: {wrong[:10]}"
        return account.verdict(rows)

    def _folder_verdict(self, stream: Stream, rows: Sequence[dict[str, Any]]) -> Verdict:
        feed, account = self._folders[stream.name]
        held = {
            path: text_of(lines)
            for path, identity in account.latest.items()
            if path not in account.deleted and (lines := account.versions[path][identity]) is not None
        }
        found = feed.held()
        wrong = [path for path, content in held.items() if found.get(path) != content]
        assert not wrong, f"{stream.name}: the soak's own account is wrong about {wrong[:5]}"
        return account.verdict(rows)

    def _missing(self, seconds: float, deck: Deck) -> list[str]:
        """Return what a long soak must have done and has not yet."""
        if seconds < LONG_SECONDS:
            return []
        wanted = [*deck.faults, *(f"kill {step}" for step in Step), "kill from outside", "compaction", "replay"]
        if self._topics:
            wanted += ["decided skip", "decided from-earliest"]
        if self._folders:
            wanted += ["decided recount"]
        return [what for what in wanted if not self._journal.counts[what]]

"""The faults of a soak: each does its harm at once, and says what is to follow and when."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from wordtide.testing.network import Proxy, silent
from wordtide.testing.servers import Broker
from wordtide.testing.soak.drains import Drains
from wordtide.testing.soak.feed import FolderFeed, TopicFeed
from wordtide.testing.soak.journal import Journal

Fault = Callable[[], dict[str, Any] | None]
"""Does harm and says more about it; None if it cannot just now."""
MOST_PARTITIONS = 6


class Later:
    """What is to be done at some time; nothing is forgotten."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Callable[[], object]]] = []

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something so many seconds from now."""
        self._waiting.append((time.monotonic() + seconds, action))

    def run(self, *, everything: bool = False) -> None:
        """Do what is due; or everything, each at its time, what it leads to included."""
        while self._waiting:
            first = min(self._waiting, key=lambda entry: entry[0])
            wait = first[0] - time.monotonic()
            if wait > 0 and not everything:
                return
            time.sleep(max(0.0, wait))
            self._waiting.remove(first)
            first[1]()


class BrokerFaults:
    """The broker is gone for a while."""

    def __init__(self, broker: Broker, later: Later, chance: random.Random) -> None:
        self.there = True
        self._broker = broker
        self._later = later
        self._chance = chance
        self._silence = ExitStack()

    def close(self) -> None:
        """Have the broker back, whatever goes on."""
        self._silence.close()
        self._broker.restart()

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults by name."""
        return {"broker silent": self.silence, "broker killed": self.kill}

    def silence(self) -> dict[str, Any] | None:
        """Connections stay open and nothing comes through them."""
        if not self.there:
            return None
        self.there = False
        self._silence.enter_context(silent(self._broker))

        def speak() -> None:
            self._silence.close()
            self.there = True

        self._later.after(self._chance.uniform(0.5, 5.0), speak)
        return {}

    def kill(self) -> dict[str, Any] | None:
        """Its port is closed, and opened again."""
        if not self.there:
            return None
        self.there = False
        self._broker.kill()
        # Beside us: the drains are to be killed meanwhile.
        restart = threading.Thread(target=self._broker.restart)

        def wait() -> None:
            if restart.is_alive():
                self._later.after(0.1, wait)
                return
            restart.join()
            self.there = True

        def begin() -> None:
            restart.start()
            wait()

        self._later.after(self._chance.uniform(0.0, 2.0), begin)
        return {}


class TopicFaults:
    """What happens to a topic."""

    def __init__(self, feed: TopicFeed, drains: Drains, broker: BrokerFaults, later: Later, chance: random.Random):
        self._feed = feed
        self._drains = drains
        self._broker = broker
        self._later = later
        self._chance = chance

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults by name."""
        possible: dict[str, Fault] = {
            "retention": self.retention,
            "retention of what is counted": self.harmless_retention,
            "topic recreated": self.recreate,
            "partition added": self.grow,
            "transaction committed late": lambda: self.transaction(commit=True),
            "transaction aborted late": lambda: self.transaction(commit=False),
        }
        return {name: self._when_there(fault) for name, fault in possible.items()}

    def _when_there(self, fault: Fault) -> Fault:
        return lambda: fault() if self._broker.there else None

    def retention(self) -> dict[str, Any] | None:
        """The drains sleep while records come and go: some of them are lost uncounted."""
        partition = self._chance.randrange(self._feed.partitions)
        with self._drains.asleep():
            end = self._feed.burst(self._chance.randrange(5, 60), partition)
            below = end - self._chance.randrange(5)
            self._feed.delete_below(partition, below)
        return {"partition": partition, "below": below}

    def harmless_retention(self) -> dict[str, Any] | None:
        """Old records go, most of them counted; those in flight may be lost."""
        partition = self._chance.randrange(self._feed.partitions)
        end = self._feed.burst(1, partition)
        below = max(0, end - self._chance.randrange(50, 200))
        self._feed.delete_below(partition, below)
        return {"partition": partition, "below": below}

    def recreate(self) -> dict[str, Any] | None:
        """Another topic has the name; some of it is there before anybody looks."""
        self._feed.recreate(self._chance.randrange(2, 5))
        self._feed.give(self._chance.randrange(200))
        return {"topic_id": self._feed.topic_id, "partitions": self._feed.partitions}

    def grow(self) -> dict[str, Any] | None:
        """There is one more partition."""
        if self._feed.partitions >= MOST_PARTITIONS:
            return None
        self._feed.grow()
        return {"partitions": self._feed.partitions}

    def transaction(self, *, commit: bool) -> dict[str, Any] | None:
        """A transaction stays open for a while: nothing behind it can be read."""
        if self._feed.open:
            return None
        self._feed.begin(self._chance.randrange(1, 50))

        def end() -> None:
            if self._broker.there:
                self._feed.end(commit=commit)
            else:
                self._later.after(0.3, end)

        self._later.after(self._chance.uniform(0.0, 3.0), end)
        return {}


class FolderFaults:
    """What happens to landed files."""

    def __init__(self, feed: FolderFeed, later: Later, chance: random.Random) -> None:
        self._feed = feed
        self._later = later
        self._chance = chance

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults by name."""
        possible: dict[str, Fault] = {
            "late rename": self.late_rename,
            "rewritten, same length": lambda: self.rewrite("length"),
            "rewritten, same mtime": lambda: self.rewrite("mtime"),
            "rewritten twice": self.rewrite_twice,
            "appended": self.append,
            "deleted": self.delete,
        }
        if self._feed.on_hdfs:
            possible["slow writer"] = self.slow_writer
        if self._feed.packs:
            possible["corrupt"] = lambda: self.corrupt(mend=False)
            possible["corrupt, then mended"] = lambda: self.corrupt(mend=True)
        return possible

    def late_rename(self) -> dict[str, Any] | None:
        """A file appears with an old mtime."""
        self._later.after(self._chance.uniform(0.0, 4.0), self._feed.give_late())
        return {}

    def slow_writer(self) -> dict[str, Any] | None:
        """A file is there for all to see, and grows."""
        write, finish = self._feed.give_slowly()
        at = 0.0
        for _ in range(self._chance.randrange(1, 4)):
            at += self._chance.uniform(0.1, 1.5)
            self._later.after(at, write)
        self._later.after(at + self._chance.uniform(0.0, 1.0), finish)
        return {}

    def rewrite(self, same: str) -> dict[str, Any] | None:
        """A file holds something else under its name."""
        path = self._feed.some_file()
        if path is None:
            return None
        self._feed.rewrite(path, same=same)
        return {"path": path}

    def rewrite_twice(self) -> dict[str, Any] | None:
        """And again before anybody has decided."""
        path = self._feed.some_file()
        if path is None:
            return None
        self._feed.rewrite(path, same="length")
        self._feed.rewrite(path, same="neither")
        return {"path": path}

    def append(self) -> dict[str, Any] | None:
        """A file grows after it was closed."""
        path = self._feed.some_file()
        if path is None:
            return None
        self._feed.append(path)
        return {"path": path}

    def corrupt(self, *, mend: bool) -> dict[str, Any] | None:
        """A compressed file breaks off."""
        path = self._feed.give_corrupt()
        if mend:
            self._later.after(self._chance.uniform(1.0, 6.0), lambda: self._feed.rewrite(path, same="neither"))
        return {"path": path}

    def delete(self) -> dict[str, Any] | None:
        """A file goes, counted or not."""
        path = self._feed.some_file()
        if path is None:
            return None
        self._feed.delete(path)
        return {"path": path}


class NameNodeFaults:
    """The NameNode's ports are closed for a while, for the drains; those who land files know another way."""

    def __init__(self, proxies: tuple[Proxy, Proxy], later: Later, chance: random.Random) -> None:
        self._proxies = proxies
        self._later = later
        self._chance = chance
        self._there = True

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults by name."""
        return {"NameNode cut off": self.cut, "connections to the NameNode reset": self.reset}

    def cut(self) -> dict[str, Any] | None:
        """Both ports are closed."""
        if not self._there:
            return None
        self._there = False
        for proxy in self._proxies:
            proxy.cut()

        def mend() -> None:
            for proxy in self._proxies:
                proxy.mend()
            self._there = True

        self._later.after(self._chance.uniform(0.2, 4.0), mend)
        return {}

    def reset(self) -> dict[str, Any] | None:
        """What was under way is lost; the next attempt succeeds."""
        if not self._there:
            return None
        for proxy in self._proxies:
            proxy.cut()
            proxy.mend()
        return {}


class Deck:
    """Deals faults at random, each as often as the others."""

    def __init__(self, faults: Mapping[str, Fault], chance: random.Random, journal: Journal) -> None:
        self.faults = dict(faults)
        self._chance = chance
        self._journal = journal
        self._waiting: list[str] = []

    def deal(self) -> None:
        """Let one happen; those that cannot just now come later."""
        if not self._waiting:
            self._waiting = sorted(self.faults)
            self._chance.shuffle(self._waiting)
        for name in self._waiting:
            details = self.faults[name]()
            if details is not None:
                self._waiting.remove(name)
                self._journal.note(name, **details)
                return

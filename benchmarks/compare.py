"""`python -m benchmarks.compare OLD NEW`: whether one checkout of Wordtide has become slower than another.

Both run at the same time on the same broker, a warm batch or a backlog of one after that of the other, in turns: what
else the machine does meets both. A pair gives a ratio, new : old; the interval is that of their median.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import Servers
from benchmarks.data import zipf_lines
from benchmarks.measure import interval_of_median, percentile
from wordtide.cli.produce import Sender, ensure_topic

LINES = 1000
WARM_UP = 5
PARTITIONS = 4
MESSAGES = 200_000
LIMIT = 1.03
"""The interval has to reach down to this."""
_WORKER = Path(__file__).with_name("one_side.py")


class Side:
    """A checkout's process."""

    def __init__(self, process: subprocess.Popen[str], topic: str) -> None:
        self._process = process
        self.topic = topic

    def seconds(self, what: str, records: int) -> float:
        """Return what a warm batch or a backlog took.

        Raises:
            RuntimeError: The process ended, or counted something else.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.topic} ended; its log is above")
        answer = json.loads(line)
        if answer["records"] != records:
            raise RuntimeError(f"{self.topic}: {answer['records']} records were counted, not {records}")
        return float(answer["seconds"])


@contextmanager
def side(name: str, checkout: Path, bootstrap: str, folder: Path) -> Iterator[Side]:
    """Start a checkout's process, with the checkout's own Python if it has one; end it with the block."""
    folder.mkdir()
    python = checkout / ".venv" / "bin" / "python"
    given = {"bootstrap": bootstrap, "folder": str(folder), "warm": f"warm-{name}", "backlog": "backlog"}
    process = subprocess.Popen(
        [str(python if python.exists() else sys.executable), str(_WORKER), json.dumps(given)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Side(process, given["warm"])
    finally:
        process.terminate()
        process.wait(30)


def report(what: str, ratios: Sequence[float]) -> bool:
    """Print the ratio's median with its interval; return whether that reaches down to the limit."""
    low, high = interval_of_median(ratios)
    fine = low <= LIMIT
    print(
        f"{what}: new : old = {percentile(ratios, 50):.3f}, 95 % interval [{low:.3f}, {high:.3f}] of {len(ratios)}"
        f" pairs: {'not slower' if fine else f'SLOWER: the interval does not reach down to {LIMIT}'}",
        flush=True,
    )
    return fine


def main() -> int:
    """Compare two checkouts; 1 if the new one is slower."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=Path, help="a checkout, with its .venv")
    parser.add_argument("new", type=Path, help="another")
    parser.add_argument("--pairs", type=int, default=40, help="of warm batches; of backlogs half as many (from 20 on)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wordtide-compare-") as temporary, ExitStack() as ending:
        servers = Servers(Path(temporary) / "home")
        ending.callback(servers.stop)
        kafka = servers.kafka
        for topic in ("warm-old", "warm-new", "backlog"):
            ensure_topic(kafka, topic, PARTITIONS)
        _send(Sender(kafka, "backlog"), 0, MESSAGES)
        senders = {topic: Sender(kafka, topic) for topic in ("warm-old", "warm-new")}
        sides = [
            ending.enter_context(side(name, path.resolve(), kafka.bootstrap, Path(temporary) / name))
            for name, path in (("old", chosen.old), ("new", chosen.new))
        ]

        def pair(number: int, what: str) -> float:
            if what == "warm":
                for one in sides:
                    _send(senders[one.topic], number, LINES)
            # Who goes first changes: the second finds the broker's pages read.
            order = sides if number % 2 else sides[::-1]
            took = {one.topic: one.seconds(what, LINES if what == "warm" else MESSAGES) for one in order}
            return took["warm-new"] / took["warm-old"]

        fine = True
        for what, pairs in (("warm", chosen.pairs), ("backlog", max(20, chosen.pairs // 2))):
            ratios = [pair(number, what) for number in range(WARM_UP + pairs)][WARM_UP:]
            fine &= report({"warm": "a warm batch", "backlog": f"a backlog of {MESSAGES:,}"}[what], ratios)
    return 0 if fine else 1


def _send(sender: Sender, number: int, lines: int) -> None:
    for value in zipf_lines(number, lines):
        sender.send(value)
    sender.finish()


if __name__ == "__main__":
    sys.exit(main())

"""One of the two checkouts that `benchmarks.compare` measures: runs what it is told to, and says how long that took.

Run by its path with the checkout's own Python, so that a checkout that does not have this file is measured as well. It
imports what both have.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer each line of JSON on standard input by one on standard output, until there is no more."""
    # Not this file's folder: its siblings are of the other checkout.
    sys.path[0] = str(Path.cwd())
    import wordtide
    from benchmarks.ours import Drained, KafkaConnection, make_stream

    if not Path(wordtide.__file__ or "").is_relative_to(Path.cwd()):
        raise RuntimeError(f"{wordtide.__file__} is not of {Path.cwd()}: nothing would be compared")
    given = json.loads(sys.argv[1])
    kafka, folder = KafkaConnection(given["bootstrap"]), Path(given["folder"])
    took: list[float] = []

    def committed(done: Any) -> None:
        if done.counted is not None:
            took.append(time.time() - done.batch.planned_at.timestamp() + done.counted.seconds["plan"])

    warm = Drained(make_stream(folder, "warm", {"kafka": {"topic": given["warm"]}}), kafka=kafka, on_commit=committed)
    for number, line in enumerate(sys.stdin):
        took.clear()
        if line.strip() == "warm":
            summary, _ = warm.run()
            seconds = sum(took)
        else:
            name = f"backlog{number}"
            once = Drained(make_stream(folder, name, {"kafka": {"topic": given["backlog"]}}), kafka=kafka)
            summary, seconds = once.run()
            once.close()
        print(json.dumps({"seconds": seconds, "records": summary.records}), flush=True)
    warm.close()


if __name__ == "__main__":
    main()

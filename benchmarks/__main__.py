"""`python -m benchmarks [--only NAME] [--scale X]`: measures and writes `benchmarks/results.md`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import age, backlog, memory, results, small_files, spark_text, steady, warm_batch
from benchmarks.bench import Bench, Benchmark, Servers

BENCHMARKS: dict[str, Benchmark] = {
    "steady": steady.run,
    "warm_batch": warm_batch.run,
    "backlog": backlog.run,
    "spark_text": spark_text.run,
    "small_files": small_files.run,
    "memory": memory.run,
    "age": age.run,
}
RESULTS = Path(__file__).with_name("results.md")


def main() -> int:
    """Run what was asked for; one failure does not keep the others from being measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark instead of all")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of sizes and durations, to try things out")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file whose sections are replaced")
    chosen = parser.parse_args()
    names = [chosen.only] if chosen.only else list(BENCHMARKS)
    root = Path(tempfile.mkdtemp(prefix="wordtide-bench-"))
    servers = Servers(root / "home")
    failed = []
    try:
        for name in names:
            load = os.getloadavg()[0]
            folder = root / name
            folder.mkdir()
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                section = BENCHMARKS[name](Bench(folder, servers, chosen.scale))
            except Exception as error:
                failed.append(name)
                print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                continue
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            text = results.render(name, section, load, chosen.scale)
            results.write(chosen.output, {name: text}, list(BENCHMARKS))
            print(text, flush=True)
    finally:
        servers.stop()
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

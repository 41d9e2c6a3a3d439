"""The local engine's memory is bounded: 20 million distinct words, and a file larger than any memory limit."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.data import distinct_file, zipf_file
from benchmarks.measure import Measure, Row, Section, Target
from benchmarks.ours import Drained, make_stream
from benchmarks.processes import answer, arguments, peak_rss_bytes, run_child

DISTINCT = 20_000_000
BYTES = 5_000_000_000
REPEATS = 5
LIMIT_GIB = 4.0


def run(bench: Bench) -> Section:
    """Count both files, each in a process of its own."""
    distinct = bench.scaled(DISTINCT, 10_000)
    few = bench.folder / "distinct" / "landing"
    few.mkdir(parents=True)
    size = distinct_file(few / "ids.txt", distinct)
    ids = run_child("benchmarks.memory", {"folder": str(few.parent)}, few.parent)
    _expect("distinct words", (ids["words"], ids["distinct"]), (distinct, distinct))
    shutil.rmtree(few.parent)

    large = bench.folder / "large" / "landing"
    large.mkdir(parents=True)
    wanted = bench.scaled(BYTES, 1_000_000)
    if shutil.disk_usage(large).free < 2 * wanted:
        raise RuntimeError(f"{wanted / 1e9:.1f} GB and as much again are needed below {bench.folder}")
    part = zipf_file(bench.folder / "part.txt", 9, wanted // REPEATS)
    with (large / "zipf.txt").open("wb") as whole:
        for _ in range(REPEATS):
            with (bench.folder / "part.txt").open("rb") as once:
                shutil.copyfileobj(once, whole, 1 << 20)
    (bench.folder / "part.txt").unlink()
    text = run_child("benchmarks.memory", {"folder": str(large.parent)}, large.parent)
    kinds = int((part.counts > 0).sum())
    _expect("large file", (text["words"], text["distinct"]), (REPEATS * int(part.counts.sum()), kinds))
    return Section(
        "Peak memory of the local engine",
        (
            Row(f"{distinct:,} distinct words", _gib(ids), target=Target(LIMIT_GIB)),
            Row(f"a file of {REPEATS * part.bytes / 1e9:.3g} GB", _gib(text), target=Target(LIMIT_GIB)),
            Row("distinct words, whole drain", Measure.of([ids["seconds"]], "s")),
            Row("file, whole drain", Measure.of([text["seconds"]], "s")),
        ),
        (
            "Each in a process of its own, once; peak resident set (`VmHWM`) of the process, Python and libraries"
            f" included. The distinct words are {size / 1e6:,.0f} MB of text; the large file is Zipf text.",
            "Words and distinct words equal those of the generator.",
        ),
    )


def _gib(result: dict[str, float]) -> Measure:
    return Measure.of([result["rss"] / (1 << 30)], "GiB")


def _expect(what: str, found: tuple[float, float], wanted: tuple[int, int]) -> None:
    if found != wanted:
        raise RuntimeError(f"{what}: (words, distinct) are {found}, expected {wanted}")


def main() -> None:
    """Drain one landing folder by the local engine."""
    given = arguments()
    folder = Path(given["folder"])
    kept: list[int] = []
    settings = {"landing": {"path": str(folder / "landing"), "min_age": 0}, "engine": "local"}
    drained = Drained(
        make_stream(folder, "memory", settings),
        on_commit=lambda committed: kept.append(committed.counted.distinct if committed.counted else 0),
    )
    summary, seconds = drained.run()
    answer(given, {"words": summary.words, "distinct": sum(kept), "seconds": seconds, "rss": peak_rss_bytes()})


if __name__ == "__main__":
    main()

"""What the doctor makes of what it saw: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from packaging.requirements import Requirement

from wordtide.doctor.findings import Finding, Line, Outcome, SourceSeen, TableSeen, bad, good

CHECKS = (
    "streams",
    "python",
    "packages",
    "java",
    "jars",
    "spark",
    "kafka",
    "broker",
    "topic",
    "hdfs",
    "webhdfs",
    "landing",
    "receiver",
    "table",
    "clock",
    "disk",
    "home",
    "temp",
    "dagster",
)
"""Every kind of check, in the order they are shown."""

PYTHONS = ((3, 11), (3, 12))
TOLERATED_SECONDS = 2.0
"""Clocks further apart than this are worth a word."""
STOPPING_SECONDS = 60.0
"""Files of a clock so far ahead are too young for that much longer, so a drain seems to stand still."""
LEAST_BYTES = 256 * 10**6
"""Free space for the largest batch there is by default."""
LOW_BYTES = 10**9


def judge(outcomes: Iterable[Outcome]) -> list[Finding]:
    """Return the lines, in order: every source is held against its stream's table."""
    seen = list(outcomes)
    tables = {table.stream: table for table in seen if isinstance(table, TableSeen)}
    findings = [
        against_table(one, tables.get(one.line.stream)) if isinstance(one, SourceSeen) else one
        for one in seen
        if not isinstance(one, TableSeen)
    ]
    return sorted(findings, key=lambda finding: CHECKS.index(finding.line.check))


def against_table(source: SourceSeen, table: TableSeen | None) -> Finding:
    """Return what a source means for a stream whose table is founded, not founded, or not known."""
    if table is None or table.identity is None:
        return source.finding
    if source.identity is None:
        return bad(
            source.line,
            f"is gone, and the table of {source.line.stream} has counted it",
            "bring it back, or name a new stream in streams.yaml",
        )
    now = dict(source.identity)
    if all(table.identity.get(key) == value for key, value in now.items()):
        return unstopped(source.finding) if source.partial else source.finding
    if source.line.check == "topic":
        return bad(
            source.line,
            "is not the topic that was counted: recreated, or of another cluster; it is parked",
            f"wordtide parked {source.line.stream} shows it; put the address back, or decide with wordtide resolve",
            stops=False,
        )
    return bad(
        source.line,
        f"the table belongs to {table.identity.get('path')} ({table.identity.get('namespace')}),"
        f" not to {now.get('path')} ({now.get('namespace')})",
        "put streams.yaml or the address back, or name a new stream",
    )


def clock_ahead(stamp: float, resolution: float, began: float, ended: float) -> float:
    """Return by how many seconds another clock is ahead of ours (negative: behind), 0 when they may agree.

    Args:
        stamp: What it said, s since the epoch, rounded down.
        resolution: What it counts in, s.
        began: Our time before it was asked, s since the epoch.
        ended: Our time after it had answered.
    """
    if stamp > ended:
        return stamp - ended
    if stamp + resolution < began:
        return stamp + resolution - began
    return 0.0


def clock(line: Line, whose: str, ahead: float) -> Finding:
    """Return what a difference between another clock and ours means for a landing folder or a table."""
    if abs(ahead) <= TOLERATED_SECONDS:
        return good(line, f"{whose} agrees with ours")
    what = f"{whose} is {duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} ours"
    stops = ahead > STOPPING_SECONDS
    means = "files count as too young for so much longer" if ahead > 0 else "files count as older than they are"
    return bad(line, f"{what}: {means}", "set both clocks by NTP", stops=stops)


def newest_record(line: Line, timestamp_ms: int, now: float) -> Finding:
    """Return what the newest timestamp of all topics says about clocks; it is -1 where there is no record.

    A broker never tells its time, but a record from the future shows that somebody's clock is wrong.
    """
    ahead = timestamp_ms / 1000 - now
    if timestamp_ms < 0:
        return good(line, "no record yet that would show the broker's or a producer's clock")
    if ahead <= TOLERATED_SECONDS:
        return good(line, "no record is newer than our clock")
    return bad(
        line,
        f"the newest record is {duration(ahead)} ahead of our clock",
        "set the clocks of producers, brokers and this machine by NTP",
        stops=False,
    )


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def space(line: Line, free: int, files: int | None = None) -> Finding:
    """Return whether free bytes, and free file entries where there is a limit, are enough for batches to come."""
    said = f"{free / 10**9:,.1f} GB free"
    if files == 0:
        return bad(line, "no file can be created: the disk has no free inode", "delete files there")
    if free < LEAST_BYTES:
        return bad(line, f"{said}, less than a batch may need", "free some space there")
    if free < LOW_BYTES:
        return bad(line, said, "free some space there soon", stops=False)
    return good(line, said)


def python(line: Line, version: Sequence[int]) -> Finding:
    """Return whether this Python is one Wordtide runs on."""
    shown = ".".join(map(str, version[:3]))
    if tuple(version[:2]) in PYTHONS:
        return good(line, f"Python {shown}")
    return bad(line, f"Python {shown}", "use Python 3.11 or 3.12: make clean, then make setup PYTHON=python3.11")


def packages(line: Line, requirements: Iterable[str], installed: Mapping[str, str | None]) -> Finding:
    """Return whether what is installed is what Wordtide requires, and whether Dagster's packages are of one release.

    Args:
        line: What it is about.
        requirements: Of Wordtide, as its metadata has them.
        installed: Version of each package named there; None: it is missing.
    """
    wrong = []
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = installed.get(wanted.name)
        if version is None:
            wrong.append(f"{wanted.name} is missing")
        elif not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} {version} is not {wanted.specifier}")
    dagster = installed.get("dagster")
    if dagster is not None:
        for name, fitting in (("dagster-webserver", dagster), ("dagster-pyspark", library_release(dagster))):
            version = installed.get(name)
            if version is not None and version != fitting:
                wrong.append(f"{name} {version} does not go with dagster {dagster}, {fitting} does")
    if wrong:
        return bad(line, "; ".join(wrong), "make setup installs requirements.lock")
    return good(line, ", ".join(f"{name} {installed.get(name)}" for name in ("pyspark", "pandas", "dagster")))


def library_release(dagster: str) -> str:
    """Return the release of Dagster's libraries that goes with one of its core: 0.29.27 with 1.13.27."""
    _, minor, patch = dagster.split(".", 2)
    return f"0.{int(minor) + 16}.{patch}"


def spark_python(line: Line, ours: Sequence[int], workers: str) -> Finding:
    """Return whether Spark's workers run our Python, given as ``3.11``; PySpark refuses any other."""
    driver = ".".join(map(str, ours[:2]))
    if workers == driver:
        return good(line, f"its workers run Python {workers}, as we do")
    return bad(line, f"its workers run Python {workers}, we run {driver}", f"point PYSPARK_PYTHON at a Python {driver}")


def unstopped(finding: Finding) -> Finding:
    """Return a finding as one that is worth a word but stops no drain."""
    return replace(finding, stops=False)

"""Whether Spark's executors on other machines see the local folders of the streams that they count."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from wordtide.config import EngineName, Stream
from wordtide.doctor.findings import Check, Finding, Line, Outcome, bad, good
from wordtide.drain.pacing import spark_objection

TASKS = 8
"""Enough that a small cluster's workers are all asked."""
DO = "mount it at the same path on every worker, use hdfs://, or remove shared_paths from streams.yaml"


def sharing_checks(streams: Sequence[Stream], environment: Mapping[str, str], seconds: float) -> list[Check]:
    """Return the checks; none where no stream's local folder is for executors elsewhere.

    Args:
        streams: Those configured.
        environment: Says where Spark is.
        seconds: How long the probe may take.
    """
    spark = spark_elsewhere(environment)
    if spark is None:
        return []
    refused = [(stream, line) for stream in streams if (line := spark_objection(stream, None)) is not None]
    checks = [_refusal(stream, line) for stream, line in refused]
    probed = [s for s in streams if s.config.shared_paths and s.config.engine is not EngineName.LOCAL]
    lines = {path: Line("spark", path, stream.name) for stream in probed for path in stream.local_paths}
    if lines:
        writes = {path: path != stream.landing for stream in probed for path in stream.local_paths}

        def run() -> Iterator[Outcome]:
            return _probed(lines, writes, spark, seconds)

        checks.append(Check(list(lines.values()), run, DO))
    return checks


def spark_elsewhere(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the Spark that the environment names, if its executors may be on other machines."""
    if remote := environment.get("WORDTIDE_SPARK_REMOTE"):
        return {"remote": remote}
    master = environment.get("WORDTIDE_SPARK_MASTER", "")
    return {"master": master} if master and not master.startswith("local") else None


def _refusal(stream: Stream, objection: str) -> Check:
    line = Line("spark", stream.table, stream.name)
    what, _, do = objection.removeprefix(f"stream {stream.name}: ").rpartition("; ")

    def run() -> Iterator[Outcome]:
        yield bad(line, what, do)

    return Check([line], run, do)


def _probed(
    lines: Mapping[str, Line], writes: Mapping[str, bool], spark: dict[str, str], seconds: float
) -> Iterator[Finding]:
    there = {path: write for path, write in writes.items() if Path(path).is_dir()}
    for path in writes.keys() - there.keys():
        yield good(
            lines[path], "not created yet: whether executors see it is unknown", "run this again after the first drain"
        )
    if not there:
        return
    for path, problem in _answer(spark, there, seconds).items():
        if problem is None:
            does = "read and write" if there[path] else "read"
            yield good(lines[path], f"Spark's executors {does} the same files there as this machine")
        else:
            yield bad(lines[path], problem, DO)


def _answer(spark: dict[str, str], folders: dict[str, bool], seconds: float) -> dict[str, str | None]:
    """Run the probe in a process of its own and return what it found, the same for each folder if it failed."""
    # Hidden from every listing and every drain.
    token = f".wordtide-doctor.{uuid.uuid4().hex}"
    asked = json.dumps({"spark": spark, "folders": folders, "token": token, "tasks": TASKS})
    process = subprocess.Popen(
        [sys.executable, "-m", "wordtide.doctor.spark_probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ,
    )
    try:
        output, errors = process.communicate(asked, timeout=seconds)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(folders, f"not verified: Spark did not run the probe within {seconds:.0f} s")
    finally:
        _end(process)
        for mark in (mark for folder in folders for mark in Path(folder).glob(f"{token}*")):
            mark.unlink(missing_ok=True)
    if process.returncode != 0:
        last = next((line for line in reversed(errors.splitlines()) if line.strip()), f"exit code {process.returncode}")
        return dict.fromkeys(folders, f"not verified: the probe failed on Spark ({' '.join(last.split())[:200]})")
    found: dict[str, str | None] = json.loads(output.splitlines()[-1])
    return found


def _end(process: subprocess.Popen[str]) -> None:
    # With the JVM that it started.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

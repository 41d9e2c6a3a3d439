"""The results file: one section a benchmark, those not run this time kept as they are."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import HEADINGS, Section, table
from wordtide import __version__
from wordtide.system.java import find_java

PACKAGES = ("confluent-kafka", "dagster", "deltalake", "hdfs-native", "kafka-python", "numpy", "pyarrow", "pyspark")
_INTRODUCTION = """\
# Measured

Written by `make bench`; `make bench ONLY=name` replaces one section. *ours : peer* is the ratio of the medians.
Unless a section says otherwise, values are medians of its repetitions with the smallest and the largest in brackets.
"""


def environment() -> str:
    """Return versions and machine as one line."""
    java = subprocess.run([str(find_java()), "-version"], capture_output=True, text=True, check=True, timeout=30)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return ", ".join(
        [
            f"wordtide {__version__}",
            f"Python {platform.python_version()}",
            f"Java {java.stderr.split(chr(34))[1]}",
            *versions,
            "Kafka 4.2.0 and Hadoop 3.5.0 on the same machine",
            f"{os.cpu_count()} cores",
            f"{memory:.0f} GiB",
            platform.platform(),
        ]
    )


def render(name: str, section: Section, load: float, scale: float) -> str:
    """Return a section of the file."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    small = "" if scale == 1 else f"; **at scale {scale:g}: these figures count for nothing**"
    lines = [
        f"## {name}",
        f"{section.title}.",
        table(HEADINGS, (row.cells() for row in section.rows)),
        "\n".join(f"- {note}" for note in section.notes),
        f"{when}; load of the machine at its begin {load:.1f}{small}. {environment()}.",
    ]
    return "\n\n".join(lines) + "\n"


def merge(text: str, fresh: Mapping[str, str], order: list[str]) -> str:
    """Return the file's new text: fresh sections in place of older ones of the same name, in a fixed order."""
    kept = {match[1]: match[0].rstrip() + "\n" for match in re.finditer(r"(?ms)^## (\S+)\n.*?(?=^## |\Z)", text)}
    sections = {**kept, **fresh}
    return "\n".join([_INTRODUCTION, *(sections[name] for name in order if name in sections)])


def write(path: Path, fresh: Mapping[str, str], order: list[str]) -> None:
    """Replace sections of the results file."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(merge(before, fresh, order), encoding="utf-8")

"""Which Java to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from wordtide.core.problems import EnvironmentProblem

MINIMUM = 17
"""The oldest Java that Kafka 4, Hadoop 3.5 and Spark 4 all run on."""

_ADVICE = f"install a Java {MINIMUM} runtime (such as openjdk-{MINIMUM}-jre-headless) or point JAVA_HOME at one"


def parse_major(version_output: str) -> int | None:
    """Return the major version in `java -version`'s output: 17 for "17.0.15", 8 for "1.8.0_392"; else None."""
    match = re.search(r'version "(?:1\.)?(\d+)', version_output)
    return int(match[1]) if match else None


def find_java() -> Path:
    """Return the `java` of JAVA_HOME, else the one on PATH.

    Raises:
        EnvironmentProblem: there is none, it does not run, or it is older than `MINIMUM`.
    """
    java = _candidate()
    try:
        answer = subprocess.run(
            [str(java), "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(f"{java} does not run ({error}): {_ADVICE}") from error
    major = parse_major(answer.stderr + answer.stdout)
    if major is None:
        raise EnvironmentProblem(f"{java} -version does not tell a version (exit code {answer.returncode}): {_ADVICE}")
    if major < MINIMUM:
        raise EnvironmentProblem(f"{java} is Java {major}, too old: {_ADVICE}")
    return java


def _candidate() -> Path:
    java_home = os.environ.get("JAVA_HOME")
    if java_home:
        java = Path(java_home, "bin", "java")
        if not os.access(java, os.X_OK):
            raise EnvironmentProblem(f"JAVA_HOME is {java_home}, but {java} is no program: correct or unset JAVA_HOME")
        return java
    found = shutil.which("java")
    if found is None:
        raise EnvironmentProblem(f"no Java: JAVA_HOME is not set and there is no java on PATH; {_ADVICE}")
    return Path(found)

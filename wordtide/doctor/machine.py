"""What this machine must have: Java, fitting packages, the servers' jars, room, a home for Dagster."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from packaging.requirements import Requirement

from wordtide.config import home
from wordtide.core.problems import WordtideError
from wordtide.doctor import decide
from wordtide.doctor.brokers import unreachable
from wordtide.doctor.findings import Check, Finding, Line, Outcome, bad, explained, good
from wordtide.doctor.storages import local_folder, local_space
from wordtide.embedded.jars import cache_dir, missing_jars, parse_lock, server_jars
from wordtide.system.java import MINIMUM, find_java

_CONNECT_PORT = 15002
_PYTHON_SECONDS = 10.0


def one(line: Line, find: Callable[[Line], Finding], do: str) -> Check:
    """Return the check that says one thing."""

    def run() -> Iterator[Outcome]:
        yield find(line)

    return Check([line], run, do)


def python_check() -> Check:
    """Return the check of this Python."""
    return one(
        Line("python", sys.executable), lambda line: decide.python(line, sys.version_info[:3]), "reinstall Python"
    )


def packages_check() -> Check:
    """Return the check of what is installed beside Wordtide."""
    return one(Line("packages", sys.prefix), _packages, "make setup installs requirements.lock")


def _packages(line: Line) -> Finding:
    try:
        requirements = metadata.requires("wordtide") or []
    except metadata.PackageNotFoundError:
        return bad(line, "Wordtide itself is not installed: versions cannot be compared", "make setup", stops=False)
    return decide.packages(line, requirements, {name: _version(name) for name in map(_name, requirements)})


def _name(requirement: str) -> str:
    return Requirement(requirement).name


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def java_check(*, needed: bool) -> Check:
    """Return the check of Java, without which neither the embedded servers start nor Spark."""
    java_home = os.environ.get("JAVA_HOME")
    where = os.path.join(java_home, "bin", "java") if java_home else shutil.which("java") or "PATH"

    def find(line: Line) -> Finding:
        try:
            find_java()
        except WordtideError as error:
            return _split(line, error, stops=needed)
        return good(line, f"runs, Java {MINIMUM} or later")

    return one(Line("java", where), find, "see whether it runs: java -version")


def jars_check(*, needed: bool) -> Check:
    """Return the check of the embedded servers' jars; ``needed``: a drain waits for servers that have yet to start."""
    where = Line("jars", str(cache_dir()))

    def find(line: Line) -> Finding:
        lock_text = files("wordtide.embedded").joinpath("jars.lock").read_text()
        lock = parse_lock(lock_text)
        try:
            missing = missing_jars(cache_dir() / "jars" / hashlib.sha256(lock_text.encode()).hexdigest()[:12], lock)
            if missing:
                return good(line, f"{len(missing)} of {len(lock)} are not there yet", "wordtide up fetches them")
            # Java would only fetch, and there is nothing to fetch: this looks at PySpark's part.
            server_jars(Path("java"))
        except WordtideError as error:
            return _split(line, error, stops=needed)
        except OSError as error:
            return explained(line, error, "let this user read and write there, or set WORDTIDE_CACHE", stops=needed)
        return good(line, f"all {len(lock)} are there, sha256 as locked")

    return one(where, find, "let this user read and write there, or set WORDTIDE_CACHE")


def _split(line: Line, error: WordtideError, *, stops: bool) -> Finding:
    """Return the finding for an error whose advice may come after a colon."""
    text = str(error)
    at = max(text.rfind(": "), text.rfind("; "))
    what, do = (text[:at], text[at + 2 :]) if at > 0 else (text, "")
    return bad(line, what, do or "see the README", stops=stops)


def spark_checks(*, needed: bool) -> list[Check]:
    """Return the checks of Spark as the environment configures it; none for Spark in this process."""
    remote, master = os.environ.get("WORDTIDE_SPARK_REMOTE", ""), os.environ.get("WORDTIDE_SPARK_MASTER", "")
    if remote:
        return [_server_check(remote, "WORDTIDE_SPARK_REMOTE", "sc", needed=needed)]
    if master.startswith("spark://"):
        return [_server_check(master, "WORDTIDE_SPARK_MASTER", "spark", needed=needed)]
    workers = os.environ.get("PYSPARK_PYTHON", "")
    # On a cluster it is a path of the executors' machines.
    here = not master or master.startswith("local")
    return [_workers_check(workers, needed=needed)] if workers and here else []


def _server_check(url: str, variable: str, scheme: str, *, needed: bool) -> Check:
    authority = urlsplit(url).netloc
    # Masters that stand by for each other: spark://a:7077,b:7077.
    addresses = [a if ":" in a else f"{a}:{_CONNECT_PORT}" for a in authority.split(",")]
    line = Line("spark", ",".join(addresses) if authority else url)
    do = f"start it, or correct {variable}"

    def find(line: Line) -> Finding:
        if urlsplit(url).scheme != scheme or not authority:
            return bad(line, f"{variable} is not {scheme}://host:port", f"correct or unset {variable}", stops=needed)
        refused = unreachable(addresses)
        if len(refused) == len(addresses):
            return bad(line, next(iter(refused.values())), do, stops=needed)
        ours = ".".join(map(str, sys.version_info[:2]))
        return good(line, f"accepts connections; its executors need Python {ours}")

    return one(line, find, do)


def _workers_check(python: str, *, needed: bool) -> Check:
    def find(line: Line) -> Finding:
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            answer = subprocess.run(
                [python, "-c", ask], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PYTHON_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return bad(line, f"PYSPARK_PYTHON does not run ({error})", "correct or unset PYSPARK_PYTHON", stops=needed)
        found = decide.spark_python(line, sys.version_info[:2], answer.stdout.strip())
        return found if needed else decide.unstopped(found)

    return one(Line("spark", python), find, "correct or unset PYSPARK_PYTHON")


def home_checks(*, needed: bool) -> list[Check]:
    """Return the checks of WORDTIDE_HOME; ``needed``: a drain waits for servers that have yet to start there."""
    where = home()
    do = "let this user write there, or set WORDTIDE_HOME"

    def find(line: Line) -> Finding:
        return local_folder(line, where, "wordtide up, demo or dev creates it", do, stops=needed)

    return [one(Line("home", str(where)), find, do), disk_check(str(where))]


def temp_checks() -> list[Check]:
    """Return the checks of the folder that batches spill to."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:
        problem = error
        do = "free some space there, or name a folder in TMPDIR"
        return [one(Line("temp", os.environ.get("TMPDIR", "TMPDIR")), lambda line: bad(line, str(problem), do), do)]
    do = "let this user write there, or name another folder in TMPDIR"

    def find(line: Line) -> Finding:
        return local_folder(line, Path(folder), "", do, stops=True)

    return [one(Line("temp", folder), find, do), disk_check(folder)]


def disk_check(path: str) -> Check:
    """Return the check of the room at a path of this machine."""
    return one(Line("disk", path), local_space, "see whether its file system answers")


def dagster_check() -> Check:
    """Return the check of the folder that Dagster keeps its runs in."""
    named = os.environ.get("DAGSTER_HOME", "")
    folder = Path(named) if named else home() / "dagster"
    return one(Line("dagster", str(folder)), lambda line: _dagster(line, folder, named), "correct DAGSTER_HOME")


def _dagster(line: Line, folder: Path, named: str) -> Finding:
    do = "let this user write there, or set DAGSTER_HOME to another folder"
    if not folder.is_absolute():
        return bad(line, "DAGSTER_HOME is no absolute path", "write it in full, from / on")
    if named and folder.exists() and not folder.is_dir():
        return bad(line, "is a file, not a folder", "set DAGSTER_HOME to a folder")
    hint = f"before Dagster's own commands: mkdir -p {folder}" if named else "wordtide dev creates it"
    # Without DAGSTER_HOME only `wordtide dev` keeps anything there.
    found = local_folder(line, folder, hint, do, stops=bool(named))
    settings = folder / "dagster.yaml"
    if not found.ok or not settings.exists():
        return found
    try:
        yaml.safe_load(settings.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        said = " ".join(str(error).split())
        return bad(Line(line.check, str(settings)), f"cannot be read ({said})", "correct or delete it")
    return found

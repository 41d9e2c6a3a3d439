"""Jars of the embedded servers and of Flume: fetched once by PySpark's Ivy, checked against a lock, kept in a cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from wordtide.core.problems import ConfigError, EnvironmentProblem
from wordtide.embedded.progress import FetchProgress, fetch_progress
from wordtide.system.locks import exclusive

FETCH_TIMEOUT = 600.0
"""Seconds one fetch may take: 97 MB, half a minute on an ordinary line."""

_SETTINGS = "WORDTIDE_IVY_SETTINGS"
_ADVICE = f"check the network, or name an ivysettings.xml with your mirror in {_SETTINGS}"

_ARRIVING = ".arriving-"
_HADOOP = "3.5.0"
_FROM_PYSPARK = (
    f"hadoop-client-api-{_HADOOP}",
    f"hadoop-client-runtime-{_HADOOP}",
    "slf4j-api-*",
    "log4j-slf4j2-impl-*",
    "log4j-api-*",
    "log4j-core-*",
    "log4j-1.2-api-*",
    "jcl-over-slf4j-*",
    "jsr305-*",
    "py4j-*",
)


@dataclass(frozen=True, slots=True)
class ServerJars:
    """What the embedded servers run from.

    Attributes:
        kafka: the broker's classpath.
        hdfs: the classpath of NameNode and DataNodes.
        web: the working directory of the HDFS process; holds its web pages, unpacked.
        cache: the cache directory all of it is in.
    """

    kafka: tuple[Path, ...]
    hdfs: tuple[Path, ...]
    web: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class _Jars:
    """What is fetched together.

    Attributes:
        place: holds `ivy.xml` and `jars.lock`.
        what: what they are, for people.
    """

    place: Traversable
    what: str


_SERVERS = _Jars(files("wordtide.embedded"), "the servers' jars")
_FLUME = _Jars(files("wordtide.embedded").joinpath("flume"), "Flume's jars")


def cache_dir() -> Path:
    """Return where fetched files are kept: `$WORDTIDE_CACHE`, else `wordtide` in the user's cache directory."""
    named = os.environ.get("WORDTIDE_CACHE")
    if named:
        return Path(os.path.expanduser(named)).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "wordtide"
    try:
        return Path.home() / ".cache" / "wordtide"
    except RuntimeError:
        raise ConfigError(
            "this user has no home directory; set WORDTIDE_CACHE to a folder for the servers' jars"
        ) from None


def server_jars(java: Path) -> ServerJars:
    """Return the servers' jars, every one of them verified, fetching what is missing.

    Progress is shown on stderr. Several processes may call this at once.

    Args:
        java: runs Ivy, if anything has to be fetched.

    Raises:
        EnvironmentProblem: no network, a jar that is not the one of the lock, a full disk, an unfit PySpark.
        ConfigError: `WORDTIDE_IVY_SETTINGS` names no file.
    """
    pyspark = _pyspark_jars()
    shared = tuple(_one(pyspark, pattern) for pattern in _FROM_PYSPARK)
    with _kept():
        folder, lock = _fetched(java, _SERVERS)
        web = _web_pages(folder)
    return ServerJars(
        kafka=tuple(folder / name for name in lock if name.startswith("kafka/")),
        hdfs=(*(folder / name for name in lock if name.startswith("hdfs/")), *shared),
        web=web,
        cache=cache_dir(),
    )


def flume_jars(java: Path) -> Path:
    """Return the folder of a Flume agent's jars, 41 MB, every one of them verified; fetches what is missing.

    Args:
        java: As for `server_jars`, also what is raised.
    """
    with _kept():
        folder, _ = _fetched(java, _FLUME)
    return folder / "flume"


@contextmanager
def _kept() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(f"cannot keep jars in {cache_dir()}: {error.strerror or error}") from error


def _fetched(java: Path, jars: _Jars) -> tuple[Path, dict[str, str]]:
    """Return where all of a lock's jars are, verified, and the lock."""
    lock_text = jars.place.joinpath("jars.lock").read_text()
    lock = parse_lock(lock_text)
    cache = cache_dir()
    # Another lock, another folder: two versions of Wordtide share one cache.
    folder = cache / "jars" / hashlib.sha256(lock_text.encode()).hexdigest()[:12]
    if missing_jars(folder, lock):
        with exclusive(cache / "fetch.lock", timeout=FETCH_TIMEOUT + 60, holder="process that fetches jars") as held:
            missing = missing_jars(folder, lock)
            if missing:
                _fetch(java, jars, cache, folder, lock, missing, held)
                missing_jars(folder, lock)
    return folder, lock


def parse_lock(text: str) -> dict[str, str]:
    """Return the sha256 of each file of a lock, whose lines are `<sha256>  <configuration>/<file name>`.

    Raises:
        EnvironmentProblem: a line is something else.
    """
    lock = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-f]{64})  ((?:kafka|hdfs|flume)/[\w.+-]+\.jar)", line)
        if match is None:
            raise EnvironmentProblem(f"jars.lock line {number} is damaged ({line[:40]!r}): install Wordtide again")
        lock[match[2]] = match[1]
    return lock


def missing_jars(folder: Path, lock: dict[str, str]) -> list[str]:
    """Return which files of the lock are not in `folder`; what is there has been verified.

    A file is hashed once; after that its size and mtime stand for it, as long as they stay what they were.

    Raises:
        EnvironmentProblem: a file is not the one of the lock.
    """
    stamps_file = folder / "verified.json"
    stamps = _read_stamps(stamps_file)
    fresh: dict[str, list[int | str]] = {}
    missing = []
    for name, expected in lock.items():
        file = folder / name
        try:
            status = file.stat()
        except FileNotFoundError:
            missing.append(name)
            continue
        fresh[name] = [expected, status.st_size, status.st_mtime_ns]
        if stamps.get(name) != fresh[name]:
            actual = sha256(file)
            if actual != expected:
                raise EnvironmentProblem(wrong_checksum(name, expected, actual, f"delete {file} and try again"))
    if fresh != stamps and fresh:
        _write_atomically(stamps_file, json.dumps(fresh))
    return missing


def wrong_checksum(name: str, expected: str, actual: str, advice: str) -> str:
    """Return the line that says that the jar `name` is not what the lock says."""
    found = f"sha256 {actual[:12]}… instead of {expected[:12]}…"
    return f"{name} is not the jar of jars.lock ({found}) and is not used: {advice}"


def sha256(file: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(
    java: Path, jars: _Jars, cache: Path, folder: Path, lock: dict[str, str], missing: list[str], lock_file: int
) -> None:
    """Retrieve all jars into a temporary folder, verify them there, move the missing ones to their place."""
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.parent.glob(f"{_ARRIVING}*"):
        # Whoever made it was killed: we hold the lock.
        shutil.rmtree(abandoned, ignore_errors=True)
    with _temporary_folder(folder.parent) as arriving:
        _run_ivy(java, jars, cache, arriving, len(lock), lock_file)
        for name in missing:
            file = arriving / name
            if not file.exists():
                raise EnvironmentProblem(f"{name} of jars.lock was not among the fetched jars: {_ADVICE}")
            actual = sha256(file)
            if actual != lock[name]:
                advice = f"delete {cache / 'ivy'} and try again; if it stays, the repository serves another file"
                raise EnvironmentProblem(wrong_checksum(name, lock[name], actual, advice))
        for name in missing:
            (folder / name).parent.mkdir(exist_ok=True)
            (arriving / name).replace(folder / name)


def _run_ivy(java: Path, jars: _Jars, cache: Path, target: Path, total: int, lock_file: int) -> None:
    ivy = _one(_pyspark_jars(), "ivy-*")
    settings = os.environ.get(_SETTINGS)
    if settings and not Path(settings).is_file():
        raise ConfigError(f"{_SETTINGS} is {settings}, which is no file: correct or unset it")
    log = cache / "ivy.log"
    with (
        as_file(jars.place.joinpath("ivy.xml")) as ivy_xml,
        log.open("wb") as output,
        log.open(errors="replace") as reading,
        fetch_progress(jars.what, total) as progress,
    ):
        process = subprocess.Popen(
            [
                *(str(java), "-cp", str(ivy), "org.apache.ivy.Main"),
                *(["-settings", settings] if settings else []),
                *("-m2compatible", "-cache", str(cache / "ivy"), "-ivy", str(ivy_xml)),
                # Without `bundle` five of the broker's jars are left out and its tools die for lack of a class.
                *("-types", "jar", "bundle"),
                *("-retrieve", f"{target}/[conf]/[artifact]-[revision](-[classifier]).[ext]"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # If we are killed it works on for a while; until it ends no other may fill the same cache.
            pass_fds=(lock_file,),
        )
        try:
            _follow(process, reading, progress, jars.what)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        reason = _reason(log)
        advice = f"free some space in {cache}" if "No space" in reason else _ADVICE
        raise EnvironmentProblem(f"cannot fetch {jars.what} ({reason}): {advice}; details in {log}")


def _follow(process: subprocess.Popen[bytes], output: Iterator[str], progress: FetchProgress, what: str) -> None:
    deadline = time.monotonic() + FETCH_TIMEOUT
    while True:
        ended = process.poll() is not None
        for line in output:
            progress.line(line)
        if ended:
            return
        if time.monotonic() > deadline:
            raise EnvironmentProblem(f"fetching {what} took longer than {FETCH_TIMEOUT:.0f} s: {_ADVICE}")
        time.sleep(0.1)


def _reason(log: Path) -> str:
    """Return what Ivy's log says first about a failure."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    telling = "Server access error|UnknownHost|timed out|FAILED|module not found|No space|Exception"
    reason = next((line for line in lines if re.search(telling, line)), lines[-1] if lines else "Ivy said nothing")
    return reason.replace("module not found:", "no repository answered for")[:200]


def _web_pages(folder: Path) -> Path:
    """Unpack the pages of NameNode and DataNode, once.

    Jetty needs five seconds to read them from inside a 56 MB jar. Hadoop looks below `src/main` of its working
    directory first; a folder on the classpath would do as well, but then no class archive can be made.
    """
    web = folder / "web"
    if not web.exists():
        [jar] = (folder / "hdfs").glob("hadoop-client-minicluster-*.jar")
        with _temporary_folder(folder) as arriving, zipfile.ZipFile(jar) as archive:
            pages = [name for name in archive.namelist() if re.match(r"webapps/(hdfs|datanode|static)/", name)]
            archive.extractall(arriving / "src" / "main", pages)
            # Another process may have been faster; its folder holds the same.
            with suppress(OSError):
                arriving.rename(web)
    return web


def _pyspark_jars() -> Path:
    # Importing PySpark would take half a second.
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblem("PySpark is not installed: install Wordtide's requirements")
    return Path(spec.submodule_search_locations[0], "jars")


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern + ".jar"))
    if len(found) != 1:
        what = f"{len(found)} jars {pattern}.jar in {folder}"
        raise EnvironmentProblem(f"this PySpark does not fit the embedded servers ({what}): install requirements.lock")
    return found[0]


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=_ARRIVING, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_stamps(file: Path) -> dict[str, list[int | str]]:
    """Return the stamps; a damaged file only means that everything is hashed again."""
    try:
        stamps = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _write_atomically(file: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=_ARRIVING, delete=False) as arriving:
        arriving.write(text)
    Path(arriving.name).replace(file)

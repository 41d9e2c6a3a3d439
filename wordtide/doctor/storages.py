"""Whether NameNodes answer, and whether landing folders and tables can be read and written.

What is written is hidden and deleted at once.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from wordtide.config import Stream
from wordtide.core.problems import EnvironmentProblem, SourceUnavailable, WordtideError
from wordtide.doctor.brokers import unreachable
from wordtide.doctor.decide import TOLERATED_SECONDS, clock, clock_ahead, space
from wordtide.doctor.findings import Check, Finding, Line, Outcome, SourceSeen, TableSeen, bad, explained, good
from wordtide.doctor.landed import folder_content, landed_files
from wordtide.status.lag import LOOK_PROBLEMS
from wordtide.storage import HdfsAddress, HdfsStorage, LocalStorage, Storage, storage_for
from wordtide.wiring import complete_uri, open_source, open_table

HTTP_SECONDS = 5.0
_START = "start the HDFS (the embedded one: wordtide up) or correct WORDTIDE_HDFS_URL"
_HTTP = "start the NameNode's HTTP server, or set WORDTIDE_WEBHDFS=host:port"
_GRANT = "let this user write there (HDFS: HADOOP_USER_NAME says who that is)"
_STATE = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
_CONTENT = b"written by wordtide doctor, which deletes it at once\n"


def namenode_check(address: HdfsAddress) -> Check:
    """Return the check of a NameNode's own port."""
    authority = address.url.removeprefix("hdfs://")
    line = Line("hdfs", authority)

    def run() -> Iterator[Outcome]:
        # A name service has no port: its NameNodes are in the Hadoop configuration, which the client reads.
        refused = unreachable([authority]) if ":" in authority else {}
        if refused:
            yield bad(line, refused[authority], _START)
        else:
            HdfsStorage(address).exists("/")
            yield good(line, "the NameNode answers")

    return Check([line], run, _START)


def webhdfs_check(address: HdfsAddress, *, landing: bool, tables: bool) -> Check:
    """Return the check of a NameNode's HTTP port: its state, its clock, its free space.

    Args:
        address: Where it is.
        landing: Whether files land there: whose they are and which are complete is asked by HTTP.
        tables: Whether tables are kept there, which need the space.
    """
    line = Line("webhdfs", address.webhdfs)

    def run() -> Iterator[Outcome]:
        began = time.time()
        date, state = _namenode_state(address)
        ended = time.time()
        yield clock(Line("clock", address.webhdfs), "the NameNode's clock", clock_ahead(date, 1.0, began, ended))
        alive = int(state["NumLiveDataNodes"])
        if state["FSState"] != "Operational":
            do = "wait while it starts, else hdfs dfsadmin -safemode leave"
            yield bad(line, f"the NameNode is in safe mode ({state['FSState']})", do)
        elif alive == 0:
            yield bad(line, "no DataNode is alive", "start the DataNodes")
        else:
            yield good(line, "answers: " + ("1 DataNode is" if alive == 1 else f"{alive} DataNodes are") + " alive")
        if tables:
            yield space(Line("disk", address.url), int(state["CapacityRemaining"]))

    return Check([line], run, _HTTP, stops=landing)


def _namenode_state(address: HdfsAddress) -> tuple[float, dict[str, Any]]:
    """Return the time of a NameNode's answer, s since the epoch, and its state."""
    connection = http.client.HTTPConnection(address.webhdfs, timeout=HTTP_SECONDS)
    try:
        connection.request("GET", _STATE)
        response = connection.getresponse()
        date = parsedate_to_datetime(response.headers["Date"]).timestamp()
        [state] = json.loads(response.read())["beans"]
        return date, {name: state[name] for name in ("FSState", "NumLiveDataNodes", "CapacityRemaining")}
    except (OSError, http.client.HTTPException) as error:
        why = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        raise SourceUnavailable(f"the NameNode's HTTP port does not answer ({why}); {_HTTP}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise SourceUnavailable(f"answers, but not as a NameNode's HTTP port does; {_HTTP}") from error
    finally:
        connection.close()


def landing_check(stream: Stream, hdfs: HdfsAddress | None) -> Check:
    """Return the check of a stream's landing folder."""
    assert stream.landing is not None
    landing = complete_uri(stream.landing, hdfs)
    line = Line("landing", landing, stream.name)

    def run() -> Iterator[Outcome]:
        # Contacts nothing; refuses an archive to which no file can be renamed.
        open_source(stream, hdfs=hdfs)
        storage, root = storage_for(landing, hdfs)
        if not storage.exists(root):
            yield SourceSeen(line, None, _missing(line, stream, storage, root))
            return
        identity = {"namespace": storage.namespace(), "path": root}
        said, glob_problem = folder_content(stream, storage.survey(root), root)
        ahead = None
        try:
            ahead = try_folder(storage, root)
        except (WordtideError, OSError) as error:
            # To be counted, files need only be read.
            yield SourceSeen(line, identity, explained(line, error, _GRANT, stops=False))
        else:
            yield SourceSeen(line, identity, good(line, f"{said}; a file can be written, renamed and deleted"))
        if glob_problem is not None:
            yield bad(line, *glob_problem, stops=False)
        with suppress(WordtideError):
            # What is wrong with the table, its own check says.
            yield from landed_files(line, stream, storage, hdfs)
        if ahead is None:
            return
        if stream.archive is not None:
            yield _archive(Line("landing", complete_uri(stream.archive, hdfs), stream.name), storage, root)
        if abs(ahead) > TOLERATED_SECONDS:
            # The tables' clock or the NameNode's is told in any case, and mostly it is this one.
            yield clock(Line("clock", landing), "the folder's clock", ahead)

    return Check([line], run, "see whether its file system answers")


def _missing(line: Line, stream: Stream, storage: Storage, root: str) -> Finding:
    """Return whether a landing folder that is not there yet will be made by who is to make it."""
    if stream.receiver is None:
        return good(line, "not created yet", f"wordtide land FILE {line.where} creates it")
    try:
        try_folder(storage, _nearest(storage, root))
    except (WordtideError, OSError) as error:
        return explained(line, error, _GRANT, stops=False)
    return good(line, "not created yet", "its receiver creates it")


def _archive(line: Line, storage: Storage, landing: str) -> Finding:
    """Return whether counted files can be moved to the archive; if not, they stay in the landing folder."""
    _, archive = storage_for(line.where, storage.address if isinstance(storage, HdfsStorage) else None)
    try:
        try_folder(storage, landing, _nearest(storage, archive))
    except (WordtideError, OSError) as error:
        return explained(line, error, _GRANT, stops=False)
    return good(line, "counted files can be moved there")


def tables_check(streams: Sequence[Stream], hdfs: HdfsAddress | None) -> Check:
    """Return the check of the tables of these streams, which lie on one storage."""
    lines = {stream.name: Line("table", complete_uri(stream.table, hdfs), stream.name) for stream in streams}
    folder = lines[streams[0].name].where.rsplit("/", 2)[0]

    def run() -> Iterator[Outcome]:
        tried: dict[str, float] = {}
        for stream in streams:
            line = lines[stream.name]
            try:
                yield from _table(line, stream, hdfs, tried)
            except LOOK_PROBLEMS as error:
                yield explained(line, error, _GRANT)
        if tried:
            yield clock(Line("clock", folder), "the tables' clock", max(tried.values(), key=abs))

    return Check(list(lines.values()), run, "see whether the tables' file system answers")


def _table(line: Line, stream: Stream, hdfs: HdfsAddress | None, tried: dict[str, float]) -> Iterator[Outcome]:
    """Try the folders that a drain of the stream writes to, each once, and open its table."""
    storage, root = storage_for(line.where, hdfs)
    log = f"{root}/_delta_log"
    founded = storage.exists(log)
    for folder in (root, log) if founded else (_nearest(storage, root),):
        if folder not in tried:
            tried[folder] = try_folder(storage, folder)
    snapshot = open_table(stream, hdfs).snapshot() if founded else None
    if snapshot is None:
        yield TableSeen(stream.name, None)
        yield good(line, "not created yet; its folder can be", "the first drain founds it")
        return
    yield TableSeen(stream.name, snapshot.ledger.identity)
    parked = len(snapshot.ledger.parked)
    yield good(
        line,
        f"batch {snapshot.ledger.last}, can be written" + (f"; {parked} parked" if parked else ""),
        f"wordtide parked {stream.name} shows what waits for a decision" if parked else "",
    )


def _nearest(storage: Storage, path: str) -> str:
    """Return the nearest folder above a missing path, or the path itself, that is there."""
    while path not in {"", "/"} and not storage.exists(path):
        path = path.rpartition("/")[0]
    return path or "/"


def try_folder(storage: Storage, folder: str, other: str | None = None) -> float:
    """Write a hidden file, rename it, read it and delete it; return by how many seconds the folder's clock is ahead.

    Args:
        storage: Where the folders are.
        folder: Where it is written.
        other: The folder it is renamed into; None: the same.

    Raises:
        WordtideError: One of that is not possible.
        OSError: Somebody deleted the file meanwhile.
    """
    # Hidden from every listing and every drain, be it left behind by a host that dies just now.
    name = f".wordtide-doctor.{uuid.uuid4().hex}"
    first = f"{folder.rstrip('/')}/{name}.tmp"
    second = f"{(other or folder).rstrip('/')}/{name}.renamed.tmp"
    began = time.time()
    try:
        storage.write_durably(first, [_CONTENT], private=True)
        stamp = storage.stat(first).mtime_ms / 1000
        ended = time.time()
        storage.rename(first, second)
        if b"".join(storage.read_range(second, 0, len(_CONTENT))) != _CONTENT:
            raise EnvironmentProblem(f"{folder}: a file written there reads differently; check its file system")
    except BaseException:
        for path in (first, second):
            # What went wrong first is what there is to say.
            with suppress(WordtideError, OSError):
                storage.delete(path)
        raise
    storage.delete(second)
    return clock_ahead(stamp, 0.1, began, ended)


def local_folder(line: Line, folder: Path, missing: str, do: str, *, stops: bool) -> Finding:
    """Return whether a folder of this machine can be written, or can be made where it is not there yet.

    Args:
        line: What it is about.
        folder: The folder.
        missing: The hint for a folder that is not there yet.
        do: The advice for one that cannot be used.
        stops: Whether a drain needs it.
    """
    storage = LocalStorage()
    try:
        nearest = _nearest(storage, str(folder))
        try_folder(storage, nearest)
    except (WordtideError, OSError) as error:
        return explained(line, error, do, stops=stops)
    if nearest != str(folder):
        return good(line, "not created yet; it can be", missing)
    return good(line, "can be written")


def local_space(line: Line) -> Finding:
    """Return whether there is room at a path of this machine, or where it will be created."""
    nearest = _nearest(LocalStorage(), line.where)
    entries = _free_entries(nearest)
    return space(line, shutil.disk_usage(nearest).free, entries)


def _free_entries(path: str) -> int | None:
    """Return how many files can still be created; None where the file system has no limit."""
    status = os.statvfs(path)
    return status.f_favail if status.f_files else None

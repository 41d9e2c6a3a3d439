"""An HDFS through hdfs-native (no JVM), and through the NameNode's HTTP port for what that client does not show."""

from __future__ import annotations

import errno
import getpass
import http.client
import json
import os
import re
import threading
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

from hdfs_native import Client, WriteOptions

from wordtide.core.problems import EnvironmentProblem, SourceUnavailable, WordtideError
from wordtide.storage import hdfs_ids
from wordtide.storage.base import (
    CHUNK_BYTES,
    AccessDenied,
    FileInfo,
    NoFolder,
    PathProblem,
    Unreadable,
    is_hidden,
    temporary_name,
)
from wordtide.storage.fileid import UNKNOWN
from wordtide.storage.hdfs_client import LimitedClient
from wordtide.storage.read_ahead import read_ahead
from wordtide.storage.survey import Closed, MayEnter, Survey, everywhere
from wordtide.system.limits import NoAnswer

_HTTP_SECONDS = 5.0
_REMOTE = re.compile(r'RPCError\("([\w.$]+)", "(.*)', re.DOTALL)
_NO_ROOM = ("could only be written to", "QuotaExceededException", "could only be replicated")

_clients: dict[tuple[int, str, str], LimitedClient] = {}


class _Kept(threading.local):
    """A thread's HTTP connections, by process (a fork must not share a socket) and server."""

    def __init__(self) -> None:
        self.connections: dict[tuple[int, str], http.client.HTTPConnection] = {}


_kept = _Kept()


@dataclass(frozen=True, slots=True)
class HdfsAddress:
    """Where an HDFS is.

    Attributes:
        url: ``hdfs://host:port`` of the NameNode.
        webhdfs: ``host:port`` of its HTTP server.
    """

    url: str
    webhdfs: str


@dataclass(frozen=True, slots=True)
class HdfsStorage:
    """Files of an HDFS. See `wordtide.storage.Storage`.

    Pickles by its address. The client is made when first needed, once per process: one inherited by a fork hangs.
    """

    address: HdfsAddress

    def list_files(self, root: str) -> list[FileInfo]:
        """See `Storage`."""
        return self.survey(root).complete()

    def survey(self, root: str, enter: MayEnter = everywhere) -> Survey:
        """See `Storage`. 35 ms for 10,000 files; an HDFS has no links to follow."""
        survey = Survey()
        found = survey.files
        folders = [root]
        with suppress(FileNotFoundError, PathProblem), self._answers(root):
            survey.folders[root] = self._client.get_file_info(root).modification_time
        while folders:
            folder = folders.pop()
            try:
                with self._answers(folder):
                    for status in self._client.list_status(folder):
                        path = status.path
                        if not status.isdir:
                            found.append(FileInfo(path, status.length, status.modification_time, status.blocksize or 0))
                        elif not is_hidden(path.rpartition("/")[2]) and enter(path):
                            folders.append(path)
                            survey.folders[path] = status.modification_time
            except PathProblem as problem:
                if folder == root:
                    raise
                survey.closed.append(Closed(folder, True, problem))
            except FileNotFoundError:
                # Below the root a folder may go while we look; the root must be there.
                if folder == root:
                    raise NoFolder(
                        f"{self.address.url}{root}: no such folder; create it or correct landing.path"
                    ) from None
        if len(found) == 1 and found[0].path == root:
            raise SourceUnavailable(f"{self.address.url}{root}: is a file, not a folder; correct landing.path")
        return survey

    def stat(self, path: str) -> FileInfo:
        """See `Storage`."""
        with self._answers(path):
            status = self._client.get_file_info(path)
        if status.isdir:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return FileInfo(path, status.length, status.modification_time, status.blocksize or 0)

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        try:
            with self._answers(path):
                self._client.get_file_info(path)
        except FileNotFoundError:
            return False
        return True

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """See `Storage`."""
        with self._answers(path):
            reader = self._client.read(path)
            # The client panics past the end, and the end it knows leaves out the last block of an open file.
            end = min(end, len(reader))
        while start < end:
            with self._answers(path):
                chunk = reader.read_range(start, min(CHUNK_BYTES, end - start))
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    def read_small(self, files: Sequence[tuple[str, int]]) -> Generator[bytes | PathProblem | None, None, None]:
        """See `Storage`. Threads go on reading ahead while the caller is busy with what it was given."""
        client = self._client
        try:
            yield from read_ahead(client.server, files, lambda path, length: self._read_whole(client.raw, path, length))
        except NoAnswer as error:
            client.renew()
            raise self._problem(error, files[0][0], writing=False) from error

    def _read_whole(self, client: Client, path: str, length: int) -> bytes | PathProblem | None:
        try:
            with self._answers(path):
                reader = client.read(path)
                # See `read_range`.
                return reader.read_range(0, min(length, len(reader)))
        except FileNotFoundError:
            return None
        except PathProblem as problem:
            return problem

    def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
        """See `Storage`. Blocks are hsynced before the file is closed."""
        written = path if private else temporary_name(path, uuid.uuid4().hex)
        length = 0
        with self._answers(path, writing=True):
            # Neither `with` nor letting go of the writer: both close the file, which publishes what there is of it.
            writer = self._client.create(written, WriteOptions(create_parent=True))
        try:
            for chunk in chunks:
                if chunk:
                    length += len(chunk)
                    with self._answers(path, writing=True):
                        writer.write(chunk)
            with self._answers(path, writing=True):
                writer.hsync()
                writer.close()
                if not private:
                    self._client.rename(written, path)
        except BaseException:
            # Unreachable now: the NameNode ends the lease, and the hidden name keeps readers away until then.
            with suppress(OSError, RuntimeError):
                self._client.delete(written)
            raise
        return length

    def rename(self, source: str, target: str) -> None:
        """See `Storage`. The NameNode lets exactly one of several rivals win."""
        try:
            with self._answers(target, writing=True):
                self._client.rename(source, target)
        except SourceUnavailable:
            # A folder in a file's way is refused in words of its own.
            if self.exists(target) and self.exists(source):
                raise FileExistsError(errno.EEXIST, "already exists", target) from None
            raise

    def mkdirs(self, path: str) -> None:
        """See `Storage`."""
        with self._answers(path, writing=True):
            self._client.mkdirs(path, create_parent=True)

    def delete(self, path: str) -> bool:
        """See `Storage`."""
        with self._answers(path, writing=True):
            return self._client.delete(path, recursive=True)

    def prune(self, root: str) -> None:
        """See `Storage`. The NameNode refuses to delete a folder that holds something."""
        try:
            with self._answers(root, writing=True):
                folders = [status.path for status in self._client.list_status(root) if status.isdir]
            for folder in folders:
                self.prune(folder)
            with suppress(RuntimeError):
                self._client.delete(root, recursive=False)
        except FileNotFoundError:
            return

    def pinned(self, path: str) -> AbstractContextManager[int]:  # noqa: ARG002 the protocol's
        """See `Storage`. No listing shows ids."""
        return nullcontext(UNKNOWN)

    def under_construction(self, path: str) -> bool:
        """See `Storage`. One HTTP request, 2 to 5 ms."""
        answer = self._webhdfs(path, "GET_BLOCK_LOCATIONS", length=1)
        try:
            return answer is not None and bool(answer["LocatedBlocks"]["isUnderConstruction"])
        except (LookupError, TypeError):
            raise self._no_namenode("block locations") from None

    def identified(self, files: Sequence[FileInfo], seconds: float) -> list[FileInfo]:
        """See `Storage`. One HTTP request for each of a few files of a folder, or for 1,000 entries of it."""
        try:
            return hdfs_ids.with_ids(self._webhdfs, files, seconds)
        except (LookupError, TypeError):
            raise self._no_namenode("file ids") from None

    def pages_with_ids(self, folder: str) -> Iterator[list[FileInfo]]:
        """See `Storage`. One HTTP request a page, some 15 ms."""
        try:
            yield from hdfs_ids.pages(self._webhdfs, folder)
        except (LookupError, TypeError):
            raise self._no_namenode("file ids") from None

    def clock_ms(self) -> int:
        """See `Storage`. The NameNode's, which stamps files, to the second; from the ``Date`` of an HTTP answer."""
        _, _, date = self._exchange("/jmx?get=Hadoop:service=NameNode,name=NameNodeInfo::ClusterId")
        try:
            return int(parsedate_to_datetime(date or "").timestamp() * 1000)
        except ValueError:
            raise self._no_namenode("a date") from None

    def namespace(self) -> str:
        """The cluster id, given when the NameNode was formatted; neither a restart nor another port changes it."""
        _, answer = self._http("/jmx?get=Hadoop:service=NameNode,name=NameNodeInfo::ClusterId")
        try:
            return str(json.loads(answer)["beans"][0]["ClusterId"])
        except (ValueError, LookupError):
            raise self._no_namenode("a cluster id") from None

    @property
    def _client(self) -> LimitedClient:
        # A parent's client stays in the inherited dict, so that a child never runs its destructor.
        key = (os.getpid(), self.address.url, _user())
        return _clients.get(key) or _clients.setdefault(key, LimitedClient(self.address.url))

    @contextmanager
    def _answers(self, path: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such file or folder", path) from None
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, "already exists", path) from None
        except (OSError, RuntimeError) as error:
            if not writing and "(is not a directory)" in str(error):
                # One of the folders above it has become a file.
                raise FileNotFoundError(errno.ENOENT, "no such file or folder", path) from None
            raise self._problem(error, path, writing) from error

    def _problem(self, error: Exception, path: str, writing: bool) -> WordtideError:
        place = f"{self.address.url}{path}"
        if isinstance(error, NoAnswer):
            return SourceUnavailable(f"{place}: {error}")
        remote = _REMOTE.search(str(error))
        if remote is None:
            reason = _reason_of_one_file(str(error))
            if reason is not None:
                return Unreadable(place, reason)
            return SourceUnavailable(
                f"{place}: the HDFS does not answer ({_first_line(str(error))}); "
                "start it (`wordtide up`) or correct WORDTIDE_HDFS_URL"
            )
        kind, message = remote[1].rpartition(".")[2], _first_line(remote[2])
        if kind in {"SafeModeException", "RetriableException", "StandbyException"}:
            return SourceUnavailable(
                f"{place}: the NameNode is starting or in safe mode; wait, or `hdfs dfsadmin -safemode leave`"
            )
        if kind == "AccessControlException":
            return AccessDenied(place, f"{message}; set HADOOP_USER_NAME or grant it")
        if writing and any(sign in remote[0] for sign in _NO_ROOM):
            return EnvironmentProblem(f"{place}: no space left in the HDFS or the folder's quota ({message})")
        return Unreadable(place, f"the NameNode refuses ({kind}: {message})")

    def _no_namenode(self, wanted: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"http://{self.address.webhdfs}: answers without {wanted}; is it the NameNode's HTTP port?"
        )

    def _refused(self, status: int, answer: bytes, path: str) -> SourceUnavailable:
        kind = ""
        try:
            said = json.loads(answer)["RemoteException"]
            kind, message = str(said["exception"]), _first_line(str(said["message"]))
        except (ValueError, LookupError):
            message = f"status {status}"
        place = f"{self.address.url}{path}"
        if kind == "AccessControlException":
            return AccessDenied(place, f"{message}; set HADOOP_USER_NAME or grant it")
        return SourceUnavailable(
            f"{place}: asked by http://{self.address.webhdfs}: {message}; "
            "set HADOOP_USER_NAME or grant it, and leave dfs.webhdfs.enabled on"
        )

    def _webhdfs(self, path: str, operation: str, **parameters: object) -> Any:
        """Return the answer of a WebHDFS operation that reads; None for a missing path."""
        query = urlencode({"op": operation, **parameters, "user.name": _user()})
        status, answer = self._http(f"/webhdfs/v1{quote(path)}?{query}")
        if status == 404:
            return None
        if status != 200:
            raise self._refused(status, answer, path)
        try:
            return json.loads(answer)
        except ValueError:
            raise self._no_namenode(f"the result of {operation}") from None

    def _http(self, target: str) -> tuple[int, bytes]:
        """Return status and body of a GET."""
        return self._exchange(target)[:2]

    def _exchange(self, target: str) -> tuple[int, bytes, str | None]:
        """Return status, body and date of the answer to a GET, through a connection that this thread keeps."""
        key = (os.getpid(), self.address.webhdfs)
        connection = _kept.connections.get(key)
        if connection is None:
            connection = http.client.HTTPConnection(self.address.webhdfs, timeout=_HTTP_SECONDS)
            _kept.connections[key] = connection
        fresh = connection.sock is None
        try:
            try:
                return _get(connection, target)
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
                if fresh:
                    raise
                # The server closes idle connections; that is found out by using one.
                return _get(connection, target)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise SourceUnavailable(
                f"http://{self.address.webhdfs}: the NameNode's HTTP port does not answer ({error}); "
                "start the HDFS (`wordtide up`) or correct its address"
            ) from error


def _reason_of_one_file(text: str) -> str | None:
    """Return why the bytes of one file cannot be had, if that is what an error of hdfs-native says.

    The NameNode has answered by then: where its bytes are, and by which key they are to be read.
    """
    if "DataTransferError(" in text or "ChecksumError" in text or "ErasureCodingError" in text:
        # Its own words list DataNodes and figures, which are others each time.
        return "no DataNode gives a sound copy of one of its blocks; hdfs fsck shows which and where they were"
    if "encryption zone" in text or "KMS" in text:
        said = _first_line(text).removeprefix('OperationFailed("').rstrip('")')
        return f"is in an encryption zone, and there is no key ({said}); name its key server there, kms://…"
    return None


def _get(connection: http.client.HTTPConnection, target: str) -> tuple[int, bytes, str | None]:
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, response.read(), response.headers["Date"]


def _user() -> str:
    return os.environ.get("HADOOP_USER_NAME") or getpass.getuser()


def _first_line(text: str) -> str:
    """Return a Java message without its stack trace, be the line ends real or the escapes of a Rust debug string."""
    line = re.split(r"\\n|\n", text, maxsplit=1)[0].replace('\\"', '"')
    # What closes the debug string goes, what the message has opened itself stays.
    while line.endswith('"') or (line.endswith(")") and line.count(")") > line.count("(")):
        line = line[:-1]
    return line

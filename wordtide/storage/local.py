"""A local disk, or whatever is mounted as one."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import shutil
import stat
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from wordtide.core.problems import EnvironmentProblem, SourceUnavailable, WordtideError
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
from wordtide.storage.fileid import file_id
from wordtide.storage.survey import Closed, MayEnter, Odd, Survey, everywhere

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What writing says when a disk, a quota or a limit is exhausted."""
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
"""What reading says of a path without a file: a folder may be in its place by now, or a file in a folder's."""
_OUR_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What says nothing about a path: this process, or the machine, has used up what it may have."""
_NO_KEY = {errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED, errno.EKEYREJECTED}

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """Files of this machine. See `wordtide.storage.Storage`."""

    def list_files(self, root: str) -> list[FileInfo]:
        """See `Storage`."""
        return self.survey(root).complete()

    def survey(self, root: str, enter: MayEnter = everywhere) -> Survey:
        """See `Storage`. A linked folder is not entered, so a loop is harmless and no file appears twice."""
        found = Survey()
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                _scan(folder, enter, found, folders)
            except FileNotFoundError:
                # Below the root a folder may go while we look; the root must be there.
                if folder == root:
                    raise NoFolder(f"{root}: no such folder; create it or correct landing.path") from None
            except NotADirectoryError:
                if folder == root:
                    raise SourceUnavailable(f"{root}: is a file, not a folder; correct landing.path") from None
            except OSError as error:
                problem = _path_problem(folder, error)
                if folder == root:
                    raise problem from error
                found.closed.append(Closed(folder, True, problem))
        return found

    def stat(self, path: str) -> FileInfo:
        """See `Storage`."""
        try:
            info = _info(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        if info is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return info

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unreadable(path, error) from error
        return True

    def read_range(self, path: str, start: int, end: int) -> Iterator[bytes]:
        """See `Storage`."""
        try:
            # Not to wait for a writer when a FIFO was put in the file's place.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _unread(path, error) from error
        try:
            while start < end:
                chunk = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        except OSError as error:
            raise _unread(path, error) from error
        finally:
            os.close(descriptor)

    def read_small(self, files: Sequence[tuple[str, int]]) -> Generator[bytes | PathProblem | None, None, None]:
        """See `Storage`. One after the other: a local disk has no round trips to hide."""
        for path, length in files:
            try:
                content: bytes | PathProblem | None = b"".join(self.read_range(path, 0, length))
            except FileNotFoundError:
                content = None
            except PathProblem as problem:
                content = problem
            yield content

    def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
        """See `Storage`. Content and every new folder entry are fsynced."""
        folder = os.path.dirname(path)
        self.mkdirs(folder)
        written = path if private else temporary_name(path, uuid.uuid4().hex)
        length = 0
        with _writing(folder, path):
            descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                for chunk in chunks:
                    length += len(chunk)
                    with _writing(folder, path):
                        _write_all(descriptor, chunk)
                with _writing(folder, path):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not private:
                with _writing(folder, path):
                    os.link(written, path)
                    os.unlink(written)
        except BaseException:
            with suppress(OSError):
                os.unlink(written)
            raise
        with _writing(folder, path):
            _sync_folder(folder)
        return length

    def rename(self, source: str, target: str) -> None:
        """See `Storage`."""
        folder = os.path.dirname(target)
        try:
            _rename(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise EnvironmentProblem(
                    f"{folder}: is on another file system than {source}; nothing can be renamed from there to here"
                ) from error
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise FileNotFoundError(errno.ENOENT, "no such file, or no folder for it", source) from None
            if isinstance(error, FileExistsError):
                raise FileExistsError(errno.EEXIST, "already exists", target) from None
            origin = os.path.dirname(source)
            raise _unwritable(folder if os.access(origin, os.W_OK) else origin, error) from error
        with _writing(folder, target):
            _sync_folder(folder)

    def mkdirs(self, path: str) -> None:
        """See `Storage`."""
        missing = []
        folder = path
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            missing.append(folder)
            folder = os.path.dirname(folder)
        try:
            for folder in reversed(missing):
                with suppress(FileExistsError):
                    os.mkdir(folder)
                _sync_folder(os.path.dirname(folder))
            if not os.path.isdir(path):
                raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", path)
        except OSError as error:
            raise _unwritable(path, error) from error

    def delete(self, path: str) -> bool:
        """See `Storage`."""
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unwritable(path, error) from error
        return True

    def prune(self, root: str) -> None:
        """See `Storage`."""
        for folder, _folders, _files in os.walk(root, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)

    @contextmanager
    def pinned(self, path: str) -> Iterator[int]:
        """See `Storage`. An inode is used again only when nothing has it open."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise _unread(path, error) from error
        try:
            yield file_id(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def identified(self, files: Sequence[FileInfo], seconds: float) -> list[FileInfo]:  # noqa: ARG002 the protocol's
        """See `Storage`."""
        return list(files)

    def pages_with_ids(self, folder: str) -> Iterator[list[FileInfo]]:  # noqa: ARG002 the protocol's
        """See `Storage`."""
        return iter(())

    def under_construction(self, path: str) -> bool:  # noqa: ARG002 the protocol's
        """False: nothing shows it. The contract on a local disk is to write elsewhere and rename."""
        return False

    def clock_ms(self) -> int:
        """See `Storage`. This machine's: a file server's cannot be asked."""
        return time.time_ns() // 1_000_000

    def namespace(self) -> str:
        """``file``."""
        return "file"


def _scan(folder: str, enter: MayEnter, found: Survey, folders: list[str]) -> None:
    """Add what is in a folder to a survey, and the folders in it that are worth being listed to those to come."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not is_hidden(entry.name) and enter(entry.path):
                        folders.append(entry.path)
                    continue
                info = _info(entry.path)
            except OSError as error:
                if not os.access(folder, os.X_OK, effective_ids=True):
                    # Names may be read here and no more: so it is with all of them.
                    raise
                found.closed.append(Closed(entry.path, False, _path_problem(entry.path, error)))
                continue
            if info is not None:
                found.files.append(info)
            elif (what := _oddity(entry)) is not None:
                found.odd.append(Odd(entry.path, what))


def _info(path: str) -> FileInfo | None:
    """Return a regular file's figures; None for anything else, or when a link leads nowhere or in a circle."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileInfo(path, status.st_size, status.st_mtime_ns // 1_000_000, 0, file_id(status))


def _oddity(entry: os.DirEntry[str]) -> str | None:
    """Return what an entry without a regular file is; None: it is gone."""
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return None
    if not stat.S_ISLNK(mode):
        return _KINDS.get(stat.S_IFMT(mode))
    try:
        target = os.stat(entry.path).st_mode
    except OSError as error:
        return "a circular link" if error.errno == errno.ELOOP else "a dangling link"
    return "a link to a folder, which is not followed" if stat.S_ISDIR(target) else _KINDS.get(stat.S_IFMT(target))


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _rename(source: str, target: str) -> None:
    """Rename without overwriting: in one step where the kernel can, else by hard link.

    Linking takes two steps and, on a usual Linux, is not allowed with files that belong to somebody else.
    """
    renameat2 = getattr(_libc, "renameat2", None)
    if renameat2 is not None:
        if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in {errno.ENOSYS, errno.EINVAL}:
            raise OSError(number, os.strerror(number), target)
    try:
        os.link(source, target)
    except FileExistsError:
        if source == target or not os.path.samefile(source, target):
            raise
        # Somebody was killed between the two steps.
    os.unlink(source)


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _writing(folder: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "already exists", path) from None
    except OSError as error:
        raise _unwritable(folder, error) from error


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unread(path: str, error: OSError) -> OSError | SourceUnavailable:
    if error.errno in _NO_SUCH_FILE:
        return FileNotFoundError(errno.ENOENT, "no such file", path)
    return _unreadable(path, error)


def _path_problem(path: str, error: OSError) -> PathProblem:
    """Return an error as one of the path alone, or raise it as one of this process."""
    problem = _unreadable(path, error)
    if not isinstance(problem, PathProblem):
        raise problem from error
    return problem


def _unreadable(path: str, error: OSError) -> SourceUnavailable:
    if isinstance(error, PermissionError):
        return AccessDenied(path, f"permission denied: {_who(path)}; let this user read it (folders: r-x)")
    why = error.strerror or str(error)
    if error.errno in _OUR_OWN_LIMITS:
        return SourceUnavailable(f"{path}: cannot be read ({why}); raise this process's limits (ulimit -n)")
    if error.errno in _NO_KEY:
        return Unreadable(path, f"is encrypted and its key is not available ({why}); unlock it for this user")
    return Unreadable(path, f"cannot be read ({why}); check its disk or mount")


def _who(path: str) -> str:
    """Return who asks, and whose a path is, as far as that can be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return f"user={_user(os.geteuid())}"
    return f"user={_user(os.geteuid())}, owner={_user(status.st_uid)}, mode={stat.filemode(status.st_mode)}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _unwritable(folder: str, error: OSError) -> WordtideError:
    if error.errno in NO_ROOM:
        return EnvironmentProblem(f"{folder}: no space left ({error.strerror}); free some and run again")
    if isinstance(error, PermissionError):
        return EnvironmentProblem(f"{folder}: permission denied; let this user write there")
    return EnvironmentProblem(f"{folder}: cannot be written ({error.strerror or error})")

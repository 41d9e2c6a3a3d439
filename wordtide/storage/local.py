"""A local disk, or whatever is mounted as one."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from wordtide.errors import EnvironmentProblem, SourceUnavailable, WordtideError
from wordtide.storage.base import CHUNK_BYTES, FileInfo, is_hidden, temporary_name

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """Files of this machine. See `wordtide.storage.Storage`."""

    @property
    def parallel_reads(self) -> int:
        """One: a thread costs more than a file out of the page cache."""
        return 1

    def list_files(self, root: str) -> list[FileInfo]:
        """See `Storage`. A linked folder is not entered, so a loop is harmless and no file appears twice."""
        found: list[FileInfo] = []
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            if not is_hidden(entry.name):
                                folders.append(entry.path)
                            continue
                        info = _info(entry.path)
                        if info is not None:
                            found.append(info)
            except FileNotFoundError:
                # Below the root a folder may go while we look; the root must be there.
                if folder == root:
                    raise SourceUnavailable(f"{root}: no such folder; create it or correct landing.path") from None
            except NotADirectoryError:
                if folder == root:
                    raise SourceUnavailable(f"{root}: is a file, not a folder; correct landing.path") from None
            except OSError as error:
                raise _unreadable(folder, error) from error
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
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            while start < end:
                chunk = os.pread(descriptor, min(CHUNK_BYTES, end - start), start)
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        except OSError as error:
            raise _unreadable(path, error) from error
        finally:
            os.close(descriptor)

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
        """See `Storage`. By hard link, the one rename of POSIX that never overwrites."""
        folder = os.path.dirname(target)
        if not os.path.lexists(source):
            raise FileNotFoundError(errno.ENOENT, "no such file", source)
        with _writing(folder, target):
            os.link(source, target)
            os.unlink(source)
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

    def under_construction(self, path: str) -> bool:  # noqa: ARG002 the protocol's
        """False: nothing shows it. The contract on a local disk is to write elsewhere and rename."""
        return False

    def namespace(self) -> str:
        """``file``."""
        return "file"


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
    return FileInfo(path, status.st_size, status.st_mtime_ns // 1_000_000, 0)


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


def _unreadable(path: str, error: OSError) -> SourceUnavailable:
    if isinstance(error, PermissionError):
        return SourceUnavailable(f"{path}: permission denied; let this user read it (folders: r-x)")
    return SourceUnavailable(f"{path}: cannot be read ({error.strerror or error})")


def _unwritable(folder: str, error: OSError) -> WordtideError:
    if error.errno in _NO_ROOM:
        return EnvironmentProblem(f"{folder}: no space left ({error.strerror}); free some and run again")
    if isinstance(error, PermissionError):
        return EnvironmentProblem(f"{folder}: permission denied; let this user write there")
    return EnvironmentProblem(f"{folder}: cannot be written ({error.strerror or error})")

"""Disks that run full on demand: a small real one where mounting is allowed, and a limit of the kernel's everywhere."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

MOUNTED_BYTES = 4 << 20
PAGE = 4096


class Disk(Protocol):
    """A disk that can be filled."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    def fill(self, leave: int = 0) -> None:
        """Leave no room but for this many bytes."""

    def free(self) -> None:
        """Leave room again."""


@contextmanager
def suppress_no_room() -> Iterator[None]:
    """Let a disk be full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@dataclass(frozen=True)
class Tmpfs:
    """A file system of its own, as small as a few batches."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        """See `Disk`."""
        descriptor = os.open(self.folder / "ballast", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            with suppress_no_room():
                while os.write(descriptor, b"\0" * PAGE):
                    pass
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - leave)
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """See `Disk`."""
        (self.folder / "ballast").unlink(missing_ok=True)


@dataclass(frozen=True)
class Limit:
    """The kernel's limit on the size of files this process writes: no file may grow, as on a full disk."""

    folder: Path

    def fill(self, leave: int = 0) -> None:
        """See `Disk`. Room is that of each file here."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (leave, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def free(self) -> None:
        """See `Disk`."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={MOUNTED_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True, timeout=20)


def _may_mount() -> bool:
    with TemporaryDirectory() as folder:
        mounted = _mount(Path(folder))
        if mounted:
            _unmount(Path(folder))
        return mounted


KINDS = ("tmpfs", "limit") if _may_mount() else ("limit",)


@contextmanager
def disk_of(kind: str, folder: Path) -> Iterator[Disk]:
    """Make a disk of a kind at an empty folder; it is gone afterwards."""
    folder.mkdir()
    if kind == "limit":
        limit = Limit(folder)
        try:
            yield limit
        finally:
            limit.free()
        return
    assert _mount(folder)
    try:
        yield Tmpfs(folder)
    finally:
        _unmount(folder)

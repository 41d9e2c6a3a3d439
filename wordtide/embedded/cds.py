"""Class archives (AppCDS): a server's second start loads its classes ready-made and takes half the time.

The JVM writes the archive when it ends, in the cluster's home. Only after a clean end it is moved to the cache
directory, where every home finds it: a half-written one must never be used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_UNUSED = 30 * 86_400.0
"""Seconds after which an archive nobody started from is deleted: each new Java or jar leaves one behind (50-70 MB)."""


def flags(name: str, java: Path, classpath: Sequence[Path], *, cache: Path, home: Path) -> list[str]:
    """Return the JVM flags that use the archive of this server, or have it written when there is none yet.

    Args:
        name: the server's name.
        java: the `java` that runs it.
        classpath: its jars, in order.
        cache: the cache directory.
        home: the server's own directory, where a new archive is written.
    """
    discard(home)
    file = f"{name}-{_key(java, classpath)}.jsa"
    archive = cache / "cds" / file
    # The JVM reports each class it leaves out; none of it concerns anybody.
    quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
    if archive.exists():
        with suppress(OSError):
            os.utime(archive)
        return [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", *quiet]
    return [f"-XX:ArchiveClassesAtExit={home / file}", *quiet]


def publish(cache: Path, home: Path) -> None:
    """Move the archive a server wrote into the cache; call it after the server ended by itself."""
    for written in home.glob("*.jsa"):
        folder = cache / "cds"
        folder.mkdir(parents=True, exist_ok=True)
        arriving = folder / f".{written.name}.{os.getpid()}"
        shutil.copyfile(written, arriving)
        arriving.replace(folder / written.name)
        _prune(folder)
    discard(home)


def discard(home: Path) -> None:
    """Delete what a server wrote before it died."""
    for written in home.glob("*.jsa"):
        written.unlink()


def _key(java: Path, classpath: Sequence[Path]) -> str:
    """Identify what an archive depends on; the JVM would ignore one that does not fit, and never write a better one."""
    described = []
    for file in (java.resolve(), *classpath):
        status = file.stat()
        described.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


def _prune(folder: Path) -> None:
    for archive in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - archive.stat().st_mtime > _UNUSED:
                archive.unlink()

"""`wordtide land`: files appear in a landing folder whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from wordtide.cli.produce import check_readable
from wordtide.cli.progress import progress, told
from wordtide.config import is_url
from wordtide.core.problems import ConfigError
from wordtide.sources.files.names import is_candidate
from wordtide.storage import CHUNK_BYTES, storage_for
from wordtide.wiring import hdfs_address


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.argument("folder", metavar="DIR")
def land(files: tuple[str, ...], folder: str) -> None:
    """Copy FILEs into DIR, a folder or hdfs://…: under a hidden name, then renamed, never over another file.

    DIR is made if it is missing. Nothing is landed if any FILE is missing or any name is taken.
    """
    check_readable(files)
    paths = [Path(name) for name in files]
    for name, times in Counter(path.name for path in paths).items():
        if times > 1:
            raise ConfigError(f"{name}: named {times} times; in one folder a name can be landed once")
    storage, root = storage_for(folder, hdfs_address() if is_url(folder) else None)
    for path in paths:
        if storage.exists(f"{root}/{path.name}"):
            raise ConfigError(f"{folder}: there is already a {path.name}; nothing was landed. Use another name")
    storage.mkdirs(root)
    with progress("landing", sum(path.stat().st_size for path in paths)) as advance:
        for landed, path in enumerate(paths):
            try:
                storage.write_durably(f"{root}/{path.name}", told(_chunks(path), advance))
            except FileExistsError:
                raise ConfigError(
                    f"{folder}: there is already a {path.name}, since a moment ago; {landed} of {len(paths)} files were"
                    f" landed before it. Land {path.name} and those after it under other names"
                ) from None
    for path in paths:
        if not is_candidate(path.name, "**/*"):
            click.echo(f"wordtide: {path.name}: no stream takes a file of this name", err=True)
    noun = "file" if len(paths) == 1 else "files"
    click.echo(f"landed {len(paths):,} {noun} in {folder}", err=True)

"""Under which names a rotated file was written before: rotation by rename or copy has an agent read it again."""

from __future__ import annotations

import re

_ROTATED = re.compile(r"(?P<name>.*?[^.\-_])[.\-_](?P<suffix>\d[\d.\-_T:]*|old|bak|prev|orig|save)", re.DOTALL)
_MAX_NUMBER = 1_000_000


def origins_of(file: str) -> list[str]:
    """Return what a file may have been called before its rotation: `app.log` and `app.log.1` for `app.log.2`.

    Only a suffix counts, as logrotate and most loggers append it: `worker-2.log` may be a second worker's.
    """
    folder, slash, name = file.rpartition("/")
    match = _ROTATED.fullmatch(name)
    if match is None:
        return []
    before, suffix = match["name"], match["suffix"]
    found = [before]
    if suffix.isascii() and suffix.isdecimal() and 0 < int(suffix[:9]) <= _MAX_NUMBER:
        shorter = str(int(suffix) - 1).zfill(len(suffix) if suffix.startswith("0") else 0)
        found.append(f"{name[: -len(suffix)]}{shorter}")
    return [f"{folder}{slash}{one}" for one in found]

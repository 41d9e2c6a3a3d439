"""numpy sorts six times slower with AVX-512 than with AVX2 on AMD's Zen 4; there it is asked to leave AVX-512 alone.

Its sort stores compressed vectors to memory, which that processor does in microcode
(https://github.com/numpy/x86-simd-sort/issues/6; AMD's Software Optimization Guide for Zen 4, 2.11.2). Sorting was a
third of the time of counting. numpy looks at the environment once, when it is first imported.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_VARIABLE = "NPY_DISABLE_CPU_FEATURES"
_CPUINFO = Path("/proc/cpuinfo")
_FIRST_PROCESSOR = 8192
"""Bytes of it that surely describe one processor; with all of them a large machine's takes long to read."""


def is_zen4(cpuinfo: str) -> bool:
    """Whether Linux's ``/proc/cpuinfo`` begins with a Zen 4: of AMD's family 25 the one with AVX-512."""
    fields = dict[str, str]()
    for line in cpuinfo.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return (
        fields.get("vendor_id") == "AuthenticAMD"
        and fields.get("cpu family") == "25"
        and "avx512f" in fields.get("flags", "").split()
    )


def prepare_numpy() -> None:
    """Ask a numpy that is not imported yet for its fast sort; children inherit that. A user's own setting stays."""
    if "numpy" in sys.modules or _VARIABLE in os.environ:
        return
    # Not Linux, or not for us to see: numpy chooses.
    with suppress(OSError), _CPUINFO.open() as file:
        if is_zen4(file.read(_FIRST_PROCESSOR)):
            # numpy's name for AVX-512 from 2.4 on. An older one ignores it and is as slow as before.
            os.environ[_VARIABLE] = "X86_V4"

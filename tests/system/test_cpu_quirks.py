"""numpy's sort is kept off AVX-512 where that is the slow way, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wordtide.system.cpu_quirks import is_zen4

ZEN4 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nflags\t\t: fpu avx2 avx512f avx512dq\n"


@pytest.mark.parametrize(
    ("cpuinfo", "slow"),
    [
        (ZEN4, True),
        (f"{ZEN4}\nprocessor\t: 1\nvendor_id\t: GenuineIntel\n", True),
        (ZEN4.replace(" avx512f avx512dq", ""), False),  # Zen 3
        (ZEN4.replace(": 25", ": 26"), False),  # Zen 5
        (ZEN4.replace("AuthenticAMD", "GenuineIntel"), False),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n", False),  # Arm
        (ZEN4[: ZEN4.index("flags")], False),
        ("", False),
    ],
)
def test_only_a_zen4_sorts_slowly_with_avx512(cpuinfo: str, slow: bool) -> None:
    assert is_zen4(cpuinfo) is slow


def test_a_choice_of_the_user_stays() -> None:
    assert _chosen(NPY_DISABLE_CPU_FEATURES="") == ""
    assert _chosen(NPY_DISABLE_CPU_FEATURES="AVX512_ICL") == "AVX512_ICL"


def test_the_environment_is_left_alone_when_numpy_is_there_already() -> None:
    assert _chosen(before="import numpy") == "None"


def test_numpy_on_this_machine_heeds_the_choice() -> None:
    with open("/proc/cpuinfo") as file:
        zen4 = is_zen4(file.read())
    assert zen4 is (_chosen() == "X86_V4")
    used = _printed(
        "import wordtide; from numpy._core import _multiarray_umath as m; print(m.__cpu_features__['X86_V4'])"
    )
    assert not (zen4 and used == "True")


def _chosen(before: str = "", **environment: str) -> str:
    return _printed(f"{before}\nimport os, wordtide; print(os.environ.get('NPY_DISABLE_CPU_FEATURES'))", **environment)


def _printed(program: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "NPY_DISABLE_CPU_FEATURES"}
    run = [sys.executable, "-c", program]
    return subprocess.run(
        run, env={**clean, **environment}, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()

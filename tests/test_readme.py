"""The README's reliability chapter names a test for each case, and the tests are there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from wordtide.config import PROJECT_ROOT

_CHAPTER = (PROJECT_ROOT / "README.md").read_text().split("\n## Reliability\n")[1].split("\n## ")[0]
_ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in _CHAPTER.splitlines()
    if line.startswith("|") and not line.startswith(("| case |", "|---", "| **"))
]
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@cache
def functions_in(path: str) -> frozenset[str]:
    tree = ast.parse((PROJECT_ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row[0][:60])
def test_each_case_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3, row
    named = _TEST.findall(row[2])
    assert named, f"no test is named for: {row[0]}"
    for path, name in named:
        assert name in functions_in(path), f"{path} has no {name}"


def test_each_test_of_a_fault_is_named_by_a_case() -> None:
    named = set(_TEST.findall(_CHAPTER))
    for path in sorted((PROJECT_ROOT / "tests" / "faults").glob("test_*.py")):
        relative = path.relative_to(PROJECT_ROOT).as_posix()
        there = {(relative, name) for name in functions_in(relative) if name.startswith("test_")}
        assert there <= named, f"not in the README: {sorted(name for _, name in there - named)}"

"""The dashboard and the alert rules ask for what we export, and the documentation lists it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from wordtide.config import PROJECT_ROOT
from wordtide.exporters.prometheus.families import families

_EXAMPLES = PROJECT_ROOT / "examples"
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",), "gauge": ("",)}
_FAMILIES = list(families({}, {}))
_EXPORTED = {family.name + suffix: family for family in _FAMILIES for suffix in _SUFFIXES[family.type]}
_LABELS = {"stream", "source", "topic", "partition", "status", "step", "version", "le", "job", "instance"}


def _expressions(found: Any) -> list[str]:
    if isinstance(found, dict):
        texts = [value for key, value in found.items() if key in {"expr", "query"} and isinstance(value, str)]
        return texts + [text for value in found.values() for text in _expressions(value)]
    return [text for value in found for text in _expressions(value)] if isinstance(found, list) else []


def _dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((_EXAMPLES / "grafana" / "wordtide.json").read_text())
    return read


_RULES = yaml.safe_load((_EXAMPLES / "prometheus" / "rules.yml").read_text())
_ASKED = [*_expressions(_RULES), *_expressions(_dashboard())]


@pytest.mark.parametrize("expression", _ASKED)
def test_every_metric_that_the_examples_use_is_exported_with_those_labels(expression: str) -> None:
    assert set(re.findall(r"\bwordtide_\w+", expression)) <= _EXPORTED.keys()
    grouped = re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", expression)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression)
    assert {label.strip() for labels in grouped for label in labels.split(",")} | set(matched) <= _LABELS


def test_the_examples_cover_what_an_operator_must_hear_of() -> None:
    assert len(_ASKED) > 20
    named = {rule["alert"] for group in _RULES["groups"] for rule in group["rules"]}
    assert {"WordtideNotFresh", "WordtideLagGrowing", "WordtideParked", "WordtideDrainFailing"} <= named
    assert all(rule["annotations"]["do"] for group in _RULES["groups"] for rule in group["rules"])


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_documentation_lists_exactly_what_is_exported() -> None:
    listed = re.findall(r"^\| `(wordtide_\w+)` \|", (PROJECT_ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    exported = [f.name + {"counter": "_total", "info": "_info"}.get(f.type, "") for f in _FAMILIES]
    assert sorted(listed) == sorted(exported)

"""Hooks into the steps of a batch, as the fault kit has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wordtide.drain.loop import Step

At = Callable[[Step, Callable[[], None]], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """``at(step, action)``: do something the first time a drain of this process reaches a step."""
    actions: dict[Step, list[Callable[[], None]]] = {step: [] for step in Step}

    def reached(step: Step) -> None:
        if actions[step]:
            actions[step].pop(0)()

    monkeypatch.setattr("wordtide.drain.loop.reached", reached)
    return lambda step, action: actions[step].append(action)

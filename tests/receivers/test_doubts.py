"""What is said of doubtful lines, and how often."""

from __future__ import annotations

import pytest

from tests.support import wait_until
from wordtide.receivers import doubts
from wordtide.receivers.doubts import DoubtsSaid


def test_doubtful_lines_are_said_at_once_and_then_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "_EVERY_SECONDS", 0.5)
    said: list[str] = []
    saying = DoubtsSaid(said.append)
    saying.add(1, "one", "/in/a.log", "has been used for a second file")
    first = "1 doubtful line landed, possibly repeated: /in/a.log of agent 'one' has been used for a second file"
    assert said == [first]
    for _ in range(1500):
        saying.add(2, "two", "/in/b.log", "is sent again")

    def all_said() -> bool:
        saying.watch()
        return sum(int(line.replace(",", "").split()[0]) for line in said) == 3001

    wait_until("the rest is said", all_said)
    assert len(said) <= 20
    assert "doubtful lines landed, possibly repeated: /in/b.log of agent 'two' is sent again" in said[-1]


def test_what_is_said_of_an_older_journal_is_nothing() -> None:
    assert doubts.Doubts.of({}) == doubts.Doubts()

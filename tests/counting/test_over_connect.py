"""How long a query over Spark Connect is waited for, with a session that does what the test says."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support import SECONDS
from wordtide.core.problems import EnvironmentProblem
from wordtide.counting import spark as engine


class Session:
    """Reports what it is told to; a query ends when the session is closed, as those of a closed channel do."""

    def __init__(self, interval: str = "2s") -> None:
        self.interval = interval
        self.closed = threading.Event()
        self.handlers: list[Any] = []
        self.client = self
        self.conf = self

    def get(self, _name: str, _default: str) -> str:
        return self.interval

    def registerProgressHandler(self, handler: Any) -> None:  # noqa: N802
        self.handlers.append(handler)

    def removeProgressHandler(self, handler: Any) -> None:  # noqa: N802
        self.handlers.remove(handler)

    def close(self) -> None:
        self.closed.set()

    def report(self, running: int) -> None:
        for handler in self.handlers:
            handler(stages=(), inflight_tasks=running, operation_id=None, done=False)


def collected(session: Session, collect: Any, answers: Any = None) -> Any:
    return engine.collected_over_connect(session, collect, "batch 1", answers)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(engine, "ANSWER_EVERY_SECONDS", 0.1)


def test_a_query_that_no_executor_works_on_is_given_up() -> None:
    session = Session()
    with pytest.raises(EnvironmentProblem, match="no executor of the Spark Connect server worked on batch 1"):
        collected(session, lambda: session.closed.wait(SECONDS))
    assert session.closed.is_set()


def test_executors_that_have_gone_are_noticed_too() -> None:
    session = Session()

    def collect() -> bool:
        session.report(2)
        while not session.closed.wait(0.05):
            session.report(0)
        return True

    with pytest.raises(EnvironmentProblem, match="no executor"):
        collected(session, collect)


@pytest.mark.parametrize(("interval", "running"), [("2s", 1), ("0", 0)])
def test_one_that_is_worked_on_is_waited_for_and_so_is_one_of_a_server_that_does_not_report(
    interval: str, running: int
) -> None:
    session = Session(interval)

    def collect() -> list[str]:
        session.report(running)
        assert not session.closed.wait(3 * engine.IDLE_SECONDS)
        return ["row"]

    assert collected(session, collect) == ["row"]
    assert not session.handlers


def test_a_server_that_does_not_answer_ends_the_query() -> None:
    session = Session("0")

    def answers() -> None:
        raise EnvironmentProblem("it does not answer")

    with pytest.raises(EnvironmentProblem, match="it does not answer"):
        collected(session, lambda: session.closed.wait(SECONDS), answers)
    assert session.closed.is_set()

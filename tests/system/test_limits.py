"""Calls with a limit, of a server that hangs and goes on again."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from tests.support import SECONDS, unique, wait_until
from wordtide.system.limits import NoAnswer, Server


@pytest.fixture
def server() -> Server:
    return Server(unique("server"), "wake it up")


@pytest.fixture
def silence() -> Iterator[Event]:
    """What a server waits for before it answers."""
    event = Event()
    yield event
    event.set()


def test_what_a_call_returns_or_raises_comes_through(server: Server) -> None:
    assert server.ask(SECONDS, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        server.ask(SECONDS, lambda: 1 / 0)


def test_a_late_call_is_given_up_in_one_line(server: Server, silence: Event) -> None:
    with pytest.raises(NoAnswer, match=r"server.* did not answer within 0.01 s; wake it up"):
        server.ask(0.01, silence.wait)


def test_a_server_that_hangs_is_not_asked_again_at_once(server: Server, silence: Event) -> None:
    asked: list[int] = []
    with pytest.raises(NoAnswer):
        server.ask(0.01, silence.wait)
    with pytest.raises(NoAnswer):
        server.ask(SECONDS, lambda: asked.append(1))
    assert not asked


def test_once_the_late_call_has_returned_the_server_is_asked_as_ever(server: Server, silence: Event) -> None:
    with pytest.raises(NoAnswer):
        server.ask(0.01, silence.wait)
    silence.set()

    def answers() -> bool:
        try:
            return server.ask(SECONDS, lambda: True)
        except NoAnswer:
            return False

    assert wait_until("it is asked again", answers)


def test_where_one_call_hangs_and_others_are_answered_these_go_on(server: Server, silence: Event) -> None:
    hanging = server.begin(SECONDS, silence.wait)
    server.abandon(hanging)
    # One is let through now and then; its answer shows that only a part of the server hangs.
    assert wait_until("one is let through", lambda: _asked(server, 0.01))
    assert all(_asked(server, SECONDS) for _ in range(3))


def _asked(server: Server, seconds: float) -> bool:
    try:
        return server.ask(seconds, lambda: True)
    except NoAnswer:
        return False


def test_calls_that_hang_have_a_bound(server: Server, silence: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.system.limits.ABANDONED_MOST", 2)
    for _ in range(2):
        server.abandon(server.begin(SECONDS, silence.wait))
        server.answered()
    with pytest.raises(NoAnswer):
        server.ask(SECONDS, lambda: True)

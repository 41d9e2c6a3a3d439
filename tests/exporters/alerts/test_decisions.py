"""What is alarming and what is told: decided without a server, an instance or a clock."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from wordtide.config import Stream, StreamConfig
from wordtide.exporters.alerts.decide import (
    AGAIN_SECONDS,
    GIVE_UP_SECONDS,
    MOST_WAITING,
    Delivery,
    Message,
    NotDelivered,
    State,
    decide,
    deliver,
    text_of,
)
from wordtide.exporters.alerts.judge import Alarm, Kind, Subject, judge, judge_checks
from wordtide.status.history import History
from wordtide.status.lag import StreamLag
from wordtide.status.monitor import Seen
from wordtide.table.ledger import ParkedSince

NOW = 1_800_000_000.0


def stream(**alerts: object) -> Stream:
    config = StreamConfig.model_validate({"kafka": {"topic": "t"}, "alerts": alerts})
    return Stream("news", config, "/nowhere/word_counts", None)


def seen(lag: int | None = 0, committed: float = NOW, parked: tuple[ParkedSince, ...] = (), **problems: str) -> Seen:
    found = StreamLag("news", "t", "records", 0, lag, lag, True) if lag is not None else None
    return Seen(1.0, history=History("id", 1, committed_at=committed), lag=found, parked=parked, **problems)


def parked(what: str, since: float = NOW) -> ParkedSince:
    return ParkedSince(what, "lost", datetime.fromtimestamp(since, UTC))


def kinds(look: Seen, behind_since: float | None = None, told: tuple[Subject, ...] = (), **alerts: object) -> set[Kind]:
    return {alarm.subject.kind for alarm in judge(stream(**alerts), look, NOW, behind_since, told).alarms}


ALARM = Alarm(Subject("news", Kind.LAG), "9 records wait", "look")
RIGHT = frozenset({ALARM.subject})


def test_a_quiet_stream_is_fresh_however_old_its_last_commit_is() -> None:
    quiet = judge(stream(), seen(committed=NOW - 1e6), NOW, NOW - 1e6)
    assert (quiet.alarms, quiet.behind_since) == ((), None)


def test_what_waits_is_alarming_once_nothing_was_committed_for_so_long() -> None:
    old = seen(lag=3, committed=NOW - 3600)
    first = judge(stream(), old, NOW, None)
    assert (first.alarms, first.behind_since) == ((), NOW)
    assert kinds(old, behind_since=NOW - 599) == set()
    assert kinds(old, behind_since=NOW - 600) == {Kind.FRESHNESS}
    assert kinds(old, behind_since=NOW - 600, freshness="20m") == set()
    assert kinds(old, behind_since=NOW - 600, freshness=None) == set()


def test_a_stream_that_is_behind_and_commits_all_the_time_is_fresh() -> None:
    assert kinds(seen(lag=10**6, committed=NOW - 5), behind_since=NOW - 86_400) == set()


def test_what_cannot_be_looked_at_is_not_fresh_and_everything_else_stays_as_it_was() -> None:
    look = seen(lag=None, committed=NOW - 3600, table_problem="no answer", source_problem="not asked")
    judged = judge(stream(lag=5), look, NOW, NOW - 3600)
    assert [alarm.subject.kind for alarm in judged.alarms] == [Kind.FRESHNESS]
    assert "no answer" in judged.alarms[0].what
    assert judged.right == frozenset()


def test_a_lag_is_alarming_above_its_threshold_and_over_at_half_of_it() -> None:
    on = (Subject("news", Kind.LAG),)
    assert kinds(seen(lag=100), lag=100) == set()
    assert kinds(seen(lag=101), lag=100) == {Kind.LAG}
    assert kinds(seen(lag=51), told=on, lag=100) == {Kind.LAG}
    assert kinds(seen(lag=50), told=on, lag=100) == set()
    assert kinds(seen(lag=10**9)) == set()


def test_what_is_parked_is_named_with_what_to_do() -> None:
    (alarm,) = judge(stream(), seen(parked=tuple(parked(f"t/{n}", NOW + n) for n in range(7))), NOW, None).alarms
    assert alarm.what.startswith("7 wait for a decision: t/6 (lost); t/5 (lost)")
    assert alarm.what.endswith("and 2 more")
    assert "wordtide resolve news" in alarm.do
    assert alarm.newest == NOW + 6


def test_checks_that_fail_are_alarming_by_name_and_those_under_way_stay_as_they_were() -> None:
    judged = judge_checks("news", {"a": "too few", "b": None})
    assert [(alarm.subject.name, alarm.what) for alarm in judged.alarms] == [("a", "check a failed: too few")]
    assert judged.right == {Subject("news", Kind.CHECK, "b")}


def told(state: State) -> list[tuple[str, str]]:
    return [(waiting.channel, waiting.message.state) for waiting in state.outbox]


def test_an_episode_is_told_once_to_each_channel_and_its_end_as_well() -> None:
    state = decide(State(), [ALARM], (), ["webhook", "mail"], NOW)
    assert told(state) == [("mail", "alarm"), ("webhook", "alarm")]
    for tick in range(5):
        state = decide(state, [ALARM], (), ["webhook", "mail"], NOW + tick)
    assert len(state.outbox) == 2
    state = decide(state, [], RIGHT, ["webhook", "mail"], NOW + 9)
    state = decide(state, [], RIGHT, ["webhook", "mail"], NOW + 10)
    assert told(state)[2:] == [("mail", "resolved"), ("webhook", "resolved")]
    again = decide(state, [ALARM], (), ["mail"], NOW + 11)
    assert told(again)[4:] == [("mail", "alarm")]
    assert len({waiting.message.id for waiting in again.outbox}) == 3


def test_an_alarm_that_can_not_be_judged_is_not_over() -> None:
    state = decide(State(), [ALARM], (), ["mail"], NOW)
    assert len(decide(state, [], frozenset(), ["mail"], NOW + 60).outbox) == 1


def test_what_comes_up_newly_while_an_alarm_is_on_is_told_but_not_more_than_once_an_hour() -> None:
    def alarm(newest: float) -> Alarm:
        return Alarm(Subject("news", Kind.PARKED), f"parked at {newest}", "decide", newest)

    state = decide(State(), [alarm(NOW)], (), ["mail"], NOW)
    state = decide(state, [alarm(NOW + 1)], (), ["mail"], NOW + 60)
    assert len(state.outbox) == 1
    state = decide(state, [alarm(NOW + 1)], (), ["mail"], NOW + AGAIN_SECONDS)
    state = decide(state, [alarm(NOW + 1)], (), ["mail"], NOW + 3 * AGAIN_SECONDS)
    assert len(state.outbox) == 2


def test_a_cursor_brings_the_state_back_and_a_foreign_one_an_empty_one() -> None:
    state = decide(State(behind={"news": NOW}), [ALARM], (), ["mail"], NOW)
    assert State.of_cursor(state.to_cursor()) == state
    for foreign in (None, "", "by hand", "[]", '{"episodes": [[1]]}', '{"outbox": 3}'):
        assert State.of_cursor(foreign) == State()


class Channel:
    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.taken: list[Message] = []

    def __call__(self, message: Message) -> None:
        if self.broken:
            raise NotDelivered("refused")
        self.taken.append(message)


def delivered(state: State, now: float, **channels: Channel) -> Delivery:
    return deliver(state, channels, now)


def test_what_one_channel_refuses_is_tried_again_there_and_not_sent_twice_elsewhere() -> None:
    mail, webhook = Channel(broken=True), Channel()
    state = decide(decide(State(), [ALARM], (), ["mail", "webhook"], NOW), [], RIGHT, ["mail", "webhook"], NOW + 1)
    first = delivered(state, NOW, mail=mail, webhook=webhook)
    assert (first.sent, first.problems, first.lost) == (2, ("mail: refused",), ())
    mail.broken = False
    second = delivered(first.state, NOW + 30, mail=mail, webhook=webhook)
    assert (second.sent, second.state.outbox) == (2, ())
    assert [m.state for m in mail.taken] == [m.state for m in webhook.taken] == ["alarm", "resolved"]


def test_a_channel_that_failed_gets_nothing_later_before_what_it_refused() -> None:
    taken: list[str] = []
    answers = iter([False, True, True])

    def flaky(message: Message) -> None:
        if not next(answers):
            raise NotDelivered("busy")
        taken.append(message.state)

    state = decide(decide(State(), [ALARM], (), ["mail"], NOW), [], RIGHT, ["mail"], NOW + 1)
    first = deliver(state, {"mail": flaky}, NOW)
    assert (first.sent, taken) == (0, [])
    deliver(first.state, {"mail": flaky}, NOW + 30)
    assert taken == ["alarm", "resolved"]


def test_what_nobody_takes_is_given_up_after_a_day_and_said_so() -> None:
    state = decide(State(), [ALARM], (), ["mail"], NOW)
    broken = Channel(broken=True)
    assert delivered(state, NOW + GIVE_UP_SECONDS - 1, mail=broken).lost == ()
    late = delivered(state, NOW + GIVE_UP_SECONDS, mail=broken)
    assert late.state.outbox == ()
    assert "mail: given up" in late.lost[0]
    assert "9 records wait" in late.lost[0]


def test_a_channel_that_is_no_longer_configured_loses_its_messages_aloud() -> None:
    state = decide(State(), [ALARM], (), ["mail"], NOW)
    assert "no longer configured" in delivered(state, NOW).lost[0]


def test_messages_that_wait_are_bounded_and_the_newest_are_kept() -> None:
    state = State()
    for tick in range(MOST_WAITING):
        state = decide(state, [ALARM], (), ["mail"], NOW + 2 * tick)
        state = decide(state, [], RIGHT, ["mail"], NOW + 2 * tick + 1)
    done = delivered(state, NOW, mail=Channel(broken=True))
    assert (len(done.state.outbox), len(done.lost)) == (MOST_WAITING, MOST_WAITING)
    assert done.state.outbox[-1].message == state.outbox[-1].message


@pytest.mark.parametrize("over", [False, True])
def test_a_message_says_whose_what_and_at_its_begin_what_to_do(over: bool) -> None:
    state = decide(State(), [ALARM], (), ["mail"], NOW)
    if over:
        state = decide(state, [], RIGHT, ["mail"], NOW + 1)
    text = text_of(state.outbox[-1].message)
    assert text.startswith("news: lag")
    assert "9 records wait" in text
    assert ("What to do: look" in text, "resolved" in text) == (not over, over)
    assert Counter(text)["\n"] == (0 if over else 1)

"""What is to be told: alarms that are on now against what was told already. Pure; the state is a sensor's cursor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from wordtide.exporters.alerts.judge import Alarm, Kind, Subject

AGAIN_SECONDS = 3600.0
"""While an alarm is on, what comes up newly under it is told once an hour at most."""
GIVE_UP_SECONDS = 86_400.0
"""A message that nobody took for so long is given up, and that is said."""
MOST_WAITING = 200
"""Messages that wait at most; of more the oldest are given up, and that is said."""
AT_ONCE = 10
"""Messages to one channel in one tick, so that a tick ends."""


class NotDelivered(Exception):
    """A channel did not take a message; one line says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, the same to every channel.

    Attributes:
        id: Always the same for the same news, so that a receiver knows a repeat.
        state: Whether the alarm begins or is over.
        stream: Whose.
        kind: What it is about.
        check: The check's name, if it is about one.
        what: What is wrong, or was.
        do: What to do about it; empty at the end.
        at: When it came up (seconds since the epoch).
    """

    id: str
    state: Literal["alarm", "resolved"]
    stream: str
    kind: str
    check: str
    what: str
    do: str
    at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that a channel has not taken yet."""

    channel: str
    message: Message
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm that is on: since when, what was told of it and when."""

    began: float
    told_at: float
    newest: float
    what: str


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from tick to tick.

    Attributes:
        episodes: Alarms that are on.
        outbox: What is not delivered yet, oldest first.
        behind: Since when a stream is behind, by its name.
    """

    episodes: Mapping[Subject, Episode] = field(default_factory=dict)
    outbox: tuple[Waiting, ...] = ()
    behind: Mapping[str, float] = field(default_factory=dict)

    def to_cursor(self) -> str:
        """Return the state as text."""
        episodes = [[*asdict(subject).values(), asdict(episode)] for subject, episode in self.episodes.items()]
        return json.dumps({"episodes": episodes, "outbox": [asdict(w) for w in self.outbox], "behind": self.behind})

    @classmethod
    def of_cursor(cls, cursor: str | None) -> State:
        """Return the state of a cursor; of one that cannot be read, e.g. set by hand, an empty one."""
        try:
            read = json.loads(cursor or "{}")
            return cls(
                {Subject(s, Kind(k), n): Episode(**episode) for s, k, n, episode in read.get("episodes", [])},
                tuple(Waiting(w["channel"], Message(**w["message"]), w["attempts"]) for w in read.get("outbox", [])),
                dict(read.get("behind", {})),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


def decide(
    state: State, alarms: Iterable[Alarm], right: Collection[Subject], channels: Collection[str], now: float
) -> State:
    """Return the state with what is to be told in its outbox.

    Args:
        state: Of the last tick.
        alarms: What is wrong now.
        right: What is not; an alarm that is on and in neither goes on.
        channels: Names of the channels that are configured.
        now: Seconds since the epoch.
    """
    episodes = dict(state.episodes)
    news: list[Message] = []
    for alarm in alarms:
        before = episodes.get(alarm.subject)
        if before is None:
            episodes[alarm.subject] = Episode(now, now, alarm.newest, alarm.what)
            news.append(_message(alarm.subject, "alarm", alarm.what, alarm.do, now))
        elif alarm.newest > before.newest and now - before.told_at >= AGAIN_SECONDS:
            episodes[alarm.subject] = Episode(before.began, now, alarm.newest, alarm.what)
            news.append(_message(alarm.subject, "alarm", alarm.what, alarm.do, now))
    for subject in sorted(right & episodes.keys()):
        over = episodes.pop(subject)
        news.append(_message(subject, "resolved", over.what, "", now))
    outbox = (*state.outbox, *(Waiting(channel, message) for message in news for channel in sorted(channels)))
    return replace(state, episodes=episodes, outbox=outbox)


def _message(subject: Subject, state: Literal["alarm", "resolved"], what: str, do: str, now: float) -> Message:
    known = hashlib.sha256(f"{subject.stream}/{subject.kind}/{subject.name}/{state}/{now}".encode()).hexdigest()
    return Message(known[:32], state, subject.stream, subject.kind.value, subject.name, what, do, now)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What delivering came to.

    Attributes:
        state: The state without what was taken or given up.
        sent: How many messages were taken.
        problems: Why others were not, a line a channel; they are tried again.
        lost: Messages that were given up, a line each.
    """

    state: State
    sent: int
    problems: tuple[str, ...]
    lost: tuple[str, ...]


def deliver(state: State, senders: Mapping[str, Callable[[Message], None]], now: float) -> Delivery:
    """Send what waits, in order; a channel that fails is left alone until the next tick.

    Args:
        state: The state.
        senders: Sends a message or raises NotDelivered, by channel.
        now: Seconds since the epoch.
    """
    waiting: list[Waiting] = []
    problems: dict[str, str] = {}
    lost: list[str] = []
    tried: dict[str, int] = dict.fromkeys(senders, 0)
    sent = 0
    for one in state.outbox:
        if one.channel not in senders:
            lost.append(_lost(one, "it is no longer configured"))
            continue
        if one.channel in problems or tried[one.channel] >= AT_ONCE:
            waiting.append(one)
            continue
        tried[one.channel] += 1
        try:
            senders[one.channel](one.message)
            sent += 1
        except NotDelivered as problem:
            problems[one.channel] = f"{one.channel}: {problem}"
            waiting.append(replace(one, attempts=one.attempts + 1))
    kept = []
    for place, one in enumerate(waiting):
        if now - one.message.at >= GIVE_UP_SECONDS:
            lost.append(_lost(one, f"not taken in {one.attempts} attempts"))
        elif len(waiting) - place > MOST_WAITING:
            lost.append(_lost(one, "too many wait"))
        else:
            kept.append(one)
    return Delivery(replace(state, outbox=tuple(kept)), sent, tuple(problems.values()), tuple(lost))


def _lost(one: Waiting, why: str) -> str:
    message = one.message
    return f"{one.channel}: given up ({why}): {message.stream}: {message.kind} {message.state}: {message.what}"


def text_of(message: Message) -> str:
    """Return a message as text."""
    if message.state == "resolved":
        return f"{message.stream}: {message.kind} resolved (it was: {message.what})"
    return f"{message.stream}: {message.kind}: {message.what}\nWhat to do: {message.do}"


def lines_of(problems: Sequence[str]) -> str:
    """Return several problems as one line."""
    return "; ".join(problems)

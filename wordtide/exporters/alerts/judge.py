"""What is wrong with a stream now. Pure: from a look at it to alarms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from wordtide.config import Stream
from wordtide.config.asset_names import DEFAULT, Definition, Naming, Part, Role, StreamAsset
from wordtide.status.monitor import Seen

NAMED = 5
"""Parked partitions and files that a message names; a command lists the others."""


class Kind(StrEnum):
    """What an alarm is about."""

    FRESHNESS = "freshness"
    LAG = "lag"
    PARKED = "parked"
    CHECK = "check"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What may be wrong: a stream, in one respect; ``name`` tells checks apart."""

    stream: str
    kind: Kind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong.

    Attributes:
        subject: Whose alarm it is; an episode of it is told once.
        what: One line: what is wrong, and how much.
        do: What to do about it: commands.
        newest: When the newest of what it is about came up (seconds since the epoch); later ones are told again.
    """

    subject: Subject
    what: str
    do: str
    newest: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong, and what is right; what is in neither could not be seen.

    Attributes:
        alarms: What is wrong.
        right: What is not.
        behind_since: Since when something waits or cannot be seen; None if nothing waits.
    """

    alarms: tuple[Alarm, ...]
    right: frozenset[Subject]
    behind_since: float | None


def judge(
    stream: Stream,
    seen: Seen,
    now: float,
    behind_since: float | None,
    told: Collection[Subject] = (),
    naming: Naming = DEFAULT,
) -> Judgement:
    """Return what is wrong with a stream, its checks left out.

    Args:
        stream: The stream, with its thresholds.
        seen: A look at it.
        now: Seconds since the epoch.
        behind_since: What the last judgement said.
        told: Alarms that are on: a lag has to fall to half its threshold before it is over.
        naming: Names Dagster's definitions in messages.
    """
    alarms: list[Alarm] = []
    right: set[Subject] = set()

    def decide(kind: Kind, alarm: Alarm | None) -> None:
        if alarm is not None:
            alarms.append(alarm)
        else:
            right.add(Subject(stream.name, kind))

    if seen.table_problem is None:
        decide(Kind.PARKED, _parked(stream, seen))
    problem = seen.table_problem or seen.source_problem
    # Of a topic that waits for a decision there is nothing to be counted.
    waiting = seen.lag.lag or 0 if seen.lag is not None else 0
    behind = problem is not None or waiting > 0
    since = (now if behind_since is None else min(behind_since, now)) if behind else None
    decide(Kind.FRESHNESS, _freshness(stream, seen, now, since, problem, naming) if since is not None else None)
    if problem is None:
        decide(Kind.LAG, _lag(stream, seen, waiting, Subject(stream.name, Kind.LAG) in told))
    return Judgement(tuple(alarms), frozenset(right), since)


def judge_checks(stream: str, checks: Mapping[str, str | None], naming: Naming = DEFAULT) -> Judgement:
    """Return which checks failed.

    Args:
        stream: The stream's name.
        checks: Why each failed that did, None for each that passed; checks under way are left out.
        naming: Names the asset in messages.
    """
    asset = "/".join(naming.path(StreamAsset(part=Part.TABLE, name=stream)))
    failed = tuple(
        Alarm(
            Subject(stream, Kind.CHECK, name),
            f"check {name} failed: {why or 'see Dagster'}",
            f"open {asset} in Dagster; wordtide doctor; wordtide lag {stream}",
        )
        for name, why in checks.items()
        if why is not None
    )
    passed = frozenset(Subject(stream, Kind.CHECK, name) for name, why in checks.items() if why is None)
    return Judgement(failed, passed, None)


def judge_configuration(stream: str, problem: str | None) -> Judgement:
    """Return whether a stream is withheld, and why."""
    subject = Subject(stream, Kind.WITHHELD)
    if problem is None:
        return Judgement((), frozenset([subject]), None)
    do = "correct streams.yaml, check it with dagster definitions validate, and reload the code location"
    return Judgement((Alarm(subject, f"nothing is drained: {problem}", do),), frozenset(), None)


def _freshness(
    stream: Stream, seen: Seen, now: float, since: float, problem: str | None, naming: Naming
) -> Alarm | None:
    limit = stream.config.alerts.freshness
    committed = seen.history.committed_at if seen.history is not None else None
    stale = now - max(since, min(committed or 0.0, now))
    if limit is None or stale < limit:
        return None
    ago = duration(stale)
    if problem is not None:
        what = f"cannot be looked at, and no batch is known of for {ago}: {problem}"
        return Alarm(Subject(stream.name, Kind.FRESHNESS), what, "wordtide doctor")
    assert seen.lag is not None
    waits = f"{seen.lag.lag:,} {seen.lag.unit} wait, and no batch was committed for {ago}"
    sensor, job = (naming.name(Definition(role, stream.name)) for role in (Role.DRAIN_SENSOR, Role.DRAIN_JOB))
    do = f"wordtide doctor; in Dagster: is {sensor} on, and what do the runs of {job} say"
    return Alarm(Subject(stream.name, Kind.FRESHNESS), waits, do)


def _lag(stream: Stream, seen: Seen, waiting: int, is_on: bool) -> Alarm | None:
    limit = stream.config.alerts.lag
    if limit is None or seen.lag is None or waiting <= (limit // 2 if is_on else limit):
        return None
    caps = "max_files" if seen.lag.unit == "files" else "max_records"
    what = f"{waiting:,} {seen.lag.unit} wait, more than {limit:,}"
    do = f"wordtide lag {stream.name}; if it keeps growing, raise {caps} or set engine: spark in streams.yaml"
    return Alarm(Subject(stream.name, Kind.LAG), what, do)


def _parked(stream: Stream, seen: Seen) -> Alarm | None:
    if not seen.parked:
        return None
    newest = sorted(seen.parked, key=lambda one: one.since, reverse=True)
    named = "; ".join(f"{one.what} ({one.reason})" for one in newest[:NAMED])
    more = f"; and {len(newest) - NAMED:,} more" if len(newest) > NAMED else ""
    verb = "waits" if len(newest) == 1 else "wait"
    what = f"{len(newest):,} {verb} for a decision: {named}{more}"
    do = f"wordtide parked {stream.name}; then wordtide resolve {stream.name} WHAT --as skip|recount|text|from-earliest"
    return Alarm(Subject(stream.name, Kind.PARKED), what, do, newest[0].since.timestamp())


def duration(seconds: float) -> str:
    """Return a duration for a person."""
    minutes = int(seconds) // 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"

"""What Dagster calls a stream's assets and definitions by default, and where two of them would get one name.

Without Dagster: commands that check a configuration do not load it. `wordtide.dagster.translator` lets a project choose
names of its own, from which `collisions` judges as well.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from wordtide.config import Configuration, Stream


class Part(StrEnum):
    """Which of a stream's assets: its topic or landing folder, what its receiver takes in, or its table."""

    SOURCE = "source"
    RECEIVER = "receiver"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAsset:
    """An asset of a stream.

    Attributes:
        part: Which of its assets.
        name: The stream's name.
        stream: The stream; None if it is withheld, which leaves its table's asset only.
        problem: Why the stream is withheld, in one line; empty if it is not.
        shared: Whether several streams read this source; ``stream`` is then the first of them.
    """

    part: Part
    name: str
    stream: Stream | None = None
    problem: str = ""
    shared: bool = False

    @classmethod
    def of(cls, stream: Stream, part: Part, *, shared: bool = False) -> Self:
        """Return an asset of a stream that can run."""
        return cls(part=part, name=stream.name, stream=stream, shared=shared)

    @classmethod
    def withheld(cls, name: str, problem: str) -> Self:
        """Return the only asset of a stream that cannot run: its table's."""
        return cls(part=Part.TABLE, name=name, problem=problem)


class Role(StrEnum):
    """What a job, op, schedule or sensor is there for; a value begins with what Dagster calls such a thing."""

    DRAIN_JOB = "job that drains a stream"
    DRAIN_SENSOR = "sensor that starts the drain of a stream"
    MAINTENANCE_JOB = "job that maintains all tables"
    MAINTENANCE_OP = "op of the maintenance job"
    MAINTENANCE_SCHEDULE = "schedule of the maintenance job"
    ALERTS_SENSOR = "sensor that sends alerts"
    RETENTION_SENSOR = "sensor that deletes old runs"

    @property
    def kind(self) -> str:
        """The kind of definition: job, op, sensor or schedule."""
        return self.value.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Definition:
    """A job, op, schedule or sensor.

    Attributes:
        role: What it is there for.
        stream: The name of its stream; empty if it serves all streams.
    """

    role: Role
    stream: str = ""


_OWN_NAMES = {
    Role.MAINTENANCE_JOB: "maintenance",
    Role.MAINTENANCE_OP: "tidy_tables",
    Role.MAINTENANCE_SCHEDULE: "maintenance_schedule",
    Role.ALERTS_SENSOR: "wordtide_alerts",
    Role.RETENTION_SENSOR: "wordtide_retention",
}


def asset_path(asset: StreamAsset) -> Sequence[str]:
    """Return the default path of an asset's key. A topic has one key, whichever streams read it."""
    stream = asset.stream
    if asset.part is Part.TABLE:
        return asset.name, "word_counts"
    assert stream is not None
    if asset.part is Part.RECEIVER:
        return "socket" if stream.config.socket else "flume", asset.name
    if stream.config.kafka is None:
        return "landing", asset.name
    topic = stream.config.kafka.topic
    plain = re.sub(r"[^A-Za-z0-9_]", "_", topic)
    # news.v1 and news-v1 are two topics: what the replacement made equal, a few digits keep apart.
    apart = "" if plain == topic else f"_{hashlib.sha256(topic.encode()).hexdigest()[:6]}"
    return "kafka", plain + apart


def definition_name(definition: Definition) -> str:
    """Return the default name of a job, op, schedule or sensor."""
    if definition.role is Role.DRAIN_JOB:
        return f"{definition.stream}_drain"
    if definition.role is Role.DRAIN_SENSOR:
        return f"{definition.stream}_sensor"
    return _OWN_NAMES[definition.role]


def op_name(path: Sequence[str]) -> str:
    """Return the name of the op that materializes an asset, of its key's path."""
    usable = (part if re.fullmatch(r"\w+", part, re.ASCII) else _digest(part) for part in path)
    return "__".join(usable)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class _Claim(NamedTuple):
    """That something wants a name.

    Attributes:
        kind: What is named so; names of one kind must differ.
        name: The name.
        owner: What wants it. Two streams that read one topic both want its key for the same thing.
        stream: The stream that brings it in; None: it is there in any case.
        renamed: The stream whose new name would end it; None: none would.
    """

    kind: str
    name: str
    owner: str
    stream: str | None = None
    renamed: str | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """How assets and definitions get their names.

    Attributes:
        path: Returns the path of an asset's key.
        name: Returns the name of a job, op, schedule or sensor.
    """

    path: Callable[[StreamAsset], Sequence[str]] = asset_path
    name: Callable[[Definition], str] = definition_name


DEFAULT = Naming()


def collisions(streams: Iterable[Stream], others: Iterable[str] = (), naming: Naming = DEFAULT) -> dict[str, str]:
    """Return why streams cannot be in one code location, by name: one line each; empty where all can.

    Args:
        streams: The streams.
        others: Names of streams that cannot run for a reason of their own, and keep their table's asset all the same.
        naming: How they get their names.
    """
    wanted: defaultdict[tuple[str, str], list[_Claim]] = defaultdict(list)
    theirs = (claim for name in others for claim in _table_claims(StreamAsset.withheld(name, ""), naming))
    for claim in (*_own_claims(naming), *theirs, *(claim for stream in streams for claim in _claims(stream, naming))):
        # Sensors and schedules must not share a name either.
        wanted[claim.kind.replace("schedule", "sensor"), claim.name].append(claim)
    found: dict[str, str] = {}
    for claims in wanted.values():
        owners = list(dict.fromkeys(claim.owner for claim in claims))
        if len(owners) > 1:
            line = _line(claims, owners)
            for claim in claims:
                if claim.stream is not None:
                    found.setdefault(claim.stream, f"stream {claim.stream}: {line}")
    return found


def _table_claims(asset: StreamAsset, naming: Naming) -> Iterable[_Claim]:
    path, owner = naming.path(asset), f"the table of {asset.name}"
    yield _Claim("asset", "/".join(path), owner, asset.name, asset.name)
    yield _Claim("op", op_name(path), owner, asset.name, asset.name)


def _claims(stream: Stream, naming: Naming) -> Iterable[_Claim]:
    name, kafka = stream.name, stream.config.kafka
    table, source = f"the table of {name}", f"topic {kafka.topic}" if kafka else f"the landing folder of {name}"
    yield from _table_claims(StreamAsset.of(stream, Part.TABLE), naming)
    path = naming.path(StreamAsset.of(stream, Part.SOURCE))
    yield _Claim("asset", "/".join(path), source, name, None if kafka else name)
    if stream.receiver is not None:
        path = naming.path(StreamAsset.of(stream, Part.RECEIVER))
        yield _Claim("asset", "/".join(path), f"the receiver of {name}", name, name)
    for role in (Role.DRAIN_JOB, Role.DRAIN_SENSOR):
        yield _Claim(role.kind, naming.name(Definition(role, name)), table, name, name)
    # As a file system takes it that knows no case.
    yield _Claim("folder", stream.table.casefold(), table, name, name)


def _own_claims(naming: Naming) -> Iterable[_Claim]:
    for role in _OWN_NAMES:
        yield _Claim(role.kind, naming.name(Definition(role)), f"Wordtide's own {role.kind}")


def _line(claims: Iterable[_Claim], owners: Iterable[str]) -> str:
    first = next(iter(claims))
    renamed = dict.fromkeys(claim.renamed for claim in claims if claim.renamed is not None)
    what = f"stream {' or '.join(renamed)}" if renamed else "one of them, or read it from another streams.yaml"
    return f"{' and '.join(owners)} would both be the {first.kind} {first.name}; rename {what}"


def withheld(configuration: Configuration, naming: Naming = DEFAULT) -> dict[str, str]:
    """Return why streams of a configuration are not in its code location, by name: one line each."""
    met = collisions(configuration.streams.values(), configuration.problems, naming)
    return {**met, **configuration.problems}

"""What Dagster calls the things of a stream, and where two of them would get one name."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from wordtide.config import Configuration, Stream

ALERTS_SENSOR = "wordtide_alerts"
RETENTION_SENSOR = "wordtide_retention"
MAINTENANCE_JOB = "maintenance"


def source_path(stream: Stream) -> tuple[str, ...]:
    """Return the asset key of a stream's topic (shared by the streams that read it) or landing folder."""
    if stream.config.kafka is not None:
        topic = stream.config.kafka.topic
        plain = re.sub(r"[^A-Za-z0-9_]", "_", topic)
        # news.v1 and news-v1 are two topics: what the replacement made equal, a few digits keep apart.
        apart = "" if plain == topic else f"_{hashlib.sha256(topic.encode()).hexdigest()[:6]}"
        return "kafka", plain + apart
    return "landing", stream.name


def receiver_path(stream: Stream) -> tuple[str, ...]:
    """Return the asset key of what a stream's receiver takes in: a TCP server's lines or Flume agents' events."""
    return "socket" if stream.config.socket else "flume", stream.name


def table_path(name: str) -> tuple[str, ...]:
    """Return the asset key of a stream's table."""
    return name, "word_counts"


def op_name(name: str) -> str:
    """Return the name of the op that drains a stream."""
    return f"{name}__word_counts"


def job_name(name: str) -> str:
    """Return the name of a stream's drain job."""
    return f"{name}_drain"


def sensor_name(name: str) -> str:
    """Return the name of a stream's sensor."""
    return f"{name}_sensor"


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


def _table(name: str) -> _Claim:
    return _Claim("asset", "/".join(table_path(name)), f"the table of {name}", name, name)


def _claims(stream: Stream) -> Iterable[_Claim]:
    name, kafka = stream.name, stream.config.kafka
    table = _table(name).owner
    source = f"topic {kafka.topic}" if kafka else f"the landing folder of {name}"
    yield _table(name)
    yield _Claim("asset", "/".join(source_path(stream)), source, name, None if kafka else name)
    if stream.receiver is not None:
        yield _Claim("asset", "/".join(receiver_path(stream)), f"the receiver of {name}", name, name)
    yield _Claim("op", op_name(name), table, name, name)
    yield _Claim("job", job_name(name), table, name, name)
    yield _Claim("sensor", sensor_name(name), table, name, name)
    # As a file system takes it that knows no case.
    yield _Claim("folder", stream.table.casefold(), table, name, name)


_OURS = (
    _Claim("job", MAINTENANCE_JOB, "Wordtide's own job"),
    _Claim("sensor", ALERTS_SENSOR, "Wordtide's own sensor"),
    _Claim("sensor", RETENTION_SENSOR, "Wordtide's own sensor"),
)


def collisions(streams: Iterable[Stream], others: Iterable[str] = ()) -> dict[str, str]:
    """Return why streams cannot be in one code location, by name: one line each; empty where all can.

    Args:
        streams: The streams.
        others: Names of streams that cannot run for a reason of their own, and keep their table's asset all the same.
    """
    wanted: defaultdict[tuple[str, str], list[_Claim]] = defaultdict(list)
    for claim in (*_OURS, *map(_table, others), *(claim for stream in streams for claim in _claims(stream))):
        wanted[claim.kind, claim.name].append(claim)
    found: dict[str, str] = {}
    for claims in wanted.values():
        owners = list(dict.fromkeys(claim.owner for claim in claims))
        if len(owners) > 1:
            line = _line(claims, owners)
            for claim in claims:
                if claim.stream is not None:
                    found.setdefault(claim.stream, f"stream {claim.stream}: {line}")
    return found


def _line(claims: Iterable[_Claim], owners: Iterable[str]) -> str:
    first = next(iter(claims))
    renamed = dict.fromkeys(claim.renamed for claim in claims if claim.renamed is not None)
    what = f"stream {' or '.join(renamed)}" if renamed else "one of them, or read it from another streams.yaml"
    return f"{' and '.join(owners)} would both be the {first.kind} {first.name}; rename {what}"


def withheld(configuration: Configuration) -> dict[str, str]:
    """Return why streams of a configuration are not in its code location, by name: one line each."""
    met = collisions(configuration.streams.values(), configuration.problems)
    return {**met, **configuration.problems}

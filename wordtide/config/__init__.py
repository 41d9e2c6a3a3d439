"""What flows (`streams.yaml`): typed, checked at load, one line an error."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from wordtide.core.problems import ConfigError
from wordtide.counting.tokenizer import Tokenizer
from wordtide.sources.files.names import is_candidate, names_problem
from wordtide.system.address import Server

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_STREAM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def parse_seconds(value: object) -> float:
    """Return the seconds of a duration such as ``250ms``, ``1s``, ``5m``, ``2h`` or a plain number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", str(value))
        if match is None:
            raise ValueError(f"{value!r} is no duration; write for example 250ms, 1s, 5m or 2h")
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 <= seconds < 366 * 86400:
        raise ValueError(f"{value!r} is no usable duration; it must lie between 0s and 365d")
    return seconds


def parse_bytes(value: object) -> int:
    """Return the bytes of a size such as ``64MB`` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*(\d+)\s*(B|KB|MB|GB|)\s*", str(value))
    if match is None:
        raise ValueError(f"{value!r} is no size; write for example 500KB, 64MB or 1GB")
    return int(match[1]) * _BYTE_UNITS[match[2]]


def _checked_ms(milliseconds: int) -> int:
    # Kafka takes negative timestamps for commands: -1 is "latest".
    if not 0 <= milliseconds < 2**53:
        raise ValueError(f"start {milliseconds} ms since the epoch is no usable time")
    return milliseconds


def _whole_milliseconds(seconds: float) -> float:
    if seconds < 0.001 or abs(seconds * 1000 - round(seconds * 1000)) > 1e-6:
        raise ValueError("a window is a whole number of milliseconds, at least 1ms")
    return seconds


def _position(value: object) -> object:
    # Left to itself, pydantic would take 1.5 for a moment of 1970.
    if not isinstance(value, str | int | datetime | date) or isinstance(value, bool):
        raise ValueError(f"start {value!r} is none of earliest, latest, an ISO 8601 time, ms since the epoch")
    return value


def _location(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"{value!r} is no path")
    if is_url(value):
        try:
            urlsplit(value).port  # noqa: B018 (raises for what is none)
        except ValueError as error:
            raise ValueError(f"{value!r} is no URL ({error})") from None
    return value


Location = Annotated[str, Field(min_length=1), AfterValidator(_location)]
Start = Annotated[str | int | datetime, BeforeValidator(_position)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
PositiveSeconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0)]
Window = Annotated[float, BeforeValidator(parse_seconds), AfterValidator(_whole_milliseconds)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]


MAX_HELD = 1_000_000_000
"""Bytes of a received file or batch at most: some of them are held in memory."""
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Held = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0, le=MAX_HELD)]


class EngineName(StrEnum):
    """Where a batch is counted."""

    AUTO = "auto"
    LOCAL = "local"
    SPARK = "spark"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSource(_Strict):
    """One topic. ``start``: ``earliest``, ``latest`` or a timestamp (ISO 8601 with zone, or ms since the epoch).

    ``stalled``: a partition that cannot move for so long (an open transaction, no leader) is recorded. ``gaps``: with
    ``park`` a partition of a topic that is not compacted is parked at the first offset that holds no visible record.
    The markers that end transactions and what was aborted are such offsets too: it is for topics without transactions.
    ``group``: a consumer group that shows lag tools how far the table is; never read.
    """

    topic: str = Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")
    start: Start = "earliest"
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    stalled: PositiveSeconds = 300.0
    gaps: Literal["allow", "park"] = "allow"
    group: str | None = Field(default=None, min_length=1, max_length=249, pattern=r"^\S+$")

    @model_validator(mode="after")
    def _topic_and_start_can_be(self) -> KafkaSource:
        if self.topic in {".", ".."}:
            raise ValueError(f"Kafka allows no topic {self.topic!r}")
        self.start_ms()
        return self

    def start_ms(self) -> Literal["earliest", "latest"] | int:
        """Return ``earliest``, ``latest`` or milliseconds since the epoch."""
        start = self.start
        if start == "earliest" or start == "latest":
            return start  # type: ignore[return-value]
        if isinstance(start, int):
            return _checked_ms(start)
        try:
            moment = start if isinstance(start, datetime) else datetime.fromisoformat(start)
        except ValueError:
            raise ValueError(f"start {start!r} is none of earliest, latest, an ISO 8601 time") from None
        return _checked_ms(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))


def _after(value: str) -> str:
    if not re.fullmatch(r"keep|delete|archive\s+\S.*", value.strip()):
        raise ValueError(f"{value!r} is none of keep, delete, archive DIR")
    _location(value.strip().partition(" ")[2].strip())
    return value.strip()


def _in_progress(value: str) -> str:
    if not value.strip() or "/" in value or value.strip("*") == "":
        raise ValueError(f"invalid name {value!r}; use a suffix such as .upload, or a glob such as *.lock.*")
    return value


class LandingSource(_Strict):
    """A folder, local or ``hdfs://``, listed recursively; ``glob`` is relative to it.

    ``in_progress``: names of files that are still being written, beside the usual ones
    (`wordtide.sources.files.names`); endings, or globs for the whole name. ``after`` says what becomes of a file once
    it is counted: ``keep``, ``delete`` or ``archive DIR``.
    """

    path: Location
    glob: str = "**/*"
    in_progress: tuple[Annotated[str, AfterValidator(_in_progress)], ...] = ()
    min_age: Seconds = 5.0
    after: Annotated[str, AfterValidator(_after)] = "keep"

    @model_validator(mode="after")
    def _glob_can_match(self) -> LandingSource:
        try:
            problem = names_problem(self.glob, self.in_progress)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if problem is not None:
            raise ValueError(f"glob {problem}")
        return self

    @property
    def archive(self) -> str | None:
        """Where counted files are moved to, as written; None if they are not moved."""
        verb, _, folder = self.after.partition(" ")
        return folder.strip() if verb == "archive" else None


def _server(text: str) -> str:
    try:
        Server.parse(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


class SocketConfig(_Strict):
    """A TCP server whose lines become the landing folder's files, with the options of ``wordtide receive socket``."""

    server: Annotated[str, AfterValidator(_server)]
    max_size: Held = 16_000_000
    max_age: Seconds = 2.0
    tls: bool = Field(default=False, strict=True)
    ca: str | None = Field(default=None, min_length=1)
    metrics_port: Port | None = None

    @model_validator(mode="after")
    def _authorities_only_for_tls(self) -> SocketConfig:
        if self.ca is not None and not self.tls:
            raise ValueError("ca is of use only with tls: true")
        return self


class FlumeConfig(_Strict):
    """Flume agents whose events become the folder's files, with the options of ``wordtide receive flume``."""

    port: Port
    listen: str = Field(default="127.0.0.1", min_length=1)
    max_batch: Held = 16_000_000
    max_event: Held = 1_000_000
    cert: str | None = Field(default=None, min_length=1)
    key: str | None = Field(default=None, min_length=1)
    metrics_port: Port | None = None

    @model_validator(mode="after")
    def _both_for_tls(self) -> FlumeConfig:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together")
        return self


class QuarantineConfig(_Strict):
    """Which records are put aside instead of counted: Kafka values, or lines of files without their ends."""

    undecodable: bool = False
    larger_than: Bytes | None = None


class AlertsConfig(_Strict):
    """When a stream is alarming, for whoever has configured where alerts go.

    ``freshness``: something has waited, and no batch was committed, for so long. ``lag``: more records or files wait.
    """

    freshness: PositiveSeconds | None = 600.0
    lag: int | None = Field(default=None, gt=0, strict=True)


def _owner(value: str) -> str:
    if not re.fullmatch(r"team:\S+|[^@\s:]+@[^@\s:]+\.[^@\s:.]+", value):
        raise ValueError(f"{value!r} is neither an e-mail address nor team:name")
    return value


class StreamConfig(_Strict):
    """One stream: one source, how it is counted, and when a drain ends. Times are in seconds, sizes in bytes.

    ``socket`` or ``flume`` says who fills the landing folder. The table knows the folder only: a receiver may come, go
    and change. ``keep_runs``: Dagster's runs that ended longer ago are deleted with their events; None: never.
    ``shared_paths``: Spark's workers on other machines have the stream's local paths mounted at the same places.
    """

    kafka: KafkaSource | None = None
    landing: LandingSource | None = None
    socket: SocketConfig | None = None
    flume: FlumeConfig | None = None
    batch_interval: PositiveSeconds | None = None
    tokenizer: Tokenizer = Tokenizer.SPACE
    window: Window = 60.0
    engine: EngineName = EngineName.AUTO
    linger: Seconds = 30.0
    max_run: PositiveSeconds = 600.0
    max_records: int = Field(default=500_000, gt=0, strict=True)
    max_bytes: Bytes = 256_000_000
    max_files: int = Field(default=10_000, gt=0, strict=True)
    local_records: Annotated[int, Field(ge=0, strict=True)] | None = None
    local_bytes: Bytes | None = None
    shared_paths: Annotated[bool, Field(strict=True)] = False
    quarantine: QuarantineConfig = QuarantineConfig()
    alerts: AlertsConfig = AlertsConfig()
    fresh_within: Annotated[Seconds, Field(ge=120)] = 86_400.0
    keep_runs: Annotated[Seconds, Field(ge=3600)] | None = 7 * 86_400.0
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> StreamConfig:
        if self.socket and self.flume:
            raise ValueError("name at most one receiver: socket or flume")
        if (self.socket or self.flume) and (self.kafka or not self.landing):
            name = "socket" if self.socket else "flume"
            raise ValueError(f"{name} lands files; name landing: {{path: FOLDER}} as the one source")
        if (self.kafka is None) == (self.landing is None):
            raise ValueError("name exactly one source: kafka or landing")
        return self

    @property
    def interval(self) -> float:
        """Seconds from one batch to the next; 1 for Kafka and 10 for landing unless configured."""
        return self.batch_interval or (1.0 if self.kafka else 10.0)

    @property
    def stalled_after(self) -> float:
        """Seconds after which a partition that cannot move is recorded: within one run, so at most half of that."""
        return min(self.kafka.stalled, self.max_run / 2) if self.kafka else math.inf


class StreamsFile(_Strict):
    """The whole of `streams.yaml`."""

    tables: Location = "./data/tables"
    streams: dict[str, StreamConfig] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream with every location made absolute. ``hdfs:///…`` stays as written until a resource completes it.

    Attributes:
        name: Its name, a Dagster asset key prefix and a folder name.
        config: Its entry of `streams.yaml`.
        table: Absolute folder or URL of its ``word_counts`` table.
        landing: Absolute folder or URL of its landing folder, if that is its source.
        archive: Absolute folder or URL that counted files are moved to, if they are.
        receiver: Who fills the landing folder, if it is for us to run; its files are absolute.
        origin: The file that describes it and the line there, where there is one.
    """

    name: str
    config: StreamConfig
    table: str
    landing: str | None
    archive: str | None = None
    receiver: SocketConfig | FlumeConfig | None = None
    origin: tuple[Path, int] | None = field(default=None, compare=False)

    @property
    def source_kind(self) -> Literal["kafka", "landing"]:
        """Which kind of source the stream reads."""
        return "kafka" if self.config.kafka else "landing"

    @property
    def local_paths(self) -> tuple[str, ...]:
        """Its landing folder and its table, as far as they are paths of this machine."""
        return tuple(path for path in (self.landing, self.table) if path is not None and not is_url(path))

    @property
    def unshared_paths(self) -> tuple[str, ...]:
        """Those that nobody said other machines see too."""
        return () if self.config.shared_paths else self.local_paths


def is_url(location: str) -> bool:
    """Return whether a location has a scheme (``hdfs://…``, ``s3://…``) rather than being a local path."""
    return "://" in location


class _OneOfEachKey(yaml.SafeLoader):
    """YAML as PyYAML reads it, except that a repeated key is an error and not the silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value!r} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _absolute(location: str, base: Path) -> str:
    if is_url(location):
        scheme = urlsplit(location).scheme
        if scheme == "file":
            return str(Path(urlsplit(location).path).resolve())
        stripped = location.rstrip("/")
        return stripped if is_url(stripped) else f"{scheme}:///"
    return str((base / _at_home(location)).resolve())


def _at_home(location: str) -> Path:
    """Return a path, a leading ``~`` or ``~user`` made a folder; a ``~`` of nobody is a name, as in a shell."""
    return Path(os.path.expanduser(location))


_FORMS = {"model_type": "must be keys with values, `key: value`", "dict_type": "must be keys with values, `key: value`"}
_FORMS |= {"string_type": "must be text; quote it"}


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    # A key that is no text (a number, or `yes`, which YAML takes for true) comes as "[key]" behind itself.
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"unknown key {where!r}; README.md lists those there are"
    message = _FORMS.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"{where}: {message}" if where else message


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a `streams.yaml` says.

    Attributes:
        streams: Those that can run, by name.
        problems: Why the others cannot, by name: one line each.
    """

    streams: dict[str, Stream]
    problems: dict[str, str] = field(default_factory=dict)

    def whole(self) -> dict[str, Stream]:
        """Return the streams, or raise the first problem there is as a ConfigError."""
        for problem in self.problems.values():
            raise ConfigError(problem)
        return self.streams

    def stream(self, name: str) -> Stream:
        """Return one stream, or raise a ConfigError that says what is wrong with it, or which ones there are."""
        if name in self.problems:
            raise ConfigError(self.problems[name])
        return find_stream(self.streams, name)


def parse_streams(text: str, origin: Path) -> dict[str, Stream]:
    """Return the streams of a `streams.yaml` text, relative paths taken from ``origin``'s folder.

    Raises:
        ConfigError: One line that names the file, the key and what to do.
    """
    return parse_configuration(text, origin).whole()


def parse_configuration(text: str, origin: Path) -> Configuration:
    """Return what a `streams.yaml` text says; an entry that is wrong costs no other stream.

    Raises:
        ConfigError: The file as a whole is wrong: no YAML, or `tables` cannot be used.
    """
    try:
        raw: Any = yaml.load(text, _OneOfEachKey)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not YAML: {' '.join(_yaml_problem(error).split())}") from error
    whole = {} if raw is None else raw
    entries: dict[Any, Any] = {}
    if isinstance(whole, dict) and isinstance(whole.get("streams"), dict):
        entries, whole = whole["streams"], {**whole, "streams": {}}
    try:
        parsed = StreamsFile.model_validate(whole)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_problem(error)}") from error
    tables = _absolute(parsed.tables, origin.parent)
    _check_tables(tables, origin)
    streams: dict[str, Stream] = {}
    problems: dict[str, str] = {}
    lines = _lines(text)
    for name, entry in entries.items():
        try:
            (config,) = StreamsFile.model_validate({"streams": {name: entry}}).streams.values()
            streams[name] = _stream(name, config, tables, (origin, lines.get(name, 1)))
        except ValidationError as error:
            problems[str(name)] = f"{origin}: {_problem(error)}"
        except ConfigError as error:
            problems[str(name)] = str(error)
    return _without_conflicts(streams, problems, origin)


def _stream(name: str, config: StreamConfig, tables: str, place: tuple[Path, int]) -> Stream:
    origin = place[0]
    if not _STREAM_NAME.fullmatch(name):
        raise ConfigError(
            f"{origin}: streams.{name}: a stream's name is an ASCII letter or _ and then letters, digits or _"
        )
    landing = _absolute(config.landing.path, origin.parent) if config.landing else None
    if landing and is_url(landing) and urlsplit(landing).scheme not in {"hdfs", "viewfs"}:
        raise ConfigError(f"{origin}: streams.{name}.landing.path: use a folder or hdfs://, not {landing!r}")
    if landing and f"{tables}/".startswith(f"{landing}/"):
        raise ConfigError(
            f"{origin}: streams.{name}.landing.path: {landing} holds the tables ({tables}), which would be"
            " counted as landed files; move one of them"
        )
    written = config.landing.archive if config.landing else None
    archive = _absolute(written, origin.parent) if written else None
    if landing and archive and (problem := _archive_problem(archive, landing, tables)):
        raise ConfigError(f"{origin}: streams.{name}.landing.after: {problem}")
    receiver = _receiver(config, origin.parent)
    if receiver and config.landing and not _takes(config.landing, receiver):
        raise ConfigError(
            f"{origin}: streams.{name}.landing.glob: {config.landing.glob!r} leaves out what the receiver lands;"
            " use *.txt, or leave it out"
        )
    return Stream(name, config, f"{tables}/{name}/word_counts", landing, archive, receiver, place)


def _without_conflicts(streams: dict[str, Stream], problems: dict[str, str], origin: Path) -> Configuration:
    """Return a configuration without the streams that would be in the way of one that is named before them."""
    try:
        _refuse_conflicts(streams, origin)
    except ConfigError:
        # Which of them is in the way: one by one.
        kept: dict[str, Stream] = {}
        for name, stream in streams.items():
            try:
                _refuse_conflicts({**kept, name: stream}, origin)
                kept[name] = stream
            except ConfigError as error:
                problems[name] = str(error)
        return Configuration(kept, problems)
    return Configuration(streams, problems)


def _refuse_conflicts(streams: dict[str, Stream], origin: Path) -> None:
    _refuse_shared_tables(streams, origin)
    _refuse_taking_from_others(streams, origin)
    _refuse_two_flumes_at_one_place(streams, origin)
    _refuse_shared_metrics(streams, origin)


def _receiver(config: StreamConfig, base: Path) -> SocketConfig | FlumeConfig | None:
    """Return a stream's receiver, the files that it names made absolute."""
    receiver = config.socket or config.flume
    if receiver is None:
        return None
    files = {name: file for name in ("ca", "cert", "key") if (file := getattr(receiver, name, None)) is not None}
    return receiver.model_copy(update={name: _absolute(file, base) for name, file in files.items()})


def receiver_prefix(receiver: SocketConfig | FlumeConfig) -> str:
    """Return what the names of a receiver's files begin with."""
    return f"socket-{receiver.server}" if isinstance(receiver, SocketConfig) else "flume"


def _takes(landing: LandingSource, receiver: SocketConfig | FlumeConfig) -> bool:
    # As `Lander` makes them.
    plain = re.sub(r"[^A-Za-z0-9]+", "-", receiver_prefix(receiver))
    return is_candidate(f"{plain}-20260131T235959999Z-0123456789ab-00000001.txt", landing.glob, landing.in_progress)


def _refuse_two_flumes_at_one_place(streams: dict[str, Stream], origin: Path) -> None:
    # In one folder the younger would end the older, again and again.
    flumes = [(stream, stream.receiver) for stream in streams.values() if isinstance(stream.receiver, FlumeConfig)]
    for at, (stream, receiver) in enumerate(flumes):
        for other, others in flumes[:at]:
            if receiver.port == others.port and (
                receiver.listen == others.listen or {receiver.listen, others.listen} & {"0.0.0.0", "::"}  # noqa: S104
            ):
                raise ConfigError(
                    f"{origin}: streams.{stream.name}.flume.port: {receiver.port} is that of {other.name}; one receiver"
                    " may serve many agents, or use another port"
                )
            (here, folder), (there, path) = _place(stream.landing or ""), _place(other.landing or "")
            if _on_one(here, there) and folder == path:
                raise ConfigError(
                    f"{origin}: streams.{stream.name}.flume: {other.name} has a flume receiver in {stream.landing} too;"
                    " one receiver lands in one folder and serves many agents"
                )


def _refuse_shared_metrics(streams: dict[str, Stream], origin: Path) -> None:
    # Whoever came second would end, and be started again for ever.
    seen: dict[int, str] = {}
    for stream in streams.values():
        if stream.receiver is None or (port := stream.receiver.metrics_port) is None:
            continue
        other = seen.setdefault(port, stream.name)
        if other != stream.name:
            raise ConfigError(f"{origin}: streams.{stream.name}: metrics_port {port} is that of {other}; name another")


def _lines(text: str) -> dict[str, int]:
    """Return the line that each stream of a valid `streams.yaml` begins at."""
    root = yaml.compose(text, yaml.SafeLoader)
    sections = root.value if isinstance(root, yaml.MappingNode) else []
    streams = [value.value for key, value in sections if key.value == "streams"]
    return {key.value: key.start_mark.line + 1 for entries in streams for key, _ in entries}


def _check_tables(tables: str, origin: Path) -> None:
    # delta-rs takes a location for a URL and a file system takes it for a path: both must mean the same folder.
    if not is_url(tables):
        strange = re.search(r"%", tables)
    elif urlsplit(tables).scheme in {"hdfs", "viewfs"}:
        strange = re.search(r"[^A-Za-z0-9._~/=+:@,-]|(?<!:)(?<!:/)//", tables)
    else:
        raise ConfigError(f"{origin}: tables: use a folder or hdfs://, not {tables!r}")
    if strange:
        raise ConfigError(f"{origin}: tables: {strange[0]!r} cannot be part of a table's location ({tables})")


def _refuse_shared_tables(streams: dict[str, Stream], origin: Path) -> None:
    # Names that differ by case only share a folder on case-insensitive file systems.
    seen: dict[str, str] = {}
    for stream in streams.values():
        other = seen.setdefault(stream.table.casefold(), stream.name)
        if other != stream.name:
            raise ConfigError(
                f"{origin}: streams {other!r} and {stream.name!r} share the table {stream.table}; rename one"
            )


def _place(location: str) -> tuple[str, str]:
    """Return a location's file system, ``""`` for this machine's, and its path there, which ends with a slash."""
    scheme, sign, rest = location.rpartition("://")
    host, _, path = rest.partition("/") if sign else ("", "", rest.removeprefix("/"))
    return f"{scheme}{sign}{host}", f"/{path}/".replace("//", "/")


def _on_one(first: str, second: str) -> bool:
    """Return whether two file systems may be one: ``hdfs://`` alone is whichever is in use."""
    return first == second or (bool(first) and bool(second) and "hdfs://" in {first, second})


def _archive_problem(archive: str, landing: str, tables: str) -> str | None:
    """Return why counted files cannot be moved there, if they cannot."""
    (there, folder), (here, landed), (_, held) = _place(archive), _place(landing), _place(tables)
    if not _on_one(there, here):
        return f"{archive} is on another file system than {landing}; files are moved by renaming them"
    if landed.startswith(folder):
        return f"{archive} holds the landing folder; name one beside it"
    if folder.startswith(landed) and not re.search("/[._]", folder[len(landed) - 1 :]):
        return f"{archive} is in the landing folder, where files would be counted again; let its name begin with a dot"
    if folder.startswith(held) and _on_one(there, _place(tables)[0]):
        return f"{archive} is among the tables ({tables}), where vacuum deletes what it does not know"
    return None


def _refuse_taking_from_others(streams: dict[str, Stream], origin: Path) -> None:
    # What one stream puts away, the other may not have counted yet.
    landings = [(stream, *_place(stream.landing)) for stream in streams.values() if stream.landing]
    for taker, here, folder in landings:
        for other, there, path in landings:
            overlap = _on_one(here, there) and (path.startswith(folder) or folder.startswith(path))
            if other is not taker and overlap and taker.config.landing and taker.config.landing.after != "keep":
                raise ConfigError(
                    f"{origin}: streams.{taker.name}.landing.after: {other.name} takes files from there too and might"
                    f" not have counted them; give it a folder of its own, or keep the files"
                )


def streams_path() -> Path:
    """Return the `streams.yaml` in use: ``$WORDTIDE_STREAMS``, else the current folder's, else the project's."""
    named = os.environ.get("WORDTIDE_STREAMS")
    if named:
        return _at_home(named).resolve()
    # Asked for by its name first: a current folder that was deleted has no path.
    here = Path("streams.yaml")
    return here.absolute() if here.is_file() else PROJECT_ROOT / "streams.yaml"


def load_streams(path: Path | None = None) -> dict[str, Stream]:
    """Return the configured streams by name.

    Raises:
        ConfigError: The file is missing, unreadable or wrong.
    """
    return load_configuration(path).whole()


def load_configuration(path: Path | None = None) -> Configuration:
    """Return the configured streams, and what is wrong with those that cannot run.

    Raises:
        ConfigError: The file is missing, unreadable or wrong as a whole.
    """
    origin = path or streams_path()
    try:
        text = origin.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{origin}: cannot be read ({why}); set WORDTIDE_STREAMS or create it") from error
    return parse_configuration(text, origin)


def home() -> Path:
    """Return ``$WORDTIDE_HOME``, else ``.wordtide`` beside the `streams.yaml` in use."""
    named = os.environ.get("WORDTIDE_HOME")
    return _at_home(named).resolve() if named else streams_path().parent / ".wordtide"


def find_stream(streams: dict[str, Stream], name: str) -> Stream:
    """Return one stream, or raise a ConfigError that lists those there are."""
    if name not in streams:
        known = ", ".join(sorted(streams)) or "none"
        raise ConfigError(f"no stream {name!r} in {streams_path()}; there are: {known}")
    return streams[name]

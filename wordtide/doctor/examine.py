"""Which checks there are for this configuration, and all of them run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wordtide.config import EngineName, Stream, home, is_url, load_configuration, streams_path
from wordtide.config.asset_names import withheld
from wordtide.core.problems import ConfigError, EnvironmentProblem, WordtideError
from wordtide.doctor import brokers, machine, receivers, storages
from wordtide.doctor.decide import judge
from wordtide.doctor.findings import Finding, Line, bad, explained, gather, good
from wordtide.doctor.sharing import sharing_checks
from wordtide.storage import HdfsAddress, HdfsStorage, storage_for
from wordtide.system.cluster import read_address
from wordtide.wiring import hdfs_address, kafka_connection

DEADLINE_SECONDS = 18.0
"""For all checks together; the command promises 30 and needs some to start."""


@dataclass(frozen=True, slots=True)
class Need:
    """What the configured streams need of this machine.

    Attributes:
        kafka: Some stream reads a topic.
        hdfs: Some location is on the HDFS in use, which only the environment or the embedded one can tell.
        embedded: Kafka or HDFS is needed and the environment names none.
        spark: Some batch may be counted by Spark.
        here: Spark's driver runs on this machine.
    """

    kafka: bool
    hdfs: bool
    embedded: bool
    spark: bool
    here: bool

    @classmethod
    def of(cls, streams: Iterable[Stream], environment: Mapping[str, str]) -> Need:
        """Return what these streams need."""
        known = list(streams)
        kafka = any(stream.config.kafka for stream in known)
        places = [place for stream in known for place in (stream.landing, stream.table) if place is not None]
        hdfs = any(place.startswith("hdfs:///") for place in places)
        own_kafka, own_hdfs = environment.get("WORDTIDE_KAFKA_BOOTSTRAP"), environment.get("WORDTIDE_HDFS_URL")
        return cls(
            kafka,
            hdfs,
            (kafka and not own_kafka) or (hdfs and not own_hdfs),
            any(stream.config.engine is not EngineName.LOCAL for stream in known),
            not environment.get("WORDTIDE_SPARK_REMOTE"),
        )


def examine() -> list[Finding]:
    """Return every line, in order, after `DEADLINE_SECONDS` at most."""
    streams, said = _streams()
    servers = _Servers(streams, Need.of(streams, os.environ), known=bool(streams) or said[0].ok)
    return judge([*said, *servers.problems, *gather(servers.checks, DEADLINE_SECONDS)])


def _streams() -> tuple[list[Stream], list[Finding]]:
    """Return the streams whose entries are right, and what is to be said of all of them."""
    line = Line("streams", str(streams_path()))
    try:
        configuration = load_configuration()
    except WordtideError as error:
        return [], [explained(line, error, "correct it; nothing is drained until then")]
    streams = list(configuration.streams.values())
    refused = [
        explained(line._replace(stream=name), ConfigError(problem), "correct it; the stream is withheld until then")
        for name, problem in withheld(configuration).items()
    ]
    if not streams and not refused:
        return [], [good(line, "no stream is configured", "add one under streams:")]
    counted = [good(line, "1 stream" if len(streams) == 1 else f"{len(streams)} streams")] if streams else []
    return streams, [*refused, *counted]


class _Servers:
    """The checks of one configuration; `problems` are those that need no look at anything."""

    def __init__(self, streams: Sequence[Stream], need: Need, *, known: bool) -> None:
        self.problems: list[Finding] = []
        self._need = need
        start = need.embedded and not self._embedded_runs()
        self.checks = [
            machine.python_check(),
            machine.packages_check(),
            machine.java_check(needed=start or (need.spark and need.here)),
            machine.jars_check(needed=start),
            *machine.spark_checks(needed=need.spark),
            *sharing_checks(streams, os.environ, DEADLINE_SECONDS - 1),
            *machine.home_checks(needed=start),
            *machine.temp_checks(),
            machine.dagster_check(),
        ]
        # Where streams.yaml cannot be read, the servers may still be what is wrong.
        if need.kafka or not known:
            self._add_kafka([stream for stream in streams if stream.config.kafka])
        self._add_storages(streams, known=known)
        self.checks += [receivers.receiver_check(stream) for stream in streams if stream.receiver is not None]

    def _embedded_runs(self) -> bool:
        try:
            return read_address(home()) is not None
        except WordtideError:
            # Said by whoever asks for the address.
            return False

    def _add_kafka(self, streams: Sequence[Stream]) -> None:
        named = os.environ.get("WORDTIDE_KAFKA_BOOTSTRAP", "").strip()
        line = Line("kafka", named or str(home()))
        try:
            self.checks.append(brokers.kafka_check(kafka_connection(), streams))
        except ConfigError as error:
            if named:
                self.problems.append(explained(line, error, "correct it, or unset it and run wordtide up"))
            elif self._need.kafka:
                self.problems.append(_no_server(line, "WORDTIDE_KAFKA_BOOTSTRAP=host:port"))
        except EnvironmentProblem as error:
            self.problems.append(explained(line, error, "wordtide up"))

    def _add_storages(self, streams: Sequence[Stream], *, known: bool) -> None:
        named = os.environ.get("WORDTIDE_HDFS_URL", "").strip()
        line = Line("hdfs", named or str(home()))
        address: HdfsAddress | None = None
        try:
            # Also for locations with an address: it may be the one whose HTTP port the environment tells.
            address = hdfs_address() if not known or any(_on_hdfs(stream) for stream in streams) else None
        except WordtideError as error:
            self.problems.append(explained(line, error, "correct it, or unset it and run wordtide up"))
        else:
            if address is None and self._need.hdfs:
                self.problems.append(_no_server(line, "WORDTIDE_HDFS_URL=hdfs://host:port"))
        landing, tables = self._placed(streams, address)
        self.checks += [storages.landing_check(stream, address) for group in landing.values() for stream in group]
        for place, group in tables.items():
            self.checks.append(storages.tables_check(group, address))
            if place is None:
                self.checks.append(machine.disk_check(group[0].table.rsplit("/", 2)[0]))
        used = {*landing, *tables} if known else {address}
        for namenode in sorted((one for one in used if one is not None), key=str):
            self.checks.append(storages.namenode_check(namenode))
            self.checks.append(storages.webhdfs_check(namenode, landing=namenode in landing, tables=namenode in tables))

    def _placed(self, streams: Sequence[Stream], address: HdfsAddress | None) -> tuple[_Placed, _Placed]:
        """Return streams by the HDFS that their landing folder, and that their table is on; None: this machine."""
        landing: _Placed = {}
        tables: _Placed = {}
        for stream in streams:
            for check, where, placed in (("landing", stream.landing, landing), ("table", stream.table, tables)):
                if where is None:
                    continue
                try:
                    storage, _ = storage_for(where, address)
                except WordtideError as error:
                    self.problems.append(explained(Line(check, where, stream.name), error, "correct streams.yaml"))
                    continue
                placed.setdefault(storage.address if isinstance(storage, HdfsStorage) else None, []).append(stream)
        return landing, tables


def _on_hdfs(stream: Stream) -> bool:
    return is_url(stream.table) or is_url(stream.landing or "")


_Placed = dict[HdfsAddress | None, list[Stream]]


def _no_server(line: Line, variable: str) -> Finding:
    return bad(line, "none is configured, and the embedded one does not run", f"wordtide up, or set {variable}")

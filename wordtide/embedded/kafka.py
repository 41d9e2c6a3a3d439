"""One real Kafka broker (KRaft, broker and controller in one process) on loopback."""

from __future__ import annotations

import base64
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cds
from wordtide.embedded.jars import ServerJars
from wordtide.system.ports import HOST, listening
from wordtide.system.process import ProcessId, launch, telling_line

_JVM = (
    # C1 and one GC thread: a small broker starts in half the time and is quick enough for a million records a second.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xms256m",
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)

_PROPERTIES = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{HOST}:{{controller}}
listeners=PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller}}
controller.listener.names=CONTROLLER
# Relative to the working directory, so that no character of a path needs escaping.
log.dirs=data
# A deleted topic would come back, empty, as soon as any client asks for it.
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
# After a kill the broker waits until its old registration has expired; much less, and a busy machine loses its broker.
broker.session.timeout.ms={{session}}
broker.heartbeat.interval.ms={{heartbeat}}
"""
_SESSION_MS = 3000
_HEARTBEAT_MS = 500


def properties(port: int, controller: int) -> str:
    """Return the broker's `server.properties`."""
    return _PROPERTIES.format(port=port, controller=controller, session=_SESSION_MS, heartbeat=_HEARTBEAT_MS)


def start(
    home: Path, log: Path, java: Path, jars: ServerJars, environment: Mapping[str, str], *, port: int, controller: int
) -> ProcessId:
    """Start the broker whose data is in `home`, formatting it if it is new; it does not answer yet.

    Raises:
        EnvironmentProblem: it cannot be formatted.
        OSError: the process cannot be started.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "server.properties").write_text(properties(port, controller))
    archive = cds.flags("kafka", java, jars.kafka, cache=jars.cache, home=home)
    command = [str(java), *_JVM, "-cp", ":".join(map(str, jars.kafka))]
    if not (home / "data" / "meta.properties").exists():
        _format(command, home, environment)
    return launch(
        [*command[:1], *archive, *command[1:], "kafka.Kafka", "server.properties"],
        log=log,
        cwd=home,
        environment=environment,
    )


def wait_until_ready(process: ProcessId, home: Path, log: Path, port: int, deadline: float) -> None:
    """Return when the broker answers and every partition it has is led; another one on its port is not taken for it.

    Args:
        process: the broker.
        home: where its data is.
        log: its log.
        port: its port.
        deadline: when to give up, on `time.monotonic()`'s clock.

    Raises:
        EnvironmentProblem: it ended, or is not ready in time.
    """
    client: AdminClient | None = None
    cluster_id = _cluster_id(home)
    while time.monotonic() < deadline:
        if not process.alive():
            raise EnvironmentProblem(f"Kafka did not start: {telling_line(log)} (log: {log})")
        # A client made before the port is open would wait through its reconnect back-off.
        if client is None and listening(port):
            quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}
            client = AdminClient({"bootstrap.servers": f"{HOST}:{port}", **quiet})
        if client is not None and _all_led(client, cluster_id):
            return
        time.sleep(0.03)
    raise EnvironmentProblem(f"Kafka does not answer in time: {telling_line(log)} (log: {log})")


def _cluster_id(home: Path) -> str:
    lines = (home / "data" / "meta.properties").read_text().splitlines()
    return next((line.partition("=")[2].strip() for line in lines if line.startswith("cluster.id=")), "")


def _all_led(client: AdminClient, cluster_id: str) -> bool:
    try:
        metadata = client.list_topics(timeout=2)
    except KafkaException:
        return False
    leaders = [partition.leader for topic in metadata.topics.values() for partition in topic.partitions.values()]
    return str(metadata.cluster_id) == cluster_id and bool(metadata.brokers) and all(leader >= 0 for leader in leaders)


def _format(command: list[str], home: Path, environment: Mapping[str, str]) -> None:
    arguments = ["format", "--ignore-formatted", "-t", _new_cluster_id(), "-c", "server.properties"]
    try:
        answer = subprocess.run(
            [*command, "kafka.tools.StorageTool", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=home,
            env=dict(environment),
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(f"Kafka's storage in {home} was not formatted within {error.timeout:.0f} s") from error
    if answer.returncode != 0:
        said = (answer.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise EnvironmentProblem(f"Kafka's storage in {home} cannot be formatted: {said[:300]}")


def _new_cluster_id() -> str:
    """Return 16 random bytes in URL-safe base64; an id that begins with a dash would look like an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name

"""One real HDFS on loopback: a NameNode and two DataNodes in one JVM.

The JVM is started with nothing but py4j's gateway in it; the servers are made and configured through that, then the
gateway is closed and the JVM goes on alone. Two DataNodes because with one every closing of a file takes half a second.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from py4j.java_gateway import GatewayClient, GatewayConnection, GatewayParameters, JavaGateway
from py4j.protocol import Py4JError, Py4JJavaError

from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cds
from wordtide.embedded.jars import ServerJars
from wordtide.system.ports import HOST
from wordtide.system.process import ProcessId, launch, telling_line

DATANODES = 2

_JVM = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xmx384m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.apache.logging.log4j.level=WARN",
)


def settings(home: Path, port: int, web_port: int) -> dict[str, str]:
    """Return the servers' configuration; the DataNodes take any ports, nobody needs to know them."""
    return {
        "fs.defaultFS": f"hdfs://{HOST}:{port}",
        "dfs.namenode.http-address": f"{HOST}:{web_port}",
        "dfs.datanode.address": f"{HOST}:0",
        "dfs.datanode.ipc.address": f"{HOST}:0",
        "dfs.datanode.http.address": f"{HOST}:0",
        "dfs.namenode.name.dir": (home / "name").as_uri(),
        "dfs.replication": str(DATANODES),
        # With two replicas a file may be closed while one is still being reported: 6 ms instead of 500.
        "dfs.namenode.file.close.num-committed-allowed": "1",
        "dfs.namenode.safemode.extension": "0",
        "dfs.heartbeat.interval": "1",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    }


def client_xml(port: int) -> str:
    """Return a `core-site.xml` for Hadoop's own clients (`HADOOP_CONF_DIR`).

    Their default of three replicas would create files here that two DataNodes cannot append to.
    """
    values = {"fs.defaultFS": f"hdfs://{HOST}:{port}", "dfs.replication": str(DATANODES)}
    lines = (
        f"  <property><name>{key}</name><value>{escape(value)}</value></property>\n" for key, value in values.items()
    )
    return f"<configuration>\n{''.join(lines)}</configuration>\n"


def start(home: Path, log: Path, java: Path, jars: ServerJars, environment: Mapping[str, str]) -> ProcessId:
    """Start the JVM; `configure` makes an HDFS of it.

    Raises:
        EnvironmentProblem: Hadoop cannot use this home.
        OSError: the process cannot be started.
    """
    # Hadoop hands its folders to a shell in quotes, after it has followed links.
    if "'" in str(home.resolve()):
        raise EnvironmentProblem(f"HDFS cannot use {home}: set WORDTIDE_HOME to a path without an apostrophe")
    home.mkdir(parents=True, exist_ok=True)
    archive = cds.flags("hdfs", java, jars.hdfs, cache=jars.cache, home=home)
    command = [str(java), *archive, *_JVM, "-cp", ":".join(map(str, jars.hdfs))]
    return launch(
        [*command, "py4j.GatewayServer", "--enable-auth", "0"], log=log, cwd=jars.web, environment=environment
    )


class _Interrupted(BaseException):
    """A Ctrl-C in the middle of a call: from KeyboardInterrupt py4j makes a traceback and an AttributeError."""


class _Connection(GatewayConnection):  # type: ignore[misc]
    def send_command(self, command: str) -> Any:
        try:
            return super().send_command(command)
        except KeyboardInterrupt as error:
            raise _Interrupted from error


class _Client(GatewayClient):  # type: ignore[misc]
    def _create_connection(self) -> _Connection:
        connection = _Connection(self.gateway_parameters, self.gateway_property)
        connection.start()
        return connection


def configure(
    process: ProcessId, log: Path, home: Path, cache: Path, *, port: int, web_port: int, deadline: float
) -> None:
    """Make NameNode and DataNodes inside the JVM, formatting them if new, and return when they serve.

    Args:
        process: the JVM that `start` returned.
        log: its log.
        home: where the file system's data is.
        cache: the cache directory.
        port: the NameNode's port.
        web_port: the port of its WebHDFS.
        deadline: when to give up, on `time.monotonic()`'s clock.

    Raises:
        EnvironmentProblem: it ended, refused, or is not ready in time.
    """
    gateway = _connect(process, log, deadline)
    try:
        _serve(gateway, home, _plain_path(home, cache), settings(home, port, web_port), log, deadline)
    except Py4JJavaError as error:
        said = str(error.java_exception.toString()).splitlines()[0][:300]
        raise EnvironmentProblem(f"HDFS did not start: {said} (log: {log})") from error
    except (Py4JError, OSError) as error:
        raise EnvironmentProblem(f"HDFS did not start: {telling_line(log)} (log: {log})") from error
    except _Interrupted:
        raise KeyboardInterrupt from None
    finally:
        # Whoever reaches the gateway commands the JVM: it is open for as long as it is needed, not longer.
        gateway.shutdown()
    conf = home / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "core-site.xml").write_text(client_xml(port))


def _connect(process: ProcessId, log: Path, deadline: float) -> JavaGateway:
    """Wait for the gateway's port and secret, which it prints as its first two lines."""
    while time.monotonic() < deadline:
        greeting = re.search(r"^(\d{1,5})\n(\S+)\n", log.read_text(errors="replace"), re.MULTILINE)
        if greeting:
            parameters = GatewayParameters(
                address=HOST, port=int(greeting[1]), auth_token=greeting[2], read_timeout=deadline - time.monotonic()
            )
            gateway = JavaGateway(gateway_parameters=parameters)
            gateway.set_gateway_client(_Client(gateway_parameters=parameters))
            return gateway
        if not process.alive():
            raise EnvironmentProblem(f"HDFS did not start: {telling_line(log)} (log: {log})")
        time.sleep(0.02)
    raise EnvironmentProblem(f"HDFS does not answer in time: {telling_line(log)} (log: {log})")


def _plain_path(home: Path, cache: Path) -> Path:
    """Return a path to `home` that a DataNode can bear, by way of a symbolic link if need be.

    It takes its directory's URI for a format string, and stumbles over the `%20` that stands for a space.
    """
    if not _escaped(home):
        return home
    link = cache / "homes" / hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    if _escaped(link):
        raise EnvironmentProblem(f"HDFS cannot use {home} through {link}: set WORDTIDE_CACHE to a path without spaces")
    link.parent.mkdir(parents=True, exist_ok=True)
    for other in link.parent.iterdir():
        if not other.exists():
            # Of a home that was deleted.
            other.unlink(missing_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(home)
    return link


def _escaped(path: Path) -> bool:
    # Java escapes spaces and the like, but leaves letters of any script as they are.
    ascii_only = "".join(character for character in str(path) if character.isascii())
    return quote(ascii_only, safe="/:@!$&'()*+,;=") != ascii_only


def _serve(gateway: JavaGateway, home: Path, data: Path, values: dict[str, str], log: Path, deadline: float) -> None:
    java: Any = gateway.jvm
    server = java.org.apache.hadoop.hdfs.server
    make_configuration = java.org.apache.hadoop.hdfs.HdfsConfiguration
    configuration = make_configuration()
    for key, value in values.items():
        configuration.set(key, value)
    # Otherwise the second DataNode's metrics clash with the first one's.
    java.org.apache.hadoop.metrics2.lib.DefaultMetricsSystem.setMiniClusterMode(True)
    if not (home / "name" / "current" / "VERSION").exists():
        server.namenode.NameNode.format(configuration)
    nothing = gateway.new_array(java.java.lang.String, 0)
    name_node = server.namenode.NameNode.createNameNode(nothing, configuration)
    # On SIGTERM close the edit log; Hadoop's DataNodes bring hooks of their own.
    stop = java.java.beans.EventHandler.create(java.java.lang.Class.forName("java.lang.Runnable"), name_node, "stop")
    java.org.apache.hadoop.util.ShutdownHookManager.get().addShutdownHook(stop, 20)
    data_nodes = []
    for number in range(1, DATANODES + 1):
        # Each its own: a DataNode goes on reading the configuration after its constructor has returned.
        own = make_configuration(configuration)
        own.set("dfs.datanode.data.dir", (data / f"data{number}").as_uri())
        data_nodes.append(server.datanode.DataNode.createDataNode(nothing, own, None))
    # The NameNode answers calls before the blocks are reported; reading would fail until then.
    namesystem = name_node.getNamesystem()
    while name_node.isInSafeMode() or namesystem.getNumLiveDataNodes() < DATANODES:
        if not namesystem.nameNodeHasResourcesAvailable():
            raise EnvironmentProblem(f"HDFS did not start: less than 100 MB are free in {home}")
        if not all(node.isDatanodeUp() for node in data_nodes):
            raise EnvironmentProblem(f"HDFS did not start: {telling_line(log)} (log: {log})")
        if time.monotonic() > deadline:
            raise EnvironmentProblem(f"HDFS is not ready in time: {telling_line(log)} (log: {log})")
        time.sleep(0.02)

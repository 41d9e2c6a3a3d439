"""The embedded cluster as its users see it: by the command line, with real servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from hdfs_native import Client

from tests.servers import ANY_PORTS, end_for_sure
from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cluster, hdfs, kafka
from wordtide.embedded.cluster import ClusterAddress
from wordtide.embedded.jars import ServerJars
from wordtide.system.cluster import Record, Server, read_address, read_record, write_record
from wordtide.system.ports import listening
from wordtide.system.process import ProcessId

TOPIC = "kept"


def command(home: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    """Run one command in a process of its own, its stdout in a pipe."""
    code = f"from wordtide.cli.cluster import {name}; {name}()"
    environment = {**os.environ, "WORDTIDE_HOME": str(home)}
    argv = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(home: Path, name: str, *arguments: str) -> tuple[int, str]:
    """Return exit code and stdout; `communicate` ends only when nobody holds the pipes any more."""
    process = command(home, name, *arguments)
    out, _ = process.communicate(timeout=240)
    return process.returncode, out


def server(home: Path, name: str) -> Server:
    record = read_record(home)
    assert record is not None
    found = record.server(name)
    assert found is not None
    return found


def produce(bootstrap: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(TOPIC, value, partition=0)
    assert producer.flush(30) == 0


def consume(bootstrap: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose path holds what paths may hold, and whose ports are nobody's."""
    home = tmp_path / "höme, with & all"
    home.mkdir()
    write_record(home, Record(ANY_PORTS))
    yield home
    end_for_sure(home)


def test_the_life_of_a_cluster(home: Path) -> None:
    # Two at once, stdout in pipes: both return, see the end of their pipes and tell the same address.
    both = [command(home, "up", "--json"), command(home, "up", "--json")]
    answers, errors = zip(*(process.communicate(timeout=240) for process in both), strict=True)
    assert [process.returncode for process in both] == [0, 0], errors
    assert answers[0] == answers[1]
    assert answers[0].count("\n") == 1
    address = json.loads(answers[0])
    assert address.keys() == {"kafka", "hdfs"}
    assert run(home, "status", "--json") == (0, answers[0])
    found = read_address(home)
    assert found is not None
    assert address == {"kafka": found.kafka, "hdfs": found.hdfs}

    for name in ("kafka", "hdfs"):
        process = psutil.Process(server(home, name).process.pid)
        hosts = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert hosts
        assert {host.removeprefix("::ffff:") for host in hosts} == {"127.0.0.1"}

    admin = AdminClient({"bootstrap.servers": found.kafka})
    admin.create_topics([NewTopic(TOPIC, num_partitions=1)])[TOPIC].result(30)
    produce(found.kafka, b"one", b"two")
    files = Client(found.hdfs)
    with files.create("/kept") as stream:
        stream.write(b"landed")

    # The port by which HDFS was configured is closed again; asking for a topic does not create it.
    assert not listening(int((home / "logs" / "hdfs.log").read_text().split()[0]))
    admin.list_topics("unknown", timeout=30)
    time.sleep(0.5)
    assert "unknown" not in admin.list_topics(timeout=30).topics

    # Half dead: `up` starts what is missing and leaves the other alone.
    broker, name_node = server(home, "kafka").process, server(home, "hdfs").process
    os.kill(broker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while broker.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert read_address(home) is None
    code, out = run(home, "status", "--json")
    assert (code, json.loads(out)) == (1, {"kafka": None, "hdfs": found.hdfs})
    assert cluster.up(home) == found
    assert server(home, "hdfs").process == name_node
    produce(found.kafka, b"three")
    assert consume(found.kafka, 3) == [b"one", b"two", b"three"]

    os.kill(name_node.pid, signal.SIGKILL)
    while name_node.alive():
        assert time.monotonic() < deadline + 60
        time.sleep(0.01)
    assert cluster.up(home) == found
    assert files.read("/kept").read(100) == b"landed"

    assert run(home, "down") == (0, "")
    assert run(home, "down") == (0, "")
    code, out = run(home, "status", "--json")
    assert (code, json.loads(out)) == (1, {"kafka": None, "hdfs": None})
    assert run(home, "status") == (1, "")
    for place in (found.kafka, found.webhdfs, found.hdfs.removeprefix("hdfs://")):
        with socket.socket() as port:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.bind(("127.0.0.1", int(place.rpartition(":")[2])))

    assert cluster.up(home) == found
    assert consume(found.kafka, 3) == [b"one", b"two", b"three"]
    assert Client(found.hdfs).read("/kept").read(100) == b"landed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_up_that_is_cut_short_leaves_nothing_running_in_the_end(home: Path, number: signal.Signals) -> None:
    starting = command(home, "up")
    deadline = time.monotonic() + 60
    while True:
        record = read_record(home)
        if record is not None and record.hdfs is not None and record.kafka is not None:
            break
        assert time.monotonic() < deadline
        assert starting.poll() is None
        time.sleep(0.01)
    assert (record.kafka.ready, record.hdfs.ready) == (False, False)
    assert read_address(home) is None
    if number == signal.SIGINT:
        # In the middle of a call into the JVM.
        while not (home / "hdfs" / "name" / "current").exists():
            assert time.monotonic() < deadline
            assert starting.poll() is None
            time.sleep(0.01)
    starting.send_signal(number)
    _, said = starting.communicate(timeout=120)
    assert starting.returncode != 0
    assert "py4j" not in said
    if number == signal.SIGKILL:
        assert cluster.down(home) is True
    assert not record.kafka.process.alive()
    assert not record.hdfs.process.alive()


def test_a_server_that_does_not_start_is_one_line_and_takes_the_other_with_it(home: Path) -> None:
    (home / "hdfs").mkdir()
    (home / "hdfs" / "data1").write_text("not a folder")
    process = command(home, "up")
    _, error = process.communicate(timeout=240)
    assert process.returncode != 0
    last = error.strip().splitlines()[-1]
    assert "HDFS did not start" in last
    assert str(home / "logs" / "hdfs.log") in last
    record = read_record(home)
    assert record is not None
    assert (record.kafka, record.hdfs) == (None, None)


def test_a_home_that_hadoop_cannot_use_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    jars = ServerJars((), (), tmp_path, tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"o'brien/hdfs: set WORDTIDE_HOME to a path without an apostrophe"):
        hdfs.start(tmp_path / "o'brien" / "hdfs", tmp_path / "log", Path("java"), jars, {})
    assert list(tmp_path.iterdir()) == []


def test_another_broker_on_the_port_is_not_taken_for_the_one_that_is_starting(
    cluster: ClusterAddress, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("node.id=1\nversion=1\ncluster.id=ours\n")
    (tmp_path / "log").write_text("ERROR Address already in use\n")
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"])
    process = ProcessId.of(ours.pid)
    assert process is not None
    port = int(cluster.kafka.rpartition(":")[2])
    try:
        with pytest.raises(EnvironmentProblem, match=r"Kafka did not start: .*Address already in use"):
            kafka.wait_until_ready(process, tmp_path, tmp_path / "log", port, time.monotonic() + 120)
    finally:
        ours.wait(60)

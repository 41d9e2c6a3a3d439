"""The Spark engine over Spark Connect, against a real server in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.engines.test_standalone_cluster import ENVIRONMENT, HOME, SCRIPT
from tests.support import Place, some_lines, wait_until, words_of
from wordtide.config import PROJECT_ROOT
from wordtide.system.java import find_java

OVER_CONNECT = re.sub(
    r"spark = SparkResource\(.*?\n.*?\}\)\n", "spark = SparkResource(remote=master, parallelism=2)\n", SCRIPT
).replace('print("executors", spark.spark_context._jsc.sc().getExecutorMemoryStatus().size() - 1)\n', "")


@dataclass(frozen=True, slots=True)
class ConnectServer:
    """Where it is, and its process."""

    url: str
    pid: int


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectServer]:
    """A Connect server with two cores."""
    tmp_path = tmp_path_factory.mktemp("connect")
    log = tmp_path / "connect.log"
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    options = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    argv = [str(HOME / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", "512m", *options]
    environment = {
        **ENVIRONMENT,
        "JAVA_HOME": str(find_java().parent.parent),
        "PYSPARK_PYTHON": sys.executable,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, "--class", server, "spark-internal"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=tmp_path,
        )
        try:
            started = re.compile(r"Spark Connect server started at: \S*?:(\d+)")
            (port, *_) = wait_until("the Connect server listens", lambda: started.findall(log.read_text()), 180)
            yield ConnectServer(f"sc://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def test_batches_are_counted_over_connect(remote: ConnectServer, place: Place) -> None:
    stream = place.topic_stream(partitions=4, engine="spark", max_records=1500)
    lines = some_lines(3000)
    place.produce(stream, lines)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    ended = subprocess.run(
        [sys.executable, "-c", OVER_CONNECT, str(place.folder / "streams.yaml"), place.cluster.kafka, remote.url],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    rows = place.ledger(stream)
    assert [row["engine"] for row in rows if row["status"] == "published"] == ["spark", "spark"]
    assert place.counted(stream) == words_of(lines)


# It hangs from the moment on at which it works on the batch; who notices tells, and lets it go on again.
INTO_SILENCE = "import os, signal, time\n" + OVER_CONNECT.replace(
    "spark.tasks())}", "spark.tasks(), spark.answers)}"
).replace(
    "drain = Drain(",
    "import wordtide.dagster.resources.spark, wordtide.counting.spark as engine\n"
    "wordtide.dagster.resources.spark.CONNECT_SECONDS = engine.ANSWER_EVERY_SECONDS = 1.0\n"
    "def hang(session, reports=engine._reports):\n"
    "    os.kill(int(os.environ['SERVER']), signal.SIGSTOP)\n"
    "    return reports(session)\n"
    "engine._reports = hang\n"
    "drain = Drain(",
)


def test_a_connect_server_that_hangs_ends_the_batch_in_one_line_and_the_process(
    remote: ConnectServer, place: Place
) -> None:
    stream = place.topic_stream(engine="spark")
    place.produce(stream, some_lines(20))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    arguments = [str(place.folder / "streams.yaml"), place.cluster.kafka, remote.url]
    try:
        ended = subprocess.run(
            [sys.executable, "-c", INTO_SILENCE, *arguments],
            cwd=PROJECT_ROOT,
            env={**environment, "SERVER": str(remote.pid)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        os.kill(remote.pid, signal.SIGCONT)
    assert ended.stderr.splitlines()[-1] == (
        f"wordtide.core.problems.EnvironmentProblem: Spark at {remote.url} stopped answering"
        " (nothing answers there within 1 s); check its log and restart it. Nothing was published"
    )
    assert place.counted(stream) == words_of([])

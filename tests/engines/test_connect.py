"""The Spark engine over Spark Connect, against a real server in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.test_standalone_cluster import ENVIRONMENT, HOME, SCRIPT
from tests.support import Place, some_lines, wait_until, words_of
from wordtide.config import PROJECT_ROOT
from wordtide.embedded.java import find_java

OVER_CONNECT = re.sub(
    r"spark = SparkResource\(.*?\n.*?\}\)\n", "spark = SparkResource(remote=master, parallelism=2)\n", SCRIPT
).replace('print("executors", spark.spark_context._jsc.sc().getExecutorMemoryStatus().size() - 1)\n', "")


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[str]:
    """The address of a Connect server with two cores."""
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
            (port, *_) = wait_until("the Connect server listens", lambda: started.findall(log.read_text()), 90)
            yield f"sc://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def test_batches_are_counted_over_connect(remote: str, place: Place) -> None:
    stream = place.topic_stream(partitions=4, engine="spark", max_records=1500)
    lines = some_lines(3000)
    place.produce(stream, lines)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    ended = subprocess.run(
        [sys.executable, "-c", OVER_CONNECT, str(place.folder / "streams.yaml"), place.cluster.kafka, remote],
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

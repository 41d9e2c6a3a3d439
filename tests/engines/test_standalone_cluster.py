"""The Spark engine on a real standalone master with two workers, executors in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest

from tests.support import Place, some_lines, topic_of, wait_until, words_of
from wordtide.config import PROJECT_ROOT
from wordtide.doctor.findings import Finding, gather
from wordtide.doctor.sharing import sharing_checks
from wordtide.system.java import find_java

HOME = Path(pyspark.__file__).parent
# Spark's own start scripts would find the Scala version by themselves.
ENVIRONMENT = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(HOME), "SPARK_SCALA_VERSION": "2.13"}

SCRIPT = """
import sys
from pathlib import Path
from resources import SparkResource
from wordtide.config import EngineName, load_streams
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.counting.spark import SparkEngine
from wordtide.drain.loop import Drain
from wordtide.drain.pacing import Pace
from wordtide.wiring import open_source, open_table

streams, kafka, master = sys.argv[1:]
(stream,) = load_streams(Path(streams)).values()
spark = SparkResource(master=master, parallelism=2, spark_config={
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.executor.memory": "512m"})
source = open_source(stream, KafkaConnection(kafka))
engines = {EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks())}
drain = Drain(stream, source, open_table(stream), engines, run_id="test", on_commit=lambda committed: None)
print(drain.run(Pace.of(stream.config, by_hand=True)))
print("executors", spark.spark_context._jsc.sc().getExecutorMemoryStatus().size() - 1)
spark.spark_session.stop()
"""


@contextmanager
def server(log: Path, *arguments: str) -> Iterator[None]:
    """Run a class of Spark's until the block ends."""
    argv = [str(find_java()), "-Xmx256m", "-cp", f"{HOME}/jars/*", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


DEPLOY = "org.apache.spark.deploy"
LOCAL = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")


@pytest.fixture
def lonely_master(tmp_path: Path) -> Iterator[str]:
    """The address of a master without workers."""
    log = tmp_path / "master.log"
    with server(log, f"{DEPLOY}.master.Master", *LOCAL):
        started = re.compile(r"Starting Spark master at (spark://127\.0\.0\.1:\d+)")
        (address,) = wait_until("the master listens", lambda: started.findall(log.read_text()), 60)
        yield address


@pytest.fixture
def master(lonely_master: str, tmp_path: Path) -> Iterator[str]:
    """The address of a master that two workers have joined."""
    log = tmp_path / "master.log"
    with ExitStack() as running:
        for number in (1, 2):
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(tmp_path / f"work{number}"))
            worker = tmp_path / f"worker{number}.log"
            running.enter_context(server(worker, f"{DEPLOY}.worker.Worker", *LOCAL, *size, lonely_master))
        wait_until("two workers joined", lambda: log.read_text().count("Registering worker") == 2, 60)
        yield lonely_master


def drained(place: Place, master: str, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Run a drain in a process of its own, whose Spark is at a master."""
    return subprocess.run(
        [sys.executable, "-c", script, str(place.folder / "streams.yaml"), place.cluster.kafka, master],
        cwd=PROJECT_ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_workers_count_what_was_sent(place: Place, master: str) -> None:
    stream = place.topic_stream(partitions=2, engine="spark")
    lines = some_lines(3000)
    place.produce(stream, lines)
    ended = drained(place, master)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "executors 2" in ended.stdout
    assert place.counted(stream) == words_of(lines)
    assert [row["engine"] for row in place.ledger(stream)] == [None, "spark"], topic_of(stream)


def test_the_doctor_shows_by_files_of_its_own_that_workers_share_a_folder(
    place: Place, master: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = place.folder_stream(engine="spark", shared_paths=True)
    Path(stream.table).mkdir(parents=True)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")

    found = gather(sharing_checks([stream], {"WORDTIDE_SPARK_MASTER": master}, 120), 150)

    assert [(one.ok, one.what) for one in found if isinstance(one, Finding)] == [
        (True, "Spark's executors read the same files there as this machine"),
        (True, "Spark's executors read and write the same files there as this machine"),
    ]
    assert [list(Path(path).iterdir()) for path in stream.local_paths] == [[], []]


def test_a_master_without_workers_ends_the_drain_instead_of_holding_it_for_ever(
    place: Place, lonely_master: str
) -> None:
    stream = place.topic_stream(partitions=1, engine="spark")
    place.produce(stream, ["a b"])
    impatient = "import wordtide.counting.spark\nwordtide.counting.spark.IDLE_SECONDS = 2\n" + SCRIPT
    ended = drained(place, lonely_master, impatient)
    line = ended.stderr.strip().splitlines()[-1]
    assert f"no executor of Spark at {lonely_master} worked on batch 1 for 2 s" in line, ended.stderr[-3000:]
    assert [row["status"] for row in place.ledger(stream)] == ["founded"]

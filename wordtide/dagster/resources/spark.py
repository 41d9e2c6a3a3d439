"""Spark: dagster-pyspark's lazy resource with typed fields. A session starts when needed and stays for the run."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import grpc
from dagster_pyspark import LazyPySparkResource
from py4j.protocol import Py4JError
from pydantic import Field
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.core import DefaultChannelBuilder
from pyspark.sql.connect.client.retries import DefaultPolicy

import wordtide
from wordtide.core.problems import EnvironmentProblem
from wordtide.counting.spark import spark_reason
from wordtide.system.java import find_java
from wordtide.system.limits import server_of

CONNECT_SECONDS = 20.0
"""How long a Connect server may take to answer."""
SESSION_SECONDS = 120.0
"""How long making a session over Connect may take, after the server has answered."""
CONNECT_RETRIES = 6
"""How often a call to a Connect server is tried again: for a minute, where Spark's own fifteen take ten minutes."""


class SparkResource(LazyPySparkResource):
    """A Spark session, here (`local[*]`), on a cluster (`spark://`, `yarn`, `k8s://`) or over Connect (`sc://`)."""

    master: str = Field(default="", description="Spark master; empty: WORDTIDE_SPARK_MASTER, else local[*].")
    remote: str = Field(
        default="",
        description="Spark Connect URL (sc://host:port); empty: WORDTIDE_SPARK_REMOTE; wins over master.",
    )
    parallelism: int = Field(default=0, ge=0, description="Tasks at once; 0: this machine's cores.")
    driver_memory: str = Field(default="1g", description="Heap of a local driver.")
    spark_config: dict[str, Any] = Field(default_factory=dict, description="Any further Spark settings.")

    def tasks(self) -> int:
        """Return how many tasks run at once."""
        return self.parallelism or os.cpu_count() or 1

    def connect_url(self) -> str:
        """Return the Spark Connect URL, or an empty string."""
        return self.remote or os.environ.get("WORDTIDE_SPARK_REMOTE", "")

    def master_url(self) -> str:
        """Return the Spark master."""
        return self.master or os.environ.get("WORDTIDE_SPARK_MASTER", "") or "local[*]"

    def own_cores(self) -> int | None:
        """Return how many cores of this machine it uses; None if its executors are elsewhere."""
        elsewhere = self.connect_url() or not self.master_url().startswith("local")
        return None if elsewhere else min(self.tasks(), os.cpu_count() or 1)

    def settings(self) -> dict[str, str]:
        """Return every Spark setting of this resource."""
        settings = {
            "spark.app.name": "wordtide",
            "spark.sql.shuffle.partitions": str(self.tasks()),
            "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
        }
        if self.connect_url():
            settings["spark.remote"] = self.connect_url()
        else:
            settings["spark.master"] = self.master_url()
            settings["spark.driver.memory"] = self.driver_memory
            settings["spark.ui.enabled"] = "false"
            settings["spark.ui.showConsoleProgress"] = "false"
            settings["spark.log.level"] = "ERROR"
            if self.master_url().startswith("local"):
                settings["spark.driver.host"] = settings["spark.driver.bindAddress"] = "127.0.0.1"
        return settings | {key: str(value) for key, value in self.spark_config.items()}

    def _init_session(self) -> None:
        if self._spark_session is not None:
            return
        if not self.connect_url():
            os.environ["JAVA_HOME"] = str(find_java().parent.parent)
            # Without it workers take python3 from the PATH instead of this environment.
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder
        for key, value in self.settings().items():
            builder = builder.config(key, value)
        try:
            if self.connect_url():
                _wait_for_connect(self.connect_url())
                asks = server_of(f"Spark at {self._where()}", self._advice())
                session = asks.ask(SESSION_SECONDS, lambda: self._session(builder))
            else:
                session = self._session(builder)
        except (PySparkException, Py4JError, OSError, RuntimeError, ValueError) as error:
            raise EnvironmentProblem(
                f"Spark at {self._where()} does not start: {spark_reason(error)}; {self._advice()}"
            ) from error
        self._spark_session = session

    def _session(self, builder: Any) -> SparkSession:
        session: SparkSession = builder.getOrCreate()
        if self.connect_url():
            # A server that goes away would otherwise hold the drain, and then the end of the process as well.
            session.client.set_retry_policies([DefaultPolicy(max_retries=CONNECT_RETRIES)])
        if self.connect_url() or not self.master_url().startswith("local"):
            session.addArtifacts(str(_package()), pyfile=True)
        return session

    def answers(self) -> None:
        """Raise EnvironmentProblem where a Spark Connect server that serves a session does not answer any more."""
        if not self.connect_url():
            return
        try:
            _wait_for_connect(self.connect_url())
        except TimeoutError as error:
            raise EnvironmentProblem(
                f"Spark at {self._where()} stopped answering ({error}); check its log and restart it. Nothing was"
                " published"
            ) from error

    def _where(self) -> str:
        # Behind the semicolon of a Connect URL there may be a token.
        return self.connect_url().partition(";")[0] or self.master_url()

    def _advice(self) -> str:
        if self.connect_url():
            return "start that Spark Connect server, or correct or unset WORDTIDE_SPARK_REMOTE (sc://host:port)"
        if self.master_url() == "local[*]":
            return "the run's stderr says more"
        return (
            "start that master, or correct or unset WORDTIDE_SPARK_MASTER (spark://host:port, yarn, k8s://…, local[*])"
        )


def _wait_for_connect(url: str) -> None:
    """Return when a server answers at a Connect URL; left to itself the session would try for ten minutes.

    Raises:
        TimeoutError: None does.
    """
    # Its own connection: one that there is already is ready for gRPC, though the server hangs.
    channel = DefaultChannelBuilder(url, [("grpc.use_local_subchannel_pool", 1)]).toChannel()
    try:
        grpc.channel_ready_future(channel).result(CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        raise TimeoutError(f"nothing answers there within {CONNECT_SECONDS:.0f} s") from None
    finally:
        channel.close()


def _package() -> Path:
    """Return a zip of the `wordtide` package for executors that do not have it installed."""
    root = Path(wordtide.__file__).resolve().parent
    target = Path(tempfile.mkdtemp(prefix="wordtide-")) / "wordtide.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*.py")):
            archive.write(path, Path("wordtide") / path.relative_to(root))
    return target

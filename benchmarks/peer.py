"""The peer: Spark as its users write it, with sane settings (parallelism of the machine, no UI, enough heap)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyspark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from wordtide.embedded.jars import cache_dir
from wordtide.system.java import find_java

KAFKA_PACKAGE = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{pyspark.__version__}"
HEAP = "4g"


def session() -> SparkSession:
    """Start a session with Spark's Kafka source."""
    os.environ["JAVA_HOME"] = str(find_java().parent.parent)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    ivy = cache_dir() / "benchmarks-ivy"
    ivy.mkdir(parents=True, exist_ok=True)
    settings = {
        "spark.master": "local[*]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": HEAP,
        "spark.jars.packages": KAFKA_PACKAGE,
        "spark.jars.ivy": str(ivy),
        # The default of 200 is for clusters: on two cores it alone would cost seconds.
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 1),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def count(lines: DataFrame) -> DataFrame:
    """Return the word count of a frame with a column ``value``, as everybody writes it."""
    words = lines.select(F.explode(F.split(F.col("value").cast("string"), " ")).alias("word"))
    return words.groupBy("word").count()


def write_batch(folder: Path, lines: DataFrame, batch: int) -> None:
    """Write a batch's counts to a folder of its own: a batch that is repeated then replaces itself."""
    count(lines).write.mode("overwrite").parquet(str(folder / f"batch={batch}"))


def counted(folder: Path | str) -> pa.Table:
    """Return (word, count) summed over all Parquet files below a folder, sorted by word."""
    table = ds.dataset(folder, format="parquet").to_table(columns=["word", "count"])
    summed = table.group_by("word").aggregate([("count", "sum")]).rename_columns(["word", "count"])
    return summed.cast(pa.schema([("word", pa.string()), ("count", pa.int64())])).sort_by("word")

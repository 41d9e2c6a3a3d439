"""Shows whether Spark's executors see folders of this machine: run as a process of its own, which can be killed.

Standard input is a JSON object: ``spark`` (``{"remote": URL}`` or ``{"master": URL}``), ``token``, ``tasks`` and
``folders`` (path → whether executors write there). Each folder gets a hidden file named by the token, which executors
read; where they write, they write one of their own, which must then be here. The caller, who outlives this process,
deletes them. Standard output is a JSON object: path → what is wrong, null if nothing is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession


def main() -> None:
    """Probe the folders named on standard input."""
    asked: dict[str, Any] = json.load(sys.stdin)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("wordtide doctor")
    if "remote" in asked["spark"]:
        builder = builder.remote(asked["spark"]["remote"])
    else:
        builder = builder.master(asked["spark"]["master"]).config("spark.ui.enabled", "false")
        builder = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
    found = probe(builder.getOrCreate(), asked["folders"], asked["token"], asked["tasks"])
    print(json.dumps(found))  # noqa: T201 the answer
    sys.stdout.flush()
    # Spark's threads would keep a process whose cluster hangs.
    os._exit(0)


def probe(spark: SparkSession, folders: Mapping[str, bool], token: str, tasks: int) -> dict[str, str | None]:
    """Return what is wrong with each folder as executors see it."""
    for folder in folders:
        Path(folder, token).write_text(token)
    answers = spark.range(0, tasks, 1, tasks).mapInArrow(_answering(dict(folders), token), "answer string")
    answered = [json.loads(row["answer"]) for row in answers.collect()]
    return {folder: _verdict(folder, writes, token, answered) for folder, writes in folders.items()}


def _verdict(folder: str, writes: bool, token: str, answers: Sequence[dict[str, Any]]) -> str | None:
    for answer in answers:
        wrong = answer["folders"][folder]
        if wrong is None and writes and not Path(folder, f"{token}-{answer['name']}").exists():
            wrong = "wrote a file there that this machine does not see"
        if wrong is not None:
            return f"an executor on {answer['host']} {wrong}"
    return None


def _answering(folders: Mapping[str, bool], token: str) -> Any:
    # A closure of plain values: Spark ships it whole, so executors need nothing of ours installed.
    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import json
        import os
        import socket
        import uuid

        import pyarrow

        for _ in batches:
            name, found = uuid.uuid4().hex, {}
            for folder, writes in folders.items():
                try:
                    with open(os.path.join(folder, token)) as mark:
                        seen = mark.read() == token
                    found[folder] = None if seen else "sees a different file there"
                    if seen and writes:
                        with open(os.path.join(folder, f"{token}-{name}"), "x") as mine:
                            mine.write(token)
                except FileNotFoundError:
                    found[folder] = "does not see a file that this machine wrote there"
                except OSError as error:
                    found[folder] = f"cannot read and write there ({error.strerror})"
            news = json.dumps({"host": socket.gethostname(), "name": name, "folders": found})
            yield pyarrow.record_batch([[news]], names=["answer"])

    return answer


if __name__ == "__main__":
    main()

"""The tutorial's programs on PySpark's DStreams and Wordtide on the same input count the same words.

Files are real ones in HDFS, as the tutorial's are; the socket is a real line server that sends both the same bytes.
PySpark has had no Kafka source for DStreams since Spark 3: the values of a real topic are given to the rest of that
program by a queue. What is left out, because the two differ there, is in the README's chapter "Coming from Spark
Streaming".
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.receivers.support import LineServer
from tests.support import SECONDS, Place, some_lines, unique, wait_until, words_in, words_of
from wordtide.config import PROJECT_ROOT, Stream
from wordtide.embedded.cluster import ClusterAddress
from wordtide.system.java import find_java

ODD = (
    b"crlf line\r\nlone\rcr\r\n\nafter an empty one\n  two  blanks  \n"
    b"nul\x00 form\x0cfeed tab\ttab\n"
    + "größer İstanbul 東京 🌊 é e\u0301 no\u00a0break sep\u2028arator next\u0085line\n".encode()
    + b"bad \xff\xfe utf8 \xc3\xc3 \xe2\x82 \xf0\x9f\x8c\n"
)
ODD_LINES = 9
MARKED = b"\xef\xbb\xbfmarked line\n"
EARLY = b"landed before Spark started\n"
TAIL = b"a tail without its end"
LINES = [line or "x" for line in some_lines(300, seed=3)]
FILES = {
    "odd.txt": ODD + TAIL,
    "bom.txt": MARKED,
    "empty.txt": b"",
    "packed.txt.gz": gzip.compress("\n".join(LINES).encode()),
}
SOCKET_LINES = 1 + ODD_LINES + 1
FILE_LINES = ODD_LINES + 1 + 1 + len(LINES)
VALUES = [["a b", "", "a  b", "größer İstanbul 🌊", *LINES], ["two\nlines\r\nare one value", " ", "a", *LINES[:50]]]


@dataclass(frozen=True, slots=True)
class Both:
    """What the two have counted.

    Attributes:
        spark: By program, its lines and its batches.
        wordtide: By stream, its lines and its batches.
        totals: What `updateStateByKey` holds of the values.
    """

    spark: Mapping[str, tuple[int, list[Counter[str]]]]
    wordtide: Mapping[str, tuple[int, list[Counter[str]]]]
    totals: Counter[str]


@pytest.fixture(scope="module")
def both(cluster: ClusterAddress, tmp_path_factory: pytest.TempPathFactory) -> Both:
    place = Place(tmp_path_factory.mktemp("dstream"), cluster)
    topic = place.topic_stream()
    landing, received = f"hdfs:///{unique('landing')}", str(place.folder / "received")
    streams = place.streams(
        {
            "files": {"landing": {"path": landing, "min_age": "0s"}},
            "socket": {"landing": {"path": received, "min_age": "0s"}},
            "values": {"kafka": {"topic": topic.config.kafka.topic if topic.config.kafka else ""}},
        }
    )
    storage, root = place.landing(streams["files"])
    storage.mkdirs(root)
    log = place.folder / "spark.log"
    place.land(streams["files"], "early.txt", EARLY)
    # The receiver connects at once, Spark after it has started: whose connection is whose is known by the order.
    with LineServer() as server, _receiver(place, server, received) as receiver:
        ours = server.accept()
        with _spark(place, server, cluster.hdfs + root, log) as spark:
            wait_until("Spark has started", lambda: b"started\n" in log.read_bytes() or spark.poll() is not None, 120)
            theirs = server.accept()
            for name, content in FILES.items():
                place.land(streams["files"], name, content)
            for peer in (ours, theirs):
                for piece in (MARKED, ODD, TAIL[:5], TAIL[5:]):
                    peer.send(piece)
                peer.end()
            assert spark.wait(180) == 0, log.read_text()[-3000:]
        # The end of the connection is seen before a new one is tried.
        wait_until(
            "the tail has landed",
            lambda: any(TAIL in p.read_bytes() for p in (place.folder / "received").glob("[!.]*")),
        )
        receiver.send_signal(signal.SIGTERM)
        assert receiver.wait(SECONDS) == 0
    for values in VALUES:
        place.produce(streams["values"], values)
        place.drain(streams["values"])
    place.drain(streams["files"])
    place.drain(streams["socket"])
    found: dict[str, Any] = json.loads((place.folder / "found.json").read_text())
    return Both(
        {n: (found[n]["lines"], [Counter(b) for b in found[n]["batches"]]) for n in streams},
        {n: _counted(place, stream) for n, stream in streams.items()},
        Counter(found["totals"]),
    )


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    python = [sys.executable, "-m", *command]
    with (
        log.open("wb") as output,
        subprocess.Popen(python, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _receiver(place: Place, server: LineServer, folder: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = ["receive", "socket", str(server.address), "--to", folder, "--max-age", "100ms"]
    return _process(["wordtide.cli.main", *command], place.environment(), place.folder / "receiver.log")


def _spark(
    place: Place, server: LineServer, directory: str, log: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    expected = {"files": FILE_LINES, "socket": SOCKET_LINES, "values": sum(map(len, VALUES))}
    arguments = [
        directory,
        str(server.port),
        str(place.folder),
        json.dumps(VALUES),
        json.dumps(expected),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    environment |= {
        "JAVA_HOME": str(find_java().parent.parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    return _process(["tests.dstream.programs", *arguments], environment, log)


def _counted(place: Place, stream: Stream) -> tuple[int, list[Counter[str]]]:
    handle = place.handle(stream)
    rows = [row for row in place.ledger(stream) if row["status"] == "published"]
    batches = [words_in(handle, after=row["batch"] - 1, through=row["batch"]) for row in rows]
    return sum(row["lines"] for row in rows), batches


def together(counted: tuple[int, list[Counter[str]]]) -> tuple[int, Counter[str]]:
    lines, batches = counted
    return lines, sum(batches, Counter())


def test_files_in_hdfs_are_counted_as_text_file_stream_counts_them_and_those_too_from_before_its_start(
    both: Both,
) -> None:
    lines, words = together(both.spark["files"])
    assert (lines, words[""], words["cr"], words["marked"]) == (FILE_LINES, 6, 1, 1)
    assert together(both.wordtide["files"]) == (lines + 1, words + words_of([EARLY.decode().strip()]))


def test_a_socket_is_counted_as_socket_text_stream_counts_it_but_for_a_byte_order_mark(both: Both) -> None:
    lines, words = together(both.spark["socket"])
    assert (lines, words["end"], words.pop("\ufeffmarked")) == (SOCKET_LINES, 1, 1)
    assert together(both.wordtide["socket"]) == (lines, words + Counter(["marked"]))


def test_values_of_a_topic_are_counted_batch_by_batch_as_a_dstream_of_them_is(both: Both) -> None:
    assert both.wordtide["values"] == both.spark["values"]
    assert both.wordtide["values"][1] == [words_of(values) for values in VALUES]


def test_the_sum_over_batches_is_what_update_state_by_key_holds(both: Both) -> None:
    assert together(both.wordtide["values"])[1] == both.totals

"""`wordtide doctor`: a line is ok or says what is wrong, where, and what to do; it always ends and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hdfs_native import Client
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from tests.cli.support import CLOSED_PORT, Shell
from tests.receivers.flume_support import free_port, serving
from tests.support import Place, create_topic, delete_topic, produce, topic_of, unique
from wordtide.config import PROJECT_ROOT, Stream, parse_streams
from wordtide.doctor import decide, examine
from wordtide.doctor.brokers import one_of_each_leader
from wordtide.doctor.decide import CHECKS, LEAST_BYTES, LOW_BYTES
from wordtide.doctor.examine import Need
from wordtide.doctor.findings import Check, Finding, Line, Outcome, SourceSeen, TableSeen, bad, gather, good
from wordtide.embedded import kafka as kafka_server
from wordtide.embedded.cluster import ClusterAddress
from wordtide.embedded.jars import server_jars
from wordtide.storage import LocalStorage, Unreadable
from wordtide.system.java import find_java
from wordtide.system.ports import HOST, Reservations
from wordtide.system.process import stop

DEAD = f"127.0.0.1:{CLOSED_PORT}"
LINE = Line("table", "somewhere", "s")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the doctor said, as programs read it."""

    code: int
    rows: list[dict[str, Any]]

    def of(self, check: str, stream: str | None = None) -> dict[str, Any]:
        """Return the one row of a check."""
        [row] = [row for row in self.rows if row["check"] == check and row["stream"] == stream]
        return row

    @property
    def stopping(self) -> set[tuple[str, str | None]]:
        """The rows that would stop a drain."""
        return {(row["check"], row["stream"]) for row in self.rows if row["stops"]}


def doctor(shell: Shell) -> Answer:
    answer = shell("doctor", "--json")
    assert answer.err == ""
    assert answer.out.count("\n") == 1
    return Answer(answer.code, json.loads(answer.out))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the doctor looks at is not that of whoever runs the tests."""
    for name in ("DAGSTER_HOME", "WORDTIDE_SPARK_REMOTE", "WORDTIDE_SPARK_MASTER", "PYSPARK_PYTHON"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The ``host:port`` of a server that accepts connections and never says a word."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen(64)
        yield f"{HOST}:{server.getsockname()[1]}"


def on_hdfs(cluster: ClusterAddress, folder: str) -> str:
    """Make a folder on the session's HDFS and return its path there."""
    Client(cluster.hdfs).mkdirs(folder, create_parent=True)
    return folder


def names_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# -- on real servers


def test_all_is_well_on_servers_that_answer(served: Shell, cluster: ClusterAddress) -> None:
    topic, landing = unique("topic"), on_hdfs(cluster, f"/{unique('landing')}")
    create_topic(cluster, topic, 3)
    produce(cluster, topic, ["a", "b"])
    served.streams(
        f"tables: hdfs:///{unique('tables')}\n"
        f"streams: {{news: {{kafka: {{topic: {topic}}}}}, articles: {{landing: {{path: 'hdfs://{landing}'}}}}}}\n"
    )
    answer = doctor(served)
    assert [row for row in answer.rows if not row["ok"]] == []
    assert answer.code == 0
    assert answer.of("kafka")["where"] == cluster.kafka
    assert answer.of("topic", "news")["where"] == f"{cluster.kafka}/{topic}"
    assert "readable, 3 partitions" in answer.of("topic", "news")["what"]
    assert answer.of("hdfs")["where"] == cluster.hdfs.removeprefix("hdfs://")
    assert answer.of("webhdfs")["where"] == cluster.webhdfs
    assert answer.of("landing", "articles")["where"] == cluster.hdfs + landing
    assert {row["where"] for row in answer.rows if row["check"] == "clock"} >= {cluster.kafka, cluster.webhdfs}
    told = {row["check"] for row in answer.rows}
    assert {"java", "python", "packages", "jars", "home", "temp", "dagster", "disk"} <= told


def test_every_row_has_the_same_keys_and_a_known_check(shell: Shell) -> None:
    shell.streams("streams: {s: {landing: {path: ./landing}}, k: {kafka: {topic: t}}}\n")
    answer = doctor(shell)
    for row in answer.rows:
        assert list(row) == ["check", "stream", "ok", "stops", "what", "where", "do"]
        assert row["check"] in CHECKS
        assert isinstance(row["ok"], bool)
        assert row["what"]
        assert row["where"]
        assert row["ok"] or row["do"], row
        assert not (row["ok"] and row["stops"]), row
    order = [CHECKS.index(row["check"]) for row in answer.rows]
    assert order == sorted(order)


def test_what_is_not_created_yet_is_ok_and_stays_so(served: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(served.folder / "dagster_home"))
    monkeypatch.setenv("WORDTIDE_CACHE", str(served.folder / "cache"))
    served.streams(
        f"streams: {{news: {{kafka: {{topic: {unique('missing')}}}}}, files: {{landing: {{path: ./landing}}}},"
        f" articles: {{landing: {{path: 'hdfs:///{unique('missing')}'}}}}}}\n"
    )
    before = names_below(served.folder)
    answer = doctor(served)
    assert (answer.code, [row for row in answer.rows if not row["ok"]]) == (0, [])
    for check, stream in (("topic", "news"), ("landing", "files"), ("landing", "articles"), ("table", "files")):
        row = answer.of(check, stream)
        assert "not created yet" in row["what"], row
        assert row["do"], row
    assert "not created yet" in answer.of("dagster")["what"]
    assert "wordtide up fetches them" in answer.of("jars")["do"]
    assert names_below(served.folder) == before


def test_a_receiver_whose_server_or_port_is_not_there_is_said_and_stops_no_drain(shell: Shell) -> None:
    with socket.create_server((HOST, 0)) as server, serving(shell.folder / "b") as (port, _):
        taken = server.getsockname()[1]
        shell.streams(
            f"streams:\n"
            f"  a: {{landing: {{path: a}}, socket: {{server: '{HOST}:{taken}'}}}}\n"
            f"  b: {{landing: {{path: b}}, flume: {{port: {port}}}}}\n"
            f"  c: {{landing: {{path: c}}, flume: {{port: {free_port()}}}}}\n"
            f"  d: {{landing: {{path: d}}, socket: {{server: '{DEAD}'}}}}\n"
            f"  e: {{landing: {{path: e}}, flume: {{port: {taken}}}}}\n"
            f"  f: {{landing: {{path: f}}, socket: {{server: '{DEAD}', tls: true, ca: missing.pem}}}}\n"
            f"  g: {{landing: {{path: g}}, flume: {{port: 1, cert: missing.pem, key: missing.pem}}}}\n"
        )
        answer = doctor(shell)
    assert not [row for row in answer.rows if row["check"] == "receiver" and row["stops"]]
    found = {stream: answer.of("receiver", stream) for stream in "abcdefg"}
    assert {stream: row["ok"] for stream, row in found.items()} == dict(
        zip("abcdefg", [True] * 3 + [False] * 4, strict=True)
    )
    parts = [
        "accepts connections",
        "serves Flume agents",
        "free",
        "cannot connect",
        "in use",
        "no certificates",
        "no certificate and",
    ]
    assert [part for part, row in zip(parts, found.values(), strict=True) if part not in row["what"]] == []
    assert "its receiver creates it" in answer.of("landing", "c")["do"]


def test_a_folder_that_a_receiver_cannot_make_is_said(shell: Shell) -> None:
    (shell.folder / "file").write_text("")
    shell.streams(f"streams: {{s: {{landing: {{path: file/landing}}, socket: {{server: '{DEAD}'}}}}}}\n")
    row = doctor(shell).of("landing", "s")
    assert (row["ok"], row["stops"]) == (False, False)


def test_a_founded_table_is_opened_and_nothing_is_left_in_its_folders(
    served: Shell, place: Place, cluster: ClusterAddress
) -> None:
    stream = place.folder_stream()
    place.land(stream, "f", b"a b\n")
    place.drain(stream)
    before = names_below(place.folder)
    answer = doctor(served)
    assert (answer.code, [row for row in answer.rows if not row["ok"]]) == (0, [])
    assert "batch 1" in answer.of("table", "s")["what"]
    assert "1 file" in answer.of("landing", "s")["what"]
    assert names_below(place.folder) == before


def test_a_topic_or_folder_that_was_counted_and_is_gone_stops_a_drain(served: Shell, place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["a"])
    place.drain(stream)
    delete_topic(place.cluster, topic_of(stream))
    answer = doctor(served)
    assert answer.code == 1
    assert "is gone" in answer.of("topic", "s")["what"]

    create_topic(place.cluster, topic_of(stream))
    answer = doctor(served)
    # It is parked, which stops nothing else.
    assert answer.code == 0
    row = answer.of("topic", "s")
    assert (row["ok"], row["stops"]) == (False, False)
    assert "parked" in row["what"]

    stream = place.folder_stream(landing=str(place.folder / "elsewhere"))
    shutil.rmtree(place.folder / "tables")
    place.drain(stream)
    shutil.rmtree(place.folder / "elsewhere")
    answer = doctor(served)
    assert answer.code == 1
    assert "is gone" in answer.of("landing", "s")["what"]


def test_a_table_that_would_be_refused_stops_a_drain(served: Shell, place: Place) -> None:
    stream = place.folder_stream()
    place.drain(stream)
    place.streams({"s": {"landing": {"path": stream.landing, "min_age": "0s"}, "tokenizer": "words"}})
    answer = doctor(served)
    assert (answer.code, answer.stopping) == (1, {("table", "s")})
    assert "founded with another source, tokenizer or window" in answer.of("table", "s")["what"]
    assert "put it back" in answer.of("table", "s")["do"]


def test_folders_that_may_not_be_read_or_written_are_told_with_what_to_do(
    served: Shell, cluster: ClusterAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(cluster.hdfs)
    base = f"/{unique('rights')}"
    for name, mode in (("open", 0o777), ("closed", 0o700), ("readable", 0o755)):
        client.mkdirs(f"{base}/{name}", create_parent=True)
        client.set_permission(f"{base}/{name}", mode)
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")
    served.streams(
        f"tables: hdfs://{base}/closed\n"
        f"streams: {{o: {{landing: {{path: 'hdfs://{base}/open'}}}}, r: {{landing: {{path: 'hdfs://{base}/readable'}}}}}}\n"
    )
    answer = doctor(served)
    assert (answer.code, answer.stopping) == (1, {("table", "o"), ("table", "r")})
    assert answer.of("landing", "o")["ok"]
    # Its files can be counted all the same.
    readable = answer.of("landing", "r")
    assert (readable["ok"], readable["stops"]) == (False, False)
    for row in (readable, answer.of("table", "o")):
        assert "Permission denied: user=alice" in row["what"]
        assert "HADOOP_USER_NAME" in row["do"]
        assert base in row["where"]

    served.streams(
        f"tables: hdfs://{base}/open/tables\nstreams: {{c: {{landing: {{path: 'hdfs://{base}/closed'}}}}}}\n"
    )
    answer = doctor(served)
    assert (answer.code, answer.stopping) == (1, {("landing", "c")})
    assert "Permission denied: user=alice" in answer.of("landing", "c")["what"]
    monkeypatch.delenv("HADOOP_USER_NAME")
    assert [folder for folder in ("open", "readable", "closed") if list(client.list_status(f"{base}/{folder}"))] == []


def test_an_archive_that_files_cannot_be_moved_to_is_told(
    served: Shell, cluster: ClusterAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(cluster.hdfs)
    base = f"/{unique('archive')}"
    for name, mode in (("in", 0o777), ("closed", 0o755)):
        client.mkdirs(f"{base}/{name}", create_parent=True)
        client.set_permission(f"{base}/{name}", mode)
    monkeypatch.setenv("HADOOP_USER_NAME", "alice")

    def archive(name: str) -> Answer:
        served.streams(
            f"streams: {{s: {{landing: {{path: 'hdfs://{base}/in', after: 'archive hdfs://{base}/{name}'}}}}}}\n"
        )
        return doctor(served)

    def said(answer: Answer) -> list[tuple[str, bool]]:
        return [(r["where"].removeprefix(cluster.hdfs + base), r["ok"]) for r in answer.rows if r["check"] == "landing"]

    client.mkdirs(f"{base}/open", create_parent=True)
    client.set_permission(f"{base}/open", 0o777)
    answer = archive("open/not/yet")
    assert (answer.code, said(answer)) == (0, [("/in", True), ("/open/not/yet", True)])
    # Files that cannot be moved stay where they are, and are counted once all the same.
    answer = archive("closed/not/yet")
    assert (answer.code, said(answer)) == (0, [("/in", True), ("/closed/not/yet", False)])
    assert [folder for folder in ("in", "open", "closed") if list(client.list_status(f"{base}/{folder}"))] == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that has an authorizer; what no ACL names is allowed."""
    home = tmp_path_factory.mktemp("guarded")
    java = find_java()
    jars = server_jars(java)
    authorizer = (
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
        "allow.everyone.if.no.acl.found=true\n"
    )
    with pytest.MonkeyPatch.context() as patch, Reservations(jars.cache / "ports.lock") as reservations:
        patch.setattr(kafka_server, "_PROPERTIES", kafka_server._PROPERTIES + authorizer)
        port, controller = reservations.get(0), reservations.get(0)
        process = kafka_server.start(
            home / "kafka", home / "log", java, jars, os.environ, port=port, controller=controller
        )
        try:
            kafka_server.wait_until_ready(process, home / "kafka", home / "log", port, time.monotonic() + 120)
            yield f"{HOST}:{port}"
        finally:
            stop([process])


def allow(bootstrap: str, topic: str, operation: ACLOperation) -> None:
    """Allow one operation on a topic to everyone, and with that nothing else."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    pattern = ResourcePattern(ResourceType.TOPIC, topic)
    admin.create_acls([ACL("User:*", "*", operation, ACLPermissionType.ALLOW, pattern)])
    admin.close()


def test_a_topic_that_may_not_be_read_stops_a_drain(
    shell: Shell, guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", guarded)
    place = ClusterAddress(guarded, "", "")
    for topic in ("free", "described", "hidden"):
        create_topic(place, topic)
    allow(guarded, "described", ACLOperation.DESCRIBE)
    allow(guarded, "hidden", ACLOperation.ALTER_CONFIGS)
    shell.streams("streams: {f: {kafka: {topic: free}}, d: {kafka: {topic: described}}, h: {kafka: {topic: hidden}}}\n")
    answer = doctor(shell)
    assert (answer.code, answer.stopping) == (1, {("topic", "d"), ("topic", "h")})
    for stream, topic in (("d", "described"), ("h", "hidden")):
        row = answer.of("topic", stream)
        assert "grant" in row["do"]
        assert "READ" in row["do"]
        assert row["where"] == f"{guarded}/{topic}"


# -- what is dead


def test_dead_ports_are_named_and_everything_else_is_still_looked_at(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", DEAD)
    monkeypatch.setenv("WORDTIDE_HDFS_URL", f"hdfs://{DEAD}")
    monkeypatch.setenv("WORDTIDE_WEBHDFS", DEAD)
    (shell.folder / "landing").mkdir()
    shell.streams(
        "streams: {news: {kafka: {topic: t}}, articles: {landing: {path: 'hdfs:///a'}},"
        " files: {landing: {path: ./landing}}}\n"
    )
    answer = doctor(shell)
    assert answer.code == 1
    dead = {("kafka", None), ("topic", "news"), ("hdfs", None), ("webhdfs", None), ("landing", "articles")}
    assert answer.stopping == dead
    for row in (answer.of(*line) for line in dead):
        assert DEAD in row["where"]
        assert row["do"]
    assert "refused" in answer.of("kafka")["what"]
    assert answer.of("landing", "files")["ok"]
    assert answer.of("table", "files")["ok"]


def test_a_second_bootstrap_server_that_is_dead_stops_nothing(
    served: Shell, cluster: ClusterAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", f"{DEAD},{cluster.kafka}")
    served.streams(f"streams: {{s: {{kafka: {{topic: {unique('missing')}}}}}}}\n")
    answer = doctor(served)
    assert answer.code == 0, [row for row in answer.rows if row["stops"]]
    found = [(row["where"], row["ok"]) for row in answer.rows if row["check"] == "kafka"]
    assert found == [(DEAD, False), (cluster.kafka, True)]


def test_servers_that_never_answer_are_named_when_time_is_up_and_the_process_ends(
    shell: Shell, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", black_hole)
    monkeypatch.setenv("WORDTIDE_HDFS_URL", f"hdfs://{black_hole}")
    monkeypatch.setenv("WORDTIDE_WEBHDFS", black_hole)
    shell.streams(
        "tables: 'hdfs:///tables'\nstreams: {news: {kafka: {topic: t}}, articles: {landing: {path: 'hdfs:///a'}}}\n"
    )
    # In a process of its own: threads that hang must not keep it alive.
    script = (
        "import sys; from wordtide.doctor import examine; from wordtide.cli.main import run\n"
        "examine.DEADLINE_SECONDS = 3.0; sys.exit(run(['doctor', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=shell.folder,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1, "")
    answer = Answer(done.returncode, json.loads(done.stdout))
    silent = {("kafka", None), ("topic", "news"), ("hdfs", None), ("webhdfs", None), ("landing", "articles")}
    assert answer.stopping == {*silent, ("table", "news"), ("table", "articles")}
    for check, stream in silent:
        row = answer.of(check, stream)
        assert "no answer within 3 s" in row["what"]
        assert black_hole in row["where"]
        assert row["do"]
    assert answer.of("java")["ok"]


def test_the_deadline_leaves_time_to_start_and_to_print() -> None:
    assert 0 < examine.DEADLINE_SECONDS <= 20


def test_without_servers_it_says_what_to_start_or_set(shell: Shell) -> None:
    shell.streams("streams: {news: {kafka: {topic: t}}, articles: {landing: {path: 'hdfs:///a'}}}\n")
    answer = doctor(shell)
    assert answer.code == 1
    for check, variable in (("kafka", "WORDTIDE_KAFKA_BOOTSTRAP"), ("hdfs", "WORDTIDE_HDFS_URL")):
        row = answer.of(check)
        assert row["stops"]
        assert "wordtide up" in row["do"]
        assert variable in row["do"]


def test_servers_that_no_stream_needs_are_not_looked_at(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", DEAD)
    shell.streams("streams: {s: {landing: {path: ./landing}}}\n")
    answer = doctor(shell)
    assert answer.code == 0
    assert not {"kafka", "topic", "hdfs", "webhdfs"} & {row["check"] for row in answer.rows}


def test_a_wrong_streams_yaml_is_one_failed_line_and_the_others_still_run(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", DEAD)
    shell.streams("streams: {news: {kafka: {topic: t}, typo: 1}}\n")
    answer = doctor(shell)
    assert answer.code == 1
    assert answer.stopping == {("streams", "news"), ("kafka", None)}
    assert "unknown key 'streams.news.typo'" in answer.of("streams", "news")["what"]
    assert answer.of("streams", "news")["where"] == str(shell.folder / "streams.yaml")
    (shell.folder / "streams.yaml").unlink()
    assert "cannot be read" in doctor(shell).of("streams")["what"]


def test_streams_that_are_withheld_stop_and_the_others_are_still_looked_at(shell: Shell) -> None:
    shell.streams(
        "streams: {s: {landing: {path: ./in}}, bad: {landing: {path: 'ftp://x'}},"
        " landing: {landing: {path: ./a}}, word_counts: {landing: {path: ./b}}}\n"
    )
    answer = doctor(shell)
    assert answer.code == 1
    assert answer.stopping == {("streams", "bad"), ("streams", "landing"), ("streams", "word_counts")}
    said = {row["stream"]: row for row in answer.rows if row["check"] == "streams" and row["stream"]}
    assert "use a folder or hdfs://" in said["bad"]["what"] + said["bad"]["do"]
    assert "would both be the asset landing/word_counts" in said["landing"]["what"]
    assert said["landing"]["do"] == "rename stream landing or word_counts"
    assert "s" in {row["stream"] for row in answer.rows if row["check"] == "landing"}


def test_addresses_that_cannot_be_are_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", "nonsense")
    monkeypatch.setenv("WORDTIDE_HDFS_URL", "http://x")
    monkeypatch.setenv("WORDTIDE_SPARK_REMOTE", "http://x")
    shell.streams("streams: {k: {kafka: {topic: t}}, l: {landing: {path: 'hdfs:///a'}}}\n")
    answer = doctor(shell)
    assert {("kafka", None), ("hdfs", None), ("spark", None)} <= answer.stopping
    assert "not host:port" in answer.of("kafka")["what"]


# -- this machine


def test_tables_that_cannot_be_written_stop_a_drain(shell: Shell) -> None:
    # Not even root can write there.
    shell.streams("tables: /proc/wordtide\nstreams: {s: {landing: {path: ./landing}}}\n")
    answer = doctor(shell)
    assert answer.code == 1
    assert ("table", "s") in answer.stopping
    assert answer.of("table", "s")["where"] == "/proc/wordtide/s/word_counts"


def test_a_file_in_the_place_of_a_folder_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("file", "landing"):
        (shell.folder / name).write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(shell.folder / "file"))
    shell.streams("tables: ./file/tables\nstreams: {s: {landing: {path: ./landing}}}\n")
    answer = doctor(shell)
    assert answer.stopping == {("table", "s"), ("landing", "s"), ("dagster", None)}


def test_a_dagster_home_that_dagster_refuses_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "some/where")
    assert "no absolute path" in doctor(shell).of("dagster")["what"]
    monkeypatch.setenv("DAGSTER_HOME", str(shell.folder))
    (shell.folder / "dagster.yaml").write_text("a: [")
    assert doctor(shell).stopping == {("dagster", None)}


def test_java_stops_a_drain_only_where_something_needs_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(shell.folder / "no-java"))
    shell.streams("streams: {s: {landing: {path: ./landing}, engine: local}}\n")
    answer = doctor(shell)
    java = answer.of("java")
    assert (answer.code, java["ok"], java["stops"]) == (0, False, False)
    assert java["where"] == str(shell.folder / "no-java" / "bin" / "java")
    shell.streams("streams: {s: {landing: {path: ./landing}}}\n")
    assert ("java", None) in doctor(shell).stopping


def test_sparks_workers_must_run_our_python(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.streams("streams: {s: {landing: {path: ./landing}}}\n")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    assert doctor(shell).of("spark")["ok"]
    monkeypatch.setenv("PYSPARK_PYTHON", str(shell.folder / "python"))
    assert doctor(shell).stopping == {("spark", None)}
    monkeypatch.setenv("WORDTIDE_SPARK_REMOTE", f"sc://{DEAD}")
    spark = doctor(shell).of("spark")
    assert (spark["stops"], spark["where"]) == (True, DEAD)


def test_people_see_lines_that_fit_80_columns_without_colour(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", DEAD)
    folder = shell.folder / ("long " * 20) / "\x1b[31mred"
    folder.mkdir(parents=True)
    shell.streams(f"streams: {{s: {{landing: {{path: {json.dumps(str(folder))}}}}}, k: {{kafka: {{topic: t}}}}}}\n")
    answer = shell("doctor")
    assert (answer.code, answer.err) == (1, "")
    assert "\x1b" not in answer.out
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("FAIL  kafka: cannot connect") for line in lines)
    assert any(line.startswith("ok    python: ") for line in lines)
    assert "2 would stop a drain" in lines[-1]


# -- decisions


def test_a_check_that_fails_or_is_silent_says_so_for_each_line_it_left_out() -> None:
    never = threading.Event()
    first, second = Line("kafka", "a:1"), Line("topic", "a:1/t", "s")

    def hangs() -> Iterator[Outcome]:
        yield good(first, "fine")
        never.wait(60)

    def breaks() -> Iterator[Outcome]:
        yield good(first, "fine")
        raise RuntimeError("of all things")

    hung, broken = (gather([Check([first, second], run, "do it")], 0.3) for run in (hangs, breaks))
    never.set()
    assert [(f.line, f.ok) for f in hung if isinstance(f, Finding)] == [(first, True), (second, False)]
    assert isinstance(hung[1], Finding)
    assert "no answer within" in hung[1].what
    assert isinstance(broken[1], Finding)
    assert (broken[1].line, broken[1].what, broken[1].stops) == (second, "RuntimeError: of all things", True)


@pytest.mark.parametrize(
    ("stamp", "resolution", "ahead"), [(105.0, 1.0, 4.0), (100.5, 1.0, 0.0), (99.2, 1.0, 0.0), (90.0, 1.0, -9.0)]
)
def test_clocks_agree_within_what_asking_took(stamp: float, resolution: float, ahead: float) -> None:
    assert decide.clock_ahead(stamp, resolution, 100.0, 101.0) == pytest.approx(ahead)


@pytest.mark.parametrize(
    ("ahead", "ok", "stops"),
    [(0.0, True, False), (-1.9, True, False), (5.0, False, False), (-7200.0, False, False), (300.0, False, True)],
)
def test_a_clock_far_ahead_stops_a_drain_since_its_files_stay_too_young(ahead: float, ok: bool, stops: bool) -> None:
    found = decide.clock(LINE, "the clock", ahead)
    assert (found.ok, found.stops) == (ok, stops)


def test_a_record_from_the_future_is_worth_a_word() -> None:
    assert decide.newest_record(LINE, -1, 1000.0).ok
    assert decide.newest_record(LINE, 1_001_000, 1000.0).ok
    found = decide.newest_record(LINE, 8_200_000, 1000.0)
    assert (found.ok, found.stops) == (False, False)
    assert "2 h ahead" in found.what


@pytest.mark.parametrize(
    ("free", "files", "ok", "stops"),
    [
        (LOW_BYTES, None, True, False),
        (LOW_BYTES - 1, 10, False, False),
        (LEAST_BYTES - 1, None, False, True),
        (LOW_BYTES, 0, False, True),
    ],
)
def test_room_for_a_batch_is_needed(free: int, files: int | None, ok: bool, stops: bool) -> None:
    found = decide.space(LINE, free, files)
    assert (found.ok, found.stops) == (ok, stops)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"pandas": "3.0.1"}, "pandas 3.0.1 is not <3,>=2.2"),
        ({"pyspark": "5.0.0"}, "pyspark 5.0.0 is not"),
        ({"pyspark": None}, "pyspark is missing"),
        ({"dagster-pyspark": "0.29.26"}, "dagster-pyspark 0.29.26 does not go with dagster 1.13.27, 0.29.27 does"),
        ({"dagster-webserver": "1.13.1"}, "dagster-webserver 1.13.1 does not go with"),
    ],
)
def test_packages_must_fit_each_other(change: Mapping[str, str | None], said: str) -> None:
    requirements = [
        "pyspark[connect]<5,>=4.1",
        "pandas<3,>=2.2",
        "dagster<1.14,>=1.13",
        "dagster-pyspark<0.30,>=0.29",
        "dagster-webserver<1.14,>=1.13",
        "pytest>=8; extra == 'dev'",
    ]
    fitting = {
        "pyspark": "4.2.0",
        "pandas": "2.3.3",
        "dagster": "1.13.27",
        "dagster-pyspark": "0.29.27",
        "dagster-webserver": "1.13.27",
    }
    found = decide.packages(LINE, requirements, {**fitting, **change})
    assert (found.ok, found.stops) == (not said, bool(said))
    assert said in found.what


def test_only_python_311_and_312_will_do() -> None:
    assert [decide.python(LINE, (3, minor, 1)).ok for minor in (10, 11, 12, 13)] == [False, True, True, False]


IDENTITY = {"cluster_id": "c", "topic_id": "t", "topic": "news"}


@pytest.mark.parametrize(
    ("check", "now", "table", "ok", "stops"),
    [
        ("topic", IDENTITY, None, True, False),
        ("topic", IDENTITY, TableSeen("s", None), True, False),
        ("topic", IDENTITY, TableSeen("s", IDENTITY), True, False),
        ("topic", None, TableSeen("s", None), True, False),
        ("topic", None, TableSeen("s", IDENTITY), False, True),
        ("topic", {**IDENTITY, "topic_id": "u"}, TableSeen("s", IDENTITY), False, False),
        ("landing", {"namespace": "n", "path": "/a"}, TableSeen("s", {"namespace": "m", "path": "/a"}), False, True),
    ],
)
def test_a_source_is_held_against_its_table(
    check: str, now: Mapping[str, str] | None, table: TableSeen | None, ok: bool, stops: bool
) -> None:
    line = Line(check, "where", "s")
    found = decide.against_table(SourceSeen(line, now, good(line, "fine")), table)
    assert (found.ok, found.stops) == (ok, stops)
    assert found.ok or found.do


@pytest.mark.parametrize(("table", "stops"), [(TableSeen("s", None), True), (TableSeen("s", IDENTITY), False)])
def test_a_partition_without_leader_stops_only_the_founding_of_a_table(table: TableSeen, stops: bool) -> None:
    line = Line("topic", "where", "s")
    source = SourceSeen(line, IDENTITY, bad(line, "no leader for partition 1", "wait"), partial=True)
    found = decide.against_table(source, table)
    assert (found.ok, found.stops) == (False, stops)


def test_one_partition_of_each_leader_is_read() -> None:
    parts = [{"partition_index": p, "leader_id": leader} for p, leader in enumerate((1, 2, 1, -1, 2))]
    assert sorted(one_of_each_leader({"t": {"partitions": parts}})) == [("t", 0), ("t", 1)]


def test_what_streams_need_of_this_machine() -> None:
    def need(text: str, **environment: str) -> Need:
        streams: dict[str, Stream] = parse_streams(f"tables: /t\nstreams: {text}", Path("/streams.yaml"))
        return Need.of(streams.values(), environment)

    assert need("{}") == Need(kafka=False, hdfs=False, embedded=False, spark=False, here=True)
    topic = "{s: {kafka: {topic: t}, engine: local}}"
    assert need(topic) == Need(kafka=True, hdfs=False, embedded=True, spark=False, here=True)
    assert not need(topic, WORDTIDE_KAFKA_BOOTSTRAP="a:1").embedded
    elsewhere = need("{s: {landing: {path: 'hdfs://a:1/b'}}}", WORDTIDE_SPARK_REMOTE="sc://a:1")
    assert elsewhere == Need(kafka=False, hdfs=False, embedded=False, spark=True, here=False)
    assert need("{s: {landing: {path: 'hdfs:///b'}}}").hdfs


def test_a_file_that_cannot_be_read_is_named_and_the_exit_code_says_so(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.streams("streams: {s: {landing: {path: ./landing, min_age: 0s}, engine: local}}\n")
    (shell.folder / "landing").mkdir()
    for name in ("a.txt", "b.txt", "c.part"):
        (shell.folder / "landing" / name).write_text("w\n")
    answer = doctor(shell)
    assert ("landing", "s") not in answer.stopping
    left = [row for row in answer.rows if row["check"] == "landing" and "left out by name" in row["what"]]
    assert [(row["ok"], "c.part" in row["what"]) for row in left] == [(False, True)]
    read = LocalStorage.read_range

    def bad_sector(self: LocalStorage, path: str, start: int, end: int) -> Iterator[bytes]:
        if path.endswith("b.txt"):
            raise Unreadable(path, "cannot be read (Input/output error)")
        return read(self, path, start, end)

    monkeypatch.setattr(LocalStorage, "read_range", bad_sector)
    answer = doctor(shell)
    assert answer.code == 1
    [said] = [row["what"] for row in answer.rows if row["check"] == "landing" and row["stops"]]
    assert said.startswith("1 file or folder cannot be read, the rest is counted: ")
    assert f"{shell.folder}/landing/b.txt: cannot be read (Input/output error)" in said


def test_a_glob_that_means_a_folder_is_said_to(shell: Shell) -> None:
    shell.streams("streams: {s: {landing: {path: ./landing, glob: x}, engine: local}}\n")
    (shell.folder / "landing/x").mkdir(parents=True)
    (shell.folder / "landing/x/a.txt").write_text("w\n")
    [row] = [row for row in doctor(shell).rows if row["check"] == "landing" and not row["ok"]]
    assert "the glob 'x' matches a folder" in row["what"]
    assert "x/**" in row["do"]

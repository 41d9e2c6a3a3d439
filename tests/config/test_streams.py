"""`streams.yaml`: what it means, and one clear line for each thing that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wordtide.config import (
    PROJECT_ROOT,
    EngineName,
    FlumeConfig,
    KafkaSource,
    SocketConfig,
    StreamConfig,
    find_stream,
    home,
    load_streams,
    parse_bytes,
    parse_seconds,
    parse_streams,
    streams_path,
)
from wordtide.core.problems import ConfigError
from wordtide.counting.tokenizer import Tokenizer
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.table.fingerprint import fingerprint

ORIGIN = Path("/etc/w/streams.yaml")
TOPIC = "kafka: {topic: t}"


def one(entry: str, tables: str = "./tables") -> Any:
    return parse_streams(f"tables: {tables}\nstreams:\n  s: {{{entry}}}\n", ORIGIN)["s"]


def test_what_is_left_out_has_the_documented_defaults() -> None:
    stream = one(TOPIC)
    assert stream.config.interval == 1.0
    assert stream.config == StreamConfig(
        kafka=KafkaSource(topic="t", start="earliest", isolation="read_committed"),
        tokenizer=Tokenizer.SPACE,
        window=60.0,
        engine=EngineName.AUTO,
        linger=30.0,
        max_run=600.0,
        max_records=500_000,
        max_bytes=256_000_000,
        max_files=10_000,
        local_records=None,
        local_bytes=None,
        keep_runs=604_800.0,
    )
    landing = one("landing: {path: l}")
    assert landing.config.interval == 10.0
    assert landing.config.landing.glob == "**/*"
    assert landing.config.landing.min_age == 5.0


@pytest.mark.parametrize(
    ("location", "absolute"),
    [
        ("./tables", "/etc/w/tables"),
        ("../tables", "/etc/tables"),
        ("/data", "/data"),
        ("hdfs:///data/", "hdfs:///data"),
        ("file:///data", "/data"),
    ],
)
def test_relative_paths_are_relative_to_the_file(location: str, absolute: str) -> None:
    assert one(TOPIC, location).table == f"{absolute}/s/word_counts"
    assert one(f"landing: {{path: '{location}'}}", "/elsewhere").landing == absolute


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("1s", 1.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (3, 3.0)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("500KB", 500_000), ("64MB", 64_000_000), ("1GB", 10**9), (7, 7), ("7", 7)])
def test_sizes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("start", "position"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("1700000000000", 1_700_000_000_000),
        ("2026-01-02T03:04:05Z", 1_767_323_045_000),
        ("'2026-01-02T05:04:05+02:00'", 1_767_323_045_000),
        ("2026-01-02", 1_767_312_000_000),
    ],
)
def test_starts(start: str, position: object) -> None:
    assert one(f"kafka: {{topic: t, start: {start}}}").config.kafka.start_ms() == position


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (f"{TOPIC}, batch_intervall: 1s", "streams.s.batch_intervall"),
        ("kafka: {topic: t, offset: 3}", "streams.s.kafka.offset"),
        (f"{TOPIC}, batch_interval: soon", "'soon' is no duration"),
        (f"{TOPIC}, batch_interval: 0s", "streams.s.batch_interval"),
        (f"{TOPIC}, window: -1s", "streams.s.window"),
        (f"{TOPIC}, linger: 9999d", "between 0s and 365d"),
        (f"{TOPIC}, keep_runs: 10m", "streams.s.keep_runs"),
        (f"{TOPIC}, max_bytes: many", "'many' is no size"),
        (f"{TOPIC}, max_records: 0", "streams.s.max_records"),
        (f"{TOPIC}, tokenizer: words2", "streams.s.tokenizer"),
        (f"{TOPIC}, engine: flink", "streams.s.engine"),
        ("kafka: {topic: t, start: yesterday}", "earliest, latest"),
        ("kafka: {topic: t, start: 1.5}", "start 1.5 is none of earliest"),
        ("kafka: {topic: '..'}", "Kafka allows no topic '..'"),
        ("kafka: {topic: 1}", "streams.s.kafka.topic: must be text; quote it"),
        ("kafka: news", "streams.s.kafka: must be keys with values"),
        ("kafka: {topic: t, isolation: dirty}", "streams.s.kafka.isolation"),
        ("kafka: {topic: 'a b'}", "streams.s.kafka.topic"),
        ("kafka: {}", "streams.s.kafka.topic"),
        (f"{TOPIC}, landing: {{path: l}}", "exactly one source"),
        ("window: 1m", "exactly one source"),
        ("landing: {path: 's3://b/l'}", "use a folder or hdfs://"),
        ("landing: {path: l, min_age: true}", "streams.s.landing.min_age"),
        (
            "landing: {path: l, glob: './*.txt'}",
            "streams.s.landing: glob './*.txt' can match nothing: no path has a component .",
        ),
        ("landing: {path: l, glob: 'in/'}", "use in/** for what is in it"),
        ("landing: {path: l, glob: '[z-a]'}", "glob '[z-a]' is invalid"),
        ("landing: {path: l, in_progress: [.up], glob: '*.up'}", "still being written"),
        ("landing: {path: l, in_progress: ['']}", "streams.s.landing.in_progress.0: invalid name ''"),
        ("landing: {path: l, in_progress: [a/b]}", "invalid name 'a/b'"),
        ('landing: {path: "a\\0b"}', "streams.s.landing.path: 'a\\x00b' is no path"),
        ("landing: {path: 'hdfs://nn:99999/l'}", "streams.s.landing.path: 'hdfs://nn:99999/l' is no URL"),
        ("landing: {path: 'hdfs://[::1/l'}", "is no URL"),
        ("landing: {path: l, after: 'archive hdfs://[::1/l'}", "is no URL"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_file_and_the_key(entry: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        one(entry)
    line = str(refused.value)
    assert line.startswith(str(ORIGIN))
    assert complaint in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("streams: [", "not YAML"),
        ("- a", "streams.yaml: must be keys with values"),
        ("streams: [a, b]", "streams: must be keys with values"),
        ("streams: {news: }", "streams.news: must be keys with values"),
        ("streams: {yes: {kafka: {topic: t}}}", "streams.1: must be text; quote it"),
        ("streams:\n  a: {kafka: {topic: t}}\n  a: {kafka: {topic: u}}", "line 3, column 3: the key 'a' occurs twice"),
        ("streams:\n\ta: 1", "line 2, column 1"),
        ("streams: " + "[" * 3000, "nested too deeply"),
        ("tables: ''", "tables: "),
        ("streams: {1a: {kafka: {topic: t}}}", "streams.1a"),
        ("streams: {a-b: {kafka: {topic: t}}}", "streams.a-b"),
        ("streams: {news: {kafka: {topic: t}}, News: {kafka: {topic: u}}}", "share the table"),
        ("tabels: x", "unknown key 'tabels'"),
        ("tables: 's3://bucket/data'", "use a folder or hdfs://"),
        ("{tables: data, streams: {s: {landing: {path: data}}}}", "holds the tables"),
        ("{tables: data/tables, streams: {s: {landing: {path: data}}}}", "holds the tables"),
    ],
)
def test_mistakes_in_the_whole_file(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_streams(text, ORIGIN)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "streams: {}", "tables: x"])
def test_no_streams_are_fine(text: str) -> None:
    assert parse_streams(text, ORIGIN) == {}


@pytest.mark.parametrize(
    ("path", "after", "archive"),
    [
        ("l", "keep", None),
        ("l", "delete", None),
        ("l", "archive done", "/etc/w/done"),
        ("l", "' archive  ../two words '", "/etc/two words"),
        ("l", "archive l/.done", "/etc/w/l/.done"),
        ("l", "archive l/x/_done/y", "/etc/w/l/x/_done/y"),
        ("l", "archive l2", "/etc/w/l2"),
        ("l", "archive file:///done", "/done"),
        ("hdfs:///l", "archive hdfs:///done/", "hdfs:///done"),
        ("hdfs:///l", "archive hdfs://nn:8020/done", "hdfs://nn:8020/done"),
        ("hdfs://nn/l", "archive hdfs:///l/.done", "hdfs:///l/.done"),
    ],
)
def test_what_becomes_of_counted_files(path: str, after: str, archive: str | None) -> None:
    stream = one(f"landing: {{path: '{path}', after: {after}}}")
    assert stream.archive == archive
    assert (stream.config.landing.after == "delete") == (after == "delete")


@pytest.mark.parametrize(
    ("path", "after", "complaint"),
    [
        ("l", "move", "is none of keep, delete, archive DIR"),
        ("l", "archive", "is none of keep, delete, archive DIR"),
        ("l", "keep x", "is none of keep, delete, archive DIR"),
        ("l", "true", "landing.after"),
        ("l", "archive l", "holds the landing folder"),
        ("l/m", "archive .", "holds the landing folder"),
        ("hdfs:///l", "archive hdfs:///", "holds the landing folder"),
        ("l", "archive l/done", "let its name begin with a dot"),
        ("l", "archive l/a.b/c_d", "let its name begin with a dot"),
        ("hdfs:///l", "archive hdfs://nn/l/done", "let its name begin with a dot"),
        ("l", "archive hdfs:///done", "is on another file system"),
        ("hdfs:///l", "archive done", "is on another file system"),
        ("hdfs://a/l", "archive hdfs://b/done", "is on another file system"),
        ("l", "archive tables/s/done", "is among the tables"),
    ],
)
def test_an_archive_that_cannot_be_is_one_line(path: str, after: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        one(f"landing: {{path: '{path}', after: {after}}}")
    assert str(refused.value).startswith(f"{ORIGIN}: streams.s.landing.after: ")
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("other", ["l", "l/x", ".", "file:///etc/w/l"])
def test_what_a_stream_puts_away_no_other_stream_may_be_waiting_for(other: str) -> None:
    text = "tables: /elsewhere\nstreams: {{a: {{landing: {{path: l, after: {}}}}}, b: {{landing: {{path: '{}'}}}}}}"
    with pytest.raises(ConfigError, match=r"streams\.a\.landing\.after: b takes files from there too"):
        parse_streams(text.format("delete", other), ORIGIN)
    assert len(parse_streams(text.format("keep", other), ORIGIN)) == 2


def test_a_tilde_of_nobody_is_a_name_like_others() -> None:
    assert one("landing: {path: '~no-such-user/l'}").landing == "/etc/w/~no-such-user/l"


def test_without_a_current_folder_the_projects_file_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDTIDE_STREAMS", raising=False)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert streams_path() == PROJECT_ROOT / "streams.yaml"


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set WORDTIDE_STREAMS or create it"):
        load_streams(tmp_path / "none.yaml")


def test_an_unknown_stream_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no stream 'x' in .*; there are: s"):
        find_stream({"s": one(TOPIC)}, "x")


def test_the_file_in_use_and_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDTIDE_STREAMS", raising=False)
    monkeypatch.delenv("WORDTIDE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert streams_path().name == "streams.yaml"
    assert streams_path().parent != tmp_path
    (tmp_path / "streams.yaml").write_text("")
    assert streams_path() == tmp_path / "streams.yaml"
    assert home() == tmp_path / ".wordtide"
    monkeypatch.setenv("WORDTIDE_STREAMS", str(tmp_path / "other" / "s.yaml"))
    assert home() == tmp_path / "other" / ".wordtide"
    monkeypatch.setenv("WORDTIDE_HOME", str(tmp_path / "h"))
    assert home() == tmp_path / "h"


@pytest.mark.parametrize("address", ["broker", "broker:", ":9092", "a:1,b", "a:x"])
def test_a_bootstrap_address_that_is_none_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_KAFKA_BOOTSTRAP", address)
    with pytest.raises(ConfigError, match="is not host:port"):
        KafkaConnection.from_environment()


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(KafkaConnection("a:1", password="secret"))


SOCKET = "landing: {path: l}, socket: {server: 'news.example:9999'"
FLUME = "landing: {path: l}, flume: {port: 4141"


def test_a_stream_names_its_receiver_with_the_commands_defaults() -> None:
    assert one(f"{SOCKET}}}").receiver == SocketConfig(
        server="news.example:9999", max_size=16_000_000, max_age=2.0, tls=False, ca=None
    )
    assert one(f"{FLUME}}}").receiver == FlumeConfig(
        port=4141, listen="127.0.0.1", max_batch=16_000_000, max_event=1_000_000, cert=None, key=None
    )
    assert one("landing: {path: l}").receiver is None


def test_files_of_a_receiver_are_relative_to_the_streams_file() -> None:
    assert one(f"{SOCKET}, tls: true, ca: ca.pem}}").receiver.ca == "/etc/w/ca.pem"
    flume = one(f"{FLUME}, cert: tls/c.pem, key: /k.pem}}").receiver
    assert (flume.cert, flume.key) == ("/etc/w/tls/c.pem", "/k.pem")


def test_the_table_knows_nothing_of_the_receiver() -> None:
    plain = one("landing: {path: l}")
    folder = {"namespace": "here", "path": "/l"}
    received = (one(f"{SOCKET}}}"), one(f"{FLUME}}}"))
    assert {fingerprint(stream, folder) for stream in received} == {fingerprint(plain, folder)}


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (f"{SOCKET}, port: 1}}", "unknown key 'streams.s.socket.port'"),
        ("landing: {path: l}, socket: {server: nowhere}", "streams.s.socket.server: 'nowhere' is not HOST:PORT"),
        (f"{SOCKET}, max_size: 2GB}}", "streams.s.socket.max_size"),
        (f"{SOCKET}, max_age: soon}}", "streams.s.socket.max_age: 'soon' is no duration"),
        (f"{SOCKET}, ca: f}}", "ca is of use only with tls"),
        (f"{FLUME}, cert: f}}", "cert and key go together"),
        ("landing: {path: l}, flume: {port: 65536}", "streams.s.flume.port"),
        (f"{SOCKET}}}, flume: {{port: 1}}", "at most one receiver"),
        (f"{TOPIC}, flume: {{port: 1}}", "flume lands files; name landing: {path: FOLDER}"),
        ("socket: {server: 'h:1'}", "socket lands files; name landing: {path: FOLDER}"),
        (f"{FLUME}, metrics_port: 0}}", "streams.s.flume.metrics_port"),
        ("landing: {path: l, glob: '*.csv'}, flume: {port: 1}", "leaves out what the receiver lands"),
    ],
)
def test_a_receiver_that_cannot_be_is_one_line(entry: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one(entry)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "part"),
    [
        ("{path: a}, flume: {port: 1}", "{path: b}, flume: {port: 1}", "streams.two.flume.port: 1 is that of one"),
        ("{path: a}, flume: {port: 1, listen: 0.0.0.0}", "{path: b}, flume: {port: 1}", "1 is that of one"),
        ("{path: a}, flume: {port: 1}", "{path: ./a/}, flume: {port: 2}", "one has a flume receiver in /etc/w/a too"),
        (
            "{path: a}, socket: {server: 'h:1', metrics_port: 9}",
            "{path: b}, flume: {port: 2, metrics_port: 9}",
            "streams.two: metrics_port 9 is that of one",
        ),
    ],
)
def test_two_receivers_at_one_place_are_refused(first: str, second: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        parse_streams(f"streams: {{one: {{landing: {first}}}, two: {{landing: {second}}}}}", ORIGIN)


def test_receivers_at_different_places_are_not_refused() -> None:
    flumes = (
        "a: {landing: {path: a}, flume: {port: 1}}",
        "b: {landing: {path: b}, flume: {port: 1, listen: 127.0.0.2}}",
    )
    sockets = ("c: {landing: {path: a}, socket: {server: 'h:1'}}", "d: {landing: {path: a}, socket: {server: 'h:1'}}")
    assert len(parse_streams(f"streams: {{{', '.join(flumes + sockets)}}}", ORIGIN)) == 4

"""Bounded: what compression makes of few bytes is never held at once. Measured in a process of its own."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import subprocess
import sys

import zstandard
from confluent_kafka import Producer

from tests.support import SECONDS, Place, create_topic, produce, topic_of, unique
from wordtide.config import PROJECT_ROOT
from wordtide.core.text import LONGEST_WORD

LIMIT_MB = 512

# Drains all streams in a process of its own and prints what it counted and the most memory it ever held.
SCRIPT = """
import json, sys
from pathlib import Path
from wordtide.config import EngineName, load_streams
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain
from wordtide.drain.pacing import Pace
from wordtide.wiring import open_source, open_table

words = parked = 0
for stream in load_streams(Path(sys.argv[1])).values():
    source = open_source(stream, KafkaConnection(sys.argv[2]) if stream.config.kafka else None)
    drain = Drain(stream, source, open_table(stream), {EngineName.LOCAL: LocalEngine()},
                  run_id="test", on_commit=lambda committed: None)
    summary = drain.run(Pace.of(stream.config, by_hand=True))
    words += summary.words
    parked += len(summary.parked)
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"mb": int(peak) // 1024, "words": words, "parked": parked}))
"""


def drained(place: Place) -> dict[str, int]:
    """Return megabytes at the peak, words and how much is parked, of all streams of a place."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(place.streams_yaml), place.cluster.kafka],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, int] = json.loads(ended.stdout)
    return found


def test_memory_is_bounded_whatever_unpacks(place: Place) -> None:
    stream = place.streams({"s": {"kafka": {"topic": unique("bombs")}, "batch_interval": "100ms", "engine": "local"}})[
        "s"
    ]
    create_topic(place.cluster, topic_of(stream), config={"max.message.bytes": "30000000"})
    value = (b"w" * 999 + b" ") * 20_000
    for codec in ("zstd", "gzip"):
        config = {"compression.type": codec, "message.max.bytes": "30000000", "batch.num.messages": "1"}
        produce(place.cluster, topic_of(stream), ["few words"] * 10 + [value] * 8, config=config)
    found = drained(place)
    # Each value ends with a space: an empty word more, as the tokenizer `space` has it.
    assert found["words"] == 2 * (10 * 2 + 8 * 20_001)
    assert found["mb"] <= LIMIT_MB


MB = 1 << 20
BOMBS = {
    "space": {
        "line.zst": zstandard.compress(b"word " * (10 * MB)),
        "word.zst": zstandard.compress(b"x" * (200 * MB)),
        "not-utf8.txt": b"text\n" * 200 + b"\xff" * (LONGEST_WORD - 1) + b" end",
        "distinct.txt": b" ".join(b"%016x" % n for n in range(1_300_000)),
    },
    "whitespace": {
        "blanks.gz": gzip.compress(b" " * (32 * MB), 1),
        "line-ends.bz2": bz2.compress(b"a\r\n" * MB),
        "word.txt": b"x" * (LONGEST_WORD + 1),
    },
    "words": {
        "nuls.gz": gzip.compress(b"text " * 200 + b"\0 " * (4 * MB), 1),
        "letters.gz": gzip.compress(b" ".join(b"%d" % n + "\u0130".encode() * (2 * MB) for n in range(3)), 1),
    },
}
"""By tokenizer, files of few bytes that unpack to many, or hold what takes most memory to count."""


def test_memory_is_bounded_whatever_files_hold(place: Place) -> None:
    for tokenizer, files in BOMBS.items():
        (place.folder / tokenizer).mkdir()
        for name, content in files.items():
            path = place.folder / tokenizer / name
            path.write_bytes(content)
            os.utime(path, (1_700_000_000, 1_700_000_000))
    place.streams(
        {
            tokenizer: {
                "landing": {"path": str(place.folder / tokenizer), "min_age": "0s"},
                "batch_interval": "100ms",
                "engine": "local",
                "tokenizer": tokenizer,
                **({"quarantine": {"undecodable": True}} if tokenizer == "whitespace" else {}),
            }
            for tokenizer in BOMBS
        }
    )
    found = drained(place)
    # The word beyond counting; with a quarantine it is quarantined instead.
    assert found["parked"] == 1
    assert found["mb"] <= LIMIT_MB


def test_memory_is_bounded_whatever_keys_and_headers_hold(place: Place) -> None:
    stream = place.streams({"s": {"kafka": {"topic": unique("dark")}, "batch_interval": "100ms", "engine": "local"}})[
        "s"
    ]
    create_topic(place.cluster, topic_of(stream), config={"max.message.bytes": "30000000"})
    producer = Producer(
        {"bootstrap.servers": place.cluster.kafka, "compression.type": "zstd", "message.max.bytes": 30_000_000}
    )
    dark = b"k" * (20 * MB)
    for number in range(30):
        keyed = {"key": dark} if number % 2 else {"headers": [("dark", dark)]}
        producer.produce(topic_of(stream), b"word", **keyed)
        # A batch of its own each: all of it must be sent before there is room for the next.
        assert producer.flush(SECONDS) == 0
    found = drained(place)
    assert found["words"] == 30
    assert found["mb"] <= LIMIT_MB

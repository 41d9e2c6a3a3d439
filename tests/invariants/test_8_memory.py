"""Bounded: what compression makes of few bytes is never held at once. Measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support import Place, create_topic, produce, topic_of, unique
from wordtide.config import PROJECT_ROOT, Stream

LIMIT_MB = 512

# Drains a stream in a process of its own and prints what it counted and the most memory it ever held.
SCRIPT = """
import json, sys
from pathlib import Path
from wordtide.config import EngineName, load_streams
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.counting.local import LocalEngine
from wordtide.drain.loop import Drain
from wordtide.drain.pacing import Pace
from wordtide.wiring import open_source, open_table

(stream,) = load_streams(Path(sys.argv[1])).values()
source = open_source(stream, KafkaConnection(sys.argv[2]) if stream.config.kafka else None)
drain = Drain(stream, source, open_table(stream), {EngineName.LOCAL: LocalEngine()},
              run_id="test", on_commit=lambda committed: None)
summary = drain.run(Pace.of(stream.config, by_hand=True))
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"mb": int(peak) // 1024, "words": summary.words, "parked": len(summary.parked)}))
"""


def drained(place: Place, stream: Stream) -> dict[str, int]:
    """Return megabytes at the peak, words and how much is parked."""
    assert stream.name
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
    found = drained(place, stream)
    # Each value ends with a space: an empty word more, as the tokenizer `space` has it.
    assert found["words"] == 2 * (10 * 2 + 8 * 20_001)
    assert found["mb"] <= LIMIT_MB

"""A broker that accepts connections and says nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.support import SECONDS, Place, wait_until, words_of
from wordtide.config import Stream
from wordtide.core.problems import SourceUnavailable
from wordtide.sources.kafka.source import KafkaTopic
from wordtide.status.lag import look
from wordtide.testing.network import silent
from wordtide.testing.servers import Broker


def test_every_command_gives_a_silent_broker_up_in_one_line(place: Place, wordtide_broker: Broker) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["one two"])
    place.drain(stream)
    place.produce(stream, ["three"])
    lines = place.folder / "lines.txt"
    lines.write_text("four\n")
    topic = stream.config.kafka.topic if stream.config.kafka else ""
    commands = [("lag",), ("produce", topic, str(lines)), ("replay", stream.name, "--batch", "1"), ("doctor",)]
    told = ("produce", topic)

    def command(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "wordtide.cli.main", *arguments],
            env=place.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with ExitStack() as stack:
        # This one has begun to send when the broker falls silent.
        sending = command(*told)
        stack.callback(sending.kill)
        assert sending.stdin is not None
        sending.stdin.write("five\n")
        sending.stdin.flush()
        sent = KafkaTopic(stream, place.kafka)
        stack.callback(sent.close)
        wait_until("it sends", lambda: sent.snapshot().partitions[0].end == 3, 4 * SECONDS)
        stack.enter_context(silent(wordtide_broker))
        running = [command(*arguments) for arguments in commands]
        for process in running:
            stack.callback(process.kill)
        with pytest.raises(SourceUnavailable, match=wordtide_broker.kafka) as refused:
            place.drain(stream)
        assert "\n" not in str(refused.value)
        with pytest.raises(SourceUnavailable, match=wordtide_broker.kafka):
            look(stream, place.table(stream), lambda: place.kafka, lambda: None)
        for arguments, process in zip(commands, running, strict=True):
            shown, said = process.communicate(timeout=4 * SECONDS)
            assert process.returncode == 1, (arguments, shown, said)
            assert wordtide_broker.kafka in shown + said, (arguments, shown, said)
            assert "Traceback" not in said
            assert arguments == ("doctor",) or said.count("\n") == 1, said
        sending.stdin.write("six\n")
        sending.stdin.flush()
        sending.send_signal(signal.SIGINT)
        said = sending.communicate(timeout=SECONDS)[1]
        assert sending.returncode == 130, said
        assert "Traceback" not in said
    wait_until("the broker goes on", lambda: drains(place, stream), 2 * SECONDS)
    # Whether what was sent into the silence arrives is for nobody to say.
    assert place.counted(stream) - words_of(["six"]) == words_of(["one two", "three", "five"])


def drains(place: Place, stream: Stream) -> bool:
    try:
        place.drain(stream)
    except SourceUnavailable:
        return False
    return True

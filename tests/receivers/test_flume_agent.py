"""`wordtide receive flume` with real Flume 1.11 agents that run the configurations of `examples/flume` as shipped."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from tests.cli.conftest import shell
from tests.cli.support import Shell
from tests.receivers.flume_support import EXAMPLES, agent, free_port, landed
from tests.receivers.support import HOST, self_signed
from tests.support import SECONDS, some_lines, wait_until, words_of
from wordtide.system.java import find_java

__all__ = ["shell"]

_DIES = """
import os, signal, sys
import wordtide.receivers.flume as flume
from wordtide.cli.main import run
answered, left = flume.FlumeReceiver._answer, [int(sys.argv[1])]
def answer(self, content, peer):
    reply = answered(self, content, peer)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply
flume.FlumeReceiver._answer = answer
sys.exit(run(sys.argv[2:]))
"""
_DELAYS = """
import sys, time
import wordtide.receivers.flume as flume
from wordtide.cli.main import run
answered, left = flume.FlumeReceiver._answer, [3]
def answer(self, content, peer):
    reply = answered(self, content, peer)
    left[0] -= 1
    if left[0] >= 0:
        time.sleep(1.5)
    return reply
flume.FlumeReceiver._answer = answer
sys.exit(run(sys.argv[1:]))
"""


class Receiver:
    """`wordtide receive flume` in a process of its own, on one port through all of its lives."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.root = folder / "landing"
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *script: str, options: Sequence[str] = ()) -> None:
        if self.process is not None:
            self.process.wait(SECONDS)
        begin = ["-c", *script] if script else ["-m", "wordtide.cli.main"]
        lives = self.said().count("listening on") if self.process is not None else 0
        with (self._folder / "receiver.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *begin,
                    "receive",
                    "flume",
                    "--port",
                    str(self.port),
                    "--to",
                    str(self.root),
                    *options,
                ],
                stderr=log,
                stdout=log,
            )
        wait_until("it listens", lambda: self.said().count("listening on") > lives)

    def said(self) -> str:
        return (self._folder / "receiver.log").read_text()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0, self.said()


@pytest.fixture
def receiver(tmp_path: Path):
    made = Receiver(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(SECONDS)


def write(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("ab") as stream:
        stream.write(b"".join(line.encode() + b"\n" for line in lines))


def variables(receiver: Receiver, files: Path, name: str = "one") -> dict[str, object]:
    return {
        "FLUME_FILES": f"{files}/.*\\.log",
        "FLUME_AGENT": name,
        "WORDTIDE_HOST": HOST,
        "WORDTIDE_PORT": receiver.port,
    }


def wait_landed(receiver: Receiver, count: int, log: Callable[[], str]) -> None:
    def there() -> bool:
        return len(landed(receiver.root)) >= count

    try:
        wait_until(f"{count} lines have landed", there, 60.0)
    except AssertionError as error:
        raise AssertionError(f"{error}; {len(landed(receiver.root))}; {receiver.said()}; {log()[-3000:]}") from None


def numbered(count: int, start: int = 0) -> list[str]:
    """Return lines of which no two are the same."""
    return [f"{start + number} {line}" for number, line in enumerate(some_lines(count))]


def test_every_line_lands_once_though_receiver_and_agent_are_killed(receiver: Receiver, tmp_path: Path) -> None:
    files, lines = tmp_path / "in", numbered(12_000)
    write(files / "a.log", lines[:6000])
    write(files / "b.log", lines[6000:8000])
    receiver.start(_DIES, "2")
    with agent(EXAMPLES / "agent.conf", "wordtide", tmp_path / "state", **variables(receiver, files)) as running:
        # Dead after landing its second batch, before the answer.
        assert receiver.process is not None
        assert receiver.process.wait(60) == -signal.SIGKILL
        write(files / "b.log", lines[8000:9000])
        running.kill()
        running.start()
        receiver.start(_DIES, "1")
        assert receiver.process.wait(60) == -signal.SIGKILL
        receiver.start()
        running.kill()
        write(files / "c.log", lines[9000:])
        running.start()
        wait_landed(receiver, 12_000, running.log)
        receiver.stop()
    found = [line.decode() for line in landed(receiver.root)]
    assert Counter(found) == Counter(lines)
    assert words_of(found) == words_of(lines)
    assert "agent 'one' at 127.0.0.1: exactly once" in receiver.said()
    assert "at least once" not in receiver.said()
    # The batch that was landed and not answered came again.
    assert " repeats" in receiver.said()


def test_a_million_lines_of_a_real_agent_land_once_in_bounded_memory(receiver: Receiver, tmp_path: Path) -> None:
    files, count = tmp_path / "in", 1_000_000
    files.mkdir()
    content = b"".join(b"%07d the quick brown fox jumps\n" % number for number in range(count))
    (files / "a.log").write_bytes(content)
    receiver.start()
    assert receiver.process is not None
    with agent(EXAMPLES / "agent.conf", "wordtide", tmp_path / "state", **variables(receiver, files)):
        expected = len(content)
        largest = 0

        def landed_all() -> bool:
            nonlocal largest
            largest = max(largest, psutil.Process(receiver.process.pid).memory_info().rss)
            return sum(path.stat().st_size for path in receiver.root.glob("[!.]*")) >= expected

        # Half a minute alone; two JVMs and a receiver on a busy machine take ten times that.
        wait_until("a million lines have landed", landed_all, 900.0)
        receiver.stop()
    assert b"".join(path.read_bytes() for path in sorted(receiver.root.glob("[!.]*"))) == content
    # Four batches and two files of at most 16 MB, and Python.
    assert largest < 250_000_000


def test_answers_later_than_the_agent_waits_repeat_nothing(receiver: Receiver, tmp_path: Path) -> None:
    files, lines = tmp_path / "in", numbered(3000)
    write(files / "a.log", lines)
    hasty = tmp_path / "hasty.conf"
    hasty.write_text((EXAMPLES / "agent.conf").read_text().replace("request-timeout = 20000", "request-timeout = 1000"))
    receiver.start(_DELAYS)
    with agent(hasty, "wordtide", tmp_path / "state", **variables(receiver, files)) as running:
        wait_landed(receiver, 3000, running.log)
        write(files / "a.log", ["the last one"])
        wait_landed(receiver, 3001, running.log)
        receiver.stop()
    assert Counter(line.decode() for line in landed(receiver.root)) == Counter([*lines, "the last one"])
    assert " repeats" in receiver.said()


def test_two_agents_reach_it_through_a_relay_for_avro_sinks(receiver: Receiver, tmp_path: Path) -> None:
    port = free_port()
    to_avro = tmp_path / "to-avro.conf"
    to_avro.write_text((EXAMPLES / "agent.conf").read_text().replace("receiver.type = thrift", "receiver.type = avro"))
    receiver.start(_DIES, "1")
    files, lines = tmp_path / "in", numbered(2000)
    write(files / "a.log", lines)
    relay_variables = {"RELAY_HOST": HOST, "RELAY_PORT": port, "WORDTIDE_HOST": HOST, "WORDTIDE_PORT": receiver.port}
    to_relay = {"WORDTIDE_HOST": HOST, "WORDTIDE_PORT": port, "FLUME_FILES": f"{files}/.*\\.log"}
    with (
        agent(EXAMPLES / "relay.conf", "relay", tmp_path / "relay", **relay_variables) as relay,
        agent(to_avro, "wordtide", tmp_path / "one", FLUME_AGENT="one", **to_relay),
        agent(to_avro, "wordtide", tmp_path / "two", FLUME_AGENT="two", **to_relay),
    ):
        assert receiver.process is not None
        assert receiver.process.wait(60) == -signal.SIGKILL
        receiver.start()
        wait_landed(receiver, 4000, relay.log)
        receiver.stop()
    # The same file, read by two agents, is two files.
    assert Counter(line.decode() for line in landed(receiver.root)) == Counter(lines * 2)


def trusting(file: Path, certificate: Path) -> None:
    """Make a truststore for Java that trusts a certificate."""
    keytool = find_java().parent / "keytool"
    if not keytool.exists():
        pytest.skip("keytool, which makes the truststore, is not installed")
    subprocess.run(
        [str(keytool), "-importcert", "-noprompt", "-alias", "wordtide", "-file", str(certificate), "-keystore",
         str(file), "-storetype", "PKCS12", "-storepass", "changeit"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def with_tls(truststore: Path, folder: Path) -> Path:
    """Return the example's configuration with its lines about TLS switched on."""
    text = (EXAMPLES / "agent.conf").read_text().replace("# wordtide.sinks", "wordtide.sinks")
    text = text.replace("/etc/flume/truststore.p12", str(truststore)).replace("password = …", "password = changeit")
    made = folder / f"{truststore.stem}.conf"
    made.write_text(text)
    return made


def test_tls_with_a_real_agent_and_a_stranger_is_refused_in_one_line(receiver: Receiver, tmp_path: Path) -> None:
    files, lines = tmp_path / "in", numbered(3000)
    write(files / "a.log", lines)
    ours, other = self_signed(tmp_path / "ours"), self_signed(tmp_path / "other")
    trusting(tmp_path / "right.p12", ours / "cert.pem")
    trusting(tmp_path / "wrong.p12", other / "cert.pem")
    receiver.start(options=["--cert", str(ours / "cert.pem"), "--key", str(ours / "key.pem")])
    strange = with_tls(tmp_path / "wrong.p12", tmp_path)
    with agent(strange, "wordtide", tmp_path / "state", **variables(receiver, files)):
        wait_until("it is refused", lambda: "127.0.0.1: TLS failed" in receiver.said())
    assert landed(receiver.root) == []
    right = with_tls(tmp_path / "right.p12", tmp_path)
    with agent(right, "wordtide", tmp_path / "state", **variables(receiver, files)) as running:
        wait_landed(receiver, 3000, running.log)
        receiver.stop()
    assert Counter(line.decode() for line in landed(receiver.root)) == Counter(lines)
    assert receiver.said().count("TLS failed") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--to", "x"), "--port"),
        (("--port", "65536", "--to", "x"), "65536 is not in the range"),
        (("--port", "0", "--to", "x", "--cert", "f"), "--cert and --key go together"),
        (("--port", "0", "--to", "x", "--max-batch", "0"), "not between 1 and 1GB"),
    ],
)
def test_wrong_arguments_are_explained_and_exit_2(shell: Shell, arguments: tuple[str, ...], part: str) -> None:
    answer = shell("receive", "flume", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert part in answer.err


def test_help_says_what_is_exactly_once(shell: Shell) -> None:
    text = " ".join(shell("receive", "flume", "--help").out.split())
    assert "EXACTLY ONCE from an agent with a TAILDIR source" in text
    assert "AT LEAST ONCE from any other source" in text

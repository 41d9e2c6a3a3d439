"""What a real Flume agent makes of its files: interceptors, rotations, skipToEnd, two hosts of one name; and deaths."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.receivers.flume_support import Agent, agent, free_port, landed
from tests.receivers.support import HOST
from tests.support import SECONDS, wait_until
from wordtide.receivers.flume_journal import doubts_of
from wordtide.storage import LocalStorage

HEADER = "#Fields: date time s-ip"
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
SINK = f"""
a.channels = disk
a.sinks = receiver
a.channels.disk.type = file
a.channels.disk.checkpointDir = ${{env:FLUME_STATE}}/checkpoint
a.channels.disk.dataDirs = ${{env:FLUME_STATE}}/data
a.sinks.receiver.type = thrift
a.sinks.receiver.channel = disk
a.sinks.receiver.hostname = {HOST}
a.sinks.receiver.port = ${{env:PORT}}
a.sinks.receiver.batch-size = 1000
"""


def source(name: str, files: str, *interceptors: dict[str, str], **settings: str) -> str:
    """Return a TAILDIR source's lines in an agent's configuration."""
    every = [{"type": "static", "key": "agent", "value": "flume"}, *interceptors]
    keys = {
        "type": "TAILDIR",
        "channels": "disk",
        "filegroups": "g",
        "filegroups.g": files,
        "positionFile": f"${{env:FLUME_STATE}}/{name}.json",
        "fileHeader": "true",
        "byteOffsetHeader": "true",
        "writePosInterval": "200",
        "interceptors": " ".join(f"i{number}" for number in range(len(every))),
    } | settings
    for number, interceptor in enumerate(every):
        keys |= {f"interceptors.i{number}.{key}": value for key, value in interceptor.items()}
    return "".join(f"a.sources.{name}.{key} = {value}\n" for key, value in keys.items())


def replacing(pattern: str, by: str) -> dict[str, str]:
    return {"type": "search_replace", "searchPattern": pattern, "replaceString": by}


# Sources by their names: how a line is landed that was written.
CHANGES = {
    "longer": (replacing("^", "host-a.example.org|app-server|"), lambda line: f"host-a.example.org|app-server|{line}"),
    "shorter": (replacing("^shorter at place", "s"), lambda line: line.replace("shorter at place", "s")),
    "masked": (replacing("[0-9]", "#"), lambda line: re.sub("[0-9]", "#", line)),
    "filtered": (
        {"type": "regex_filter", "regex": "[02468]$", "excludeEvents": "true"},
        lambda line: None if line[-1] in "02468" else line,
    ),
}


class Place:
    """An agent, a receiver, and the folder in which its files are."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.root = folder, folder / "in", folder / "landing"
        self.files.mkdir()
        self.port = free_port()
        self.sent: Counter[str] = Counter()
        self.receiver: subprocess.Popen[bytes] | None = None

    def write(self, file: str, lines: Sequence[str], landed: Sequence[str] | None = None) -> None:
        """Append lines to a file; say how they are landed if not as they are."""
        with (self.files / file).open("a") as stream:
            stream.write("".join(f"{line}\n" for line in lines))
        self.sent.update(lines if landed is None else landed)

    def receive(self, *script: str) -> None:
        """Start a receiver; the one before has ended."""
        log, lives = self.folder / "receiver.log", self.said().count("listening on")
        begin = ["-c", *script] if script else ["-m", "wordtide.cli.main"]
        arguments = ["receive", "flume", "--port", str(self.port), "--to", str(self.root)]
        with log.open("ab") as output:
            self.receiver = subprocess.Popen([sys.executable, *begin, *arguments], stdout=output, stderr=output)
        wait_until("it listens", lambda: self.said().count("listening on") > lives)

    def said(self) -> str:
        log = self.folder / "receiver.log"
        return log.read_text() if log.exists() else ""

    def landed(self) -> Counter[str]:
        return Counter(line.decode() for line in landed(self.root))

    def wait(self, of: Agent) -> None:
        """Wait until all that was written has landed."""

        def there() -> bool:
            return not self.sent - self.landed()

        try:
            wait_until("all lines have landed", there, 60.0)
        except AssertionError as error:
            missing = list((self.sent - self.landed()).items())[:5]
            raise AssertionError(f"{error}: {missing}; {self.said()}; {of.log()[-2000:]}") from None

    def wait_noted(self, name: str, file: str, of: Agent) -> None:
        """Wait until a source's position file knows a whole file: what it does not know is read again."""
        path, positions = self.files / file, self.folder / "state" / f"{name}.json"

        def noted() -> bool:
            try:
                known = json.loads(positions.read_text())
            except (OSError, ValueError):
                return False
            return any((one["file"], one["pos"]) == (str(path), path.stat().st_size) for one in known)

        wait_until(f"the agent has noted {file}; {of.log()[-500:]}", noted, 60.0)

    def stop(self) -> None:
        assert self.receiver is not None
        self.receiver.send_signal(signal.SIGTERM)
        assert self.receiver.wait(SECONDS) == 0, self.said()


@pytest.fixture
def place(tmp_path: Path):
    made = Place(tmp_path)
    yield made
    if made.receiver is not None:
        made.receiver.kill()
        made.receiver.wait(SECONDS)


def numbered(name: str, count: int, start: int = 0) -> list[str]:
    return [f"{name} at place {number:04d}" for number in range(start, start + count)]


def changed(place: Place, count: int, start: int = 0) -> None:
    for name, (_, change) in CHANGES.items():
        lines = numbered(name, count, start)
        place.write(f"{name}.log", lines, [line for line in map(change, lines) if line is not None])


def test_whatever_interceptors_make_of_lines_each_lands_once_though_both_sides_are_killed(place: Place) -> None:
    sources = "".join(source(name, f"{place.files}/{name}.log", one) for name, (one, _) in CHANGES.items())
    configuration = place.folder / "agent.conf"
    configuration.write_text(f"a.sources = {' '.join(CHANGES)}\n{sources}{SINK}")
    changed(place, 300)
    place.receive(_DIES, "2")
    with agent(configuration, "a", place.folder / "state", PORT=place.port) as running:
        assert place.receiver is not None
        # Dead after its second batch has landed, before the answer.
        assert place.receiver.wait(60) == -signal.SIGKILL
        changed(place, 100, 300)
        running.kill()
        place.receive(_DIES, "1")
        running.start()
        assert place.receiver.wait(60) == -signal.SIGKILL
        place.receive()
        place.wait(running)
        place.stop()
    assert place.landed() == place.sent
    assert " repeats" in place.said()
    assert "doubtful line" not in place.said()


def test_rotations_and_hosts_of_one_name_lose_no_line_and_what_may_have_come_twice_is_shown(place: Place) -> None:
    files = place.files
    # Two hosts' files have one path, on two machines; here the header says so.
    one_path = {"type": "static", "key": "file", "value": "/var/log/app.log", "preserveExisting": "false"}
    sources = {
        # The pattern also matches the new name, so the agent reads the file again.
        "renamed": source("renamed", rf"{files}/renamed\.log.*"),
        "copied": source("copied", rf"{files}/copied\.log.*"),
        # It does not, as logrotate is to be configured.
        "away": source("away", rf"{files}/away\.log"),
        "skipping": source("skipping", rf"{files}/skipping\.log", skipToEnd="true"),
        "first": source("first", rf"{files}/first\.log", one_path),
        "other": source("other", rf"{files}/other\.log", one_path),
    }
    configuration = place.folder / "agent.conf"
    configuration.write_text(f"a.sources = {' '.join(sources)}\n{''.join(sources.values())}{SINK}")
    for name in ("renamed", "copied", "away", "first", "other"):
        place.write(f"{name}.log", [f"{HEADER} {'host' if name in ('first', 'other') else name}", *numbered(name, 60)])
    place.write("skipping.log", [HEADER, *numbered("skipped", 60)], [])
    place.receive()
    with agent(configuration, "a", place.folder / "state", PORT=place.port) as running:
        place.wait(running)
        place.wait_noted("skipping", "skipping.log", running)
        place.write("skipping.log", numbered("skipping", 40))
        place.wait(running)
        (files / "renamed.log").rename(files / "renamed.log.1")
        (files / "away.log").rename(files / "away.1")
        # As copytruncate does; the agent notices because what follows is shorter.
        shutil.copy(files / "copied.log", files / "copied.log.1")
        (files / "copied.log").write_text("")
        for name in ("renamed", "away", "copied"):
            place.write(f"{name}.log", [f"{HEADER} {name}", *numbered(name, 20, 1000)])
        for name in ("first", "other"):
            place.write(f"{name}.log", numbered(name, 60, 60))
        place.wait(running)
        for name in sources:
            place.wait_noted(name, f"{name}.log", running)
        running.kill()
        (files / "skipping.log").rename(files / "skipping.1")
        place.write("skipping.log", [HEADER, *numbered("skipped", 5)], [])
        place.write("away.log", numbered("away", 10, 2000))
        running.start()
        place.wait_noted("skipping", "skipping.log", running)
        # From where lines of the first file were landed.
        place.write("skipping.log", numbered("skipping", 100, 1000))
        place.wait(running)
        place.stop()
    found = place.landed()
    assert not place.sent - found
    # Of two hosts' lines none is known to be a repeat: what the agent had not been told about may be there twice.
    assert all(re.match("first|other", line) for line in found - place.sent)
    said = place.said()
    assert "/var/log/app.log: this path has been used for a second file, or by two agents named 'flume'" in said
    # However many there are: at once, then once a minute.
    assert 1 <= said.count("possibly repeated") <= 4
    doubts = doubts_of(LocalStorage(), str(place.root))
    assert f"landed {doubts.lines} doubtful lines" in said
    assert doubts.lines < 500

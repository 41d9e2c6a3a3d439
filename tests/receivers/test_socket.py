"""The socket receiver against a real line server: what was sent is what has landed."""

from __future__ import annotations

import socket as sockets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.faults.disks import KINDS, Disk, disk_of
from tests.receivers.support import HOST, LineServer, files_in, lines_in, lines_landed, receiving, self_signed
from tests.support import SECONDS, Place, some_lines, unique, wait_until, words_of
from wordtide.core.problems import ConfigError
from wordtide.receivers import changes, landing, socket
from wordtide.receivers.socket import tls_context
from wordtide.storage import HdfsAddress, HdfsStorage, LocalStorage
from wordtide.system.address import Server
from wordtide.testing.network import Proxy

LOCAL = LocalStorage()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (landing, socket):
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.02)
        monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.1)


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer() as made:
        yield made


def encoded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def test_words_are_those_sent_over_several_connections(server: LineServer, tmp_path: Path) -> None:
    lines = some_lines(600)
    with receiving(server.address, LOCAL, tmp_path) as running:
        for start in range(0, 600, 200):
            peer = server.accept()
            content = encoded(lines[start : start + 200])
            for at in range(0, len(content), 777):
                peer.send(content[at : at + 777])
            peer.end()
        running.wait(events=600)
        assert running.now.reconnects >= 2
    assert [line.decode() for line in lines_landed(tmp_path)] == lines
    assert words_of(line.decode() for line in lines_landed(tmp_path)) == words_of(lines)


def test_line_rules_are_sparks_also_where_connections_meet(server: LineServer, tmp_path: Path) -> None:
    with receiving(server.address, LOCAL, tmp_path) as running:
        first = server.accept()
        first.send(b"crlf line\r")
        # The \r alone has ended its line, and the \n that comes half a second later is still a part of it.
        running.wait(events=1)
        first.send(b"\nlone\rcr\r\n\nafter\nbad \xff\xc3\ntail")
        first.end()
        second = server.accept()
        second.send(b"\nnext\r")
        second.end()
        server.accept().send(b"\nlast\n")
        running.wait(events=11)
    assert lines_landed(tmp_path) == [
        b"crlf line", b"lone", b"cr", b"", b"after", b"bad \xff\xc3", b"tail", b"", b"next", b"", b"last",
    ]  # fmt: skip


def test_a_connection_that_breaks_drops_its_unfinished_line_and_says_so(server: LineServer, tmp_path: Path) -> None:
    with receiving(server.address, LOCAL, tmp_path) as running:
        peer = server.accept()
        peer.send(b"whole\nhalf")
        running.wait(received_bytes=10)
        peer.reset()
        server.accept().send(b"next\n")
        running.wait(events=2, lost_bytes=4)
        running.wait_said("the 4 bytes of its unfinished last line are dropped")
    assert lines_landed(tmp_path) == [b"whole", b"next"]


def test_it_waits_for_a_server_that_is_away_and_says_each_change_once(server: LineServer, tmp_path: Path) -> None:
    with receiving(server.address, LOCAL, tmp_path) as running:
        peer = server.accept()
        server.close()
        peer.end()
        running.wait_said("cannot be reached")
        said = len(running.said)
        # Longer than several tries.
        assert not server_came_back_by_itself(running.said, said)
        server.open()
        server.accept().send(b"back\n")
        running.wait(events=1, reconnects=1)
    said_changes = [line.partition(": ")[2].partition(" (")[0] for line in running.said]
    assert said_changes == ["connected", "ended the connection; connecting again", "cannot be reached", "connected"]


def test_a_server_that_ends_each_connection_at_once_is_not_said_for_ever(
    server: LineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(server.address, LOCAL, tmp_path) as running:
        for _ in range(20):
            peer = server.accept()
            peer.send(b"line\n")
            peer.end()
        running.wait(events=20)
        assert len(running.said) == changes.MOST + 1
        assert running.said[-1].endswith("it keeps changing, so from now on only what lasts a minute is said")
        monkeypatch.setattr(changes, "LASTS_SECONDS", 0.0)
        server.accept().send(b"lasts\n")
        wait_until("it is said again", lambda: running.said[-1].endswith(": connected"))


def server_came_back_by_itself(said: list[str], before: int) -> bool:
    try:
        wait_until("another line", lambda: len(said) > before, 0.4)
    except AssertionError:
        return False
    return True


def test_files_are_cut_at_lines_by_size_and_nothing_is_divided(server: LineServer, tmp_path: Path) -> None:
    lines = some_lines(3000)
    with receiving(server.address, LOCAL, tmp_path, max_bytes=4000, max_age_s=3600) as running:
        peer = server.accept()
        content = encoded(lines)
        for at in range(0, len(content), 500):
            peer.send(content[at : at + 500])
        running.wait(received_bytes=len(content))
    files = files_in(LOCAL, str(tmp_path))
    assert len(files) > 5
    assert all(len(content) <= 4000 and content.endswith(b"\n") for content in files)
    assert [line.decode() for content in files for line in lines_in(content)] == lines
    assert b"".join(files) == content


def test_a_line_too_long_for_memory_keeps_its_words(server: LineServer, tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(2000)]
    with receiving(server.address, LOCAL, tmp_path, max_line=1000) as running:
        peer = server.accept()
        peer.send(" ".join(words).encode())
        running.wait_said("a line of more than 1,000 bytes is cut")
        peer.send(b"\nshort\n")
        peer.end()
        wait_until("all of it has landed", lambda: running.now.events == running.now.cuts + 2)
        assert running.now.cuts > 10
    assert words_of(line.decode() for line in lines_landed(tmp_path)) == Counter([*words, "short"])


def test_told_to_stop_it_waits_for_the_end_of_a_line(
    server: LineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "_TICK_SECONDS", 0.05)
    monkeypatch.setattr(socket, "_REST_SECONDS", SECONDS)
    with receiving(server.address, LOCAL, tmp_path, max_age_s=3600) as running:
        peer = server.accept()
        peer.send(b"one\ntw")
        running.wait(received_bytes=6)
        # Many turns after it has been told.
        threading.Timer(0.5, lambda: peer.send(b"o\n")).start()
    assert lines_landed(tmp_path) == [b"one", b"two"]


def test_told_to_stop_it_lands_a_line_whose_end_does_not_come(server: LineServer, tmp_path: Path) -> None:
    with receiving(server.address, LOCAL, tmp_path, max_age_s=3600) as running:
        server.accept().send(b"one\ntw")
        running.wait(received_bytes=6)
    assert lines_landed(tmp_path) == [b"one", b"tw"]


def test_told_to_stop_it_leaves_a_server_that_never_pauses_at_a_lines_end(server: LineServer, tmp_path: Path) -> None:
    line = b"x" * 99
    stack = ExitStack()
    running = stack.enter_context(receiving(server.address, LOCAL, tmp_path))
    peer = server.accept()

    def send() -> None:
        # Until it is hung up on. There is an unfinished line at every moment.
        with suppress(ConnectionError):
            peer.send(line[:50])
            while True:
                peer.send(line[50:] + b"\n" + line[:50])

    sender = threading.Thread(target=send)
    sender.start()
    with stack:
        wait_until("it flows", lambda: running.now.received_bytes > 10_000)
    sender.join(SECONDS)
    assert set(lines_landed(tmp_path)) == {line}


def test_two_receivers_land_in_one_folder_and_one_server_may_serve_both(tmp_path: Path) -> None:
    with LineServer() as one, LineServer() as other, ExitStack() as stack:
        pairs = [(one, receiving(one.address, LOCAL, tmp_path)) for _ in range(2)]
        pairs.append((other, receiving(other.address, LOCAL, tmp_path)))
        sent = []
        for number, (server, context) in enumerate(pairs):
            running = stack.enter_context(context)
            lines = some_lines(500, seed=number)
            peer = server.accept()
            peer.send(encoded(lines))
            sent += lines
            running.wait(events=500)
    assert Counter(lines_landed(tmp_path)) == Counter(line.encode() for line in sent)


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with disk_of(request.param, tmp_path / "disk") as made:
        yield made


def test_a_full_disk_stops_the_reading_and_nothing_is_lost(server: LineServer, disk: Disk) -> None:
    lines = some_lines(40_000)
    rest = encoded(lines[10:])
    assert len(rest) > 2 * socket.READ_BYTES
    root = disk.folder / "landing"
    with receiving(server.address, LOCAL, root, max_bytes=20_000) as running:
        peer = server.accept()
        peer.send(encoded(lines[:10]))
        running.wait(events=10)
        disk.fill()
        sender = threading.Thread(target=peer.send, args=(rest,))
        sender.start()
        running.wait_said("no space left")
        wait_until("memory is full", lambda: running.now.waiting_bytes >= 40_000)
        time.sleep(0.2)
        assert running.now.waiting_bytes < 40_000 + socket.READ_BYTES
        assert running.now.events == 10
        disk.free()
        running.wait(events=40_000, waiting_bytes=0)
        running.wait_said("landing again")
        sender.join(SECONDS)
    assert [line.decode() for line in lines_landed(root)] == lines
    assert len([line for line in running.said if "connected" not in line]) == 2


def test_hdfs_gets_the_lines_and_they_wait_while_it_is_away(server: LineServer, place: Place) -> None:
    lines = some_lines(2000)
    stream = place.folder_stream(landing=f"hdfs:///{unique('received')}")
    direct, root = place.landing(stream)
    with Proxy(place.hdfs.url.removeprefix("hdfs://")) as proxy:
        storage = HdfsStorage(HdfsAddress(f"hdfs://{proxy.address}", place.hdfs.webhdfs))
        with receiving(server.address, storage, root, max_bytes=4000) as running:
            peer = server.accept()
            peer.send(encoded(lines[:1000]))
            running.wait(events=1000)
            with proxy.closed():
                peer.send(encoded(lines[1000:]))
                running.wait_said("trying until it works")
                wait_until("memory is full", lambda: running.now.waiting_bytes >= 8000)
            running.wait(events=2000)
    landed = [line for content in files_in(direct, root) for line in lines_in(content)]
    assert [line.decode() for line in landed] == lines
    place.drain(stream)
    assert place.counted(stream) == words_of(lines)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for the loopback address that signed itself, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: Path) -> Iterator[LineServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with LineServer(context) as made:
        yield made


def test_tls_lands_the_same_lines(secure: LineServer, certificate: Path, tmp_path: Path) -> None:
    tls = tls_context(str(certificate / "cert.pem"))
    with receiving(secure.address, LOCAL, tmp_path, tls=tls) as running:
        peer = secure.accept()
        peer.send(b"one\ntail")
        peer.end()
        running.wait(events=2)
        peer = secure.accept()
        # Longer than a turn of the receiver's: a read that timed out is resumed.
        running.wait_said("connecting again")
        peer.send(b"two\nhalf")
        running.wait(received_bytes=16)
        peer.cut()
        running.wait(events=3, lost_bytes=4)
        secure.close()
    assert lines_landed(tmp_path) == [b"one", b"tail", b"two"]


def test_tls_refuses_a_certificate_that_nobody_vouches_for(secure: LineServer, tmp_path: Path) -> None:
    with receiving(secure.address, LOCAL, tmp_path, tls=tls_context(None)) as running:
        with pytest.raises(OSError, match=r"(?i)alert|reset|eof|violation"):
            secure.accept()
        running.wait_said("self-signed certificate")
        secure.close()
    assert lines_landed(tmp_path) == []


def test_tls_with_a_server_that_speaks_none_is_said_in_words(server: LineServer, tmp_path: Path) -> None:
    with receiving(server.address, LOCAL, tmp_path, tls=tls_context(None)) as running:
        server.accept().send(b"plain text\n")
        running.wait_said(f"{server.address}: cannot be reached (TLS: wrong version number); trying until it can")
        server.close()


def test_a_file_without_certificates_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=f"{name}: no certificates can be read"):
            tls_context(str(tmp_path / name))


def test_a_port_that_nobody_listens_on_is_not_our_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sockets.socket()
    own.bind((HOST, 0))
    port = own.getsockname()[1]
    own.connect((HOST, port))
    monkeypatch.setattr(sockets, "create_connection", lambda _address, timeout: own)
    receiver = socket.SocketReceiver(Server(HOST, port), None, None, print)  # type: ignore[arg-type]
    with pytest.raises(ConnectionRefusedError):
        receiver._connect()
    assert own.fileno() == -1


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("news.example:9999", "news.example", 9999), ("10.0.0.1:1", "10.0.0.1", 1), ("[::1]:65535", "::1", 65535)],
)
def test_addresses_are_host_and_port(text: str, host: str, port: int) -> None:
    assert Server.parse(text) == Server(host, port)
    assert str(Server.parse(text)) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:0", "host:65536", "::1:9", "a b:1", "http://x:1",
                                  "x:-1", "x:١", f"{'a' * 70}:1"])  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Server.parse(text)

"""A webhook receiver and a mail server, small and real: they speak HTTP and SMTP over sockets."""

from __future__ import annotations

import email
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any


class Webhook:
    """Takes what is posted, or answers ``status``."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked += 1
                if hook.status == 200:
                    assert self.headers["Content-Type"] == "application/json"
                    assert self.headers["Idempotency-Key"] == body["id"]
                    hook.taken.append(body)
                self.send_response(hook.status)
                self.send_header("Location", "/")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server = self._server
        self.url = f"http://127.0.0.1:{self._server.server_port}/secret-token"


class MailBox:
    """Takes letters, or refuses recipients while ``refuses``; asks for a login if ``password`` is set."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.refuses = False
        self.letters: list[Message] = []
        self.logins: list[str] = []
        box = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 box")
                while line := self.rfile.readline().decode().rstrip("\r\n"):
                    verb = line.split(" ")[0].upper()
                    if verb == "DATA":
                        self.take()
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    elif verb == "EHLO":
                        self.say("250-box", "250 AUTH PLAIN")
                    elif verb == "AUTH":
                        box.logins.append(line)
                        self.say("235 welcome")
                    else:
                        self.say("550 nobody of that name" if verb == "RCPT" and box.refuses else "250 ok")

            def take(self) -> None:
                self.say("354 go on")
                text = b""
                while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                    text += line
                box.letters.append(email.message_from_bytes(text))
                self.say("250 taken")

            def say(self, *lines: str) -> None:
                self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

        self.server = socketserver.ThreadingTCPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.address = f"{host}:{self.server.server_address[1]}"


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve in a thread while the context is open."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

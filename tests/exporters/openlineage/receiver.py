"""An HTTP receiver of OpenLineage events that holds each against the specification's schemas, as a backend would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import wordtide.exporters.openlineage

Event = dict[str, Any]

_SCHEMAS = [json.loads(path.read_text()) for path in Path(__file__).with_name("schemas").rglob("*.json")]
_OURS = json.loads((Path(wordtide.exporters.openlineage.__file__).parent / "facets.json").read_text())
_REGISTRY: Registry[Any] = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in [*_SCHEMAS, _OURS]]
)
(_CORE,) = [schema for schema in _SCHEMAS if schema["$id"].endswith("/OpenLineage.json")]
_FACETS = {key: schema for schema in [*_SCHEMAS, _OURS] if schema is not _CORE for key in schema["properties"]}
_BY_CORE_ONLY = {"storage", "version"}
"""Facets whose schemas we have no copy of."""


def problems(event: Event) -> list[str]:
    """Return what is wrong with an event: by the core schema, by its facets' schemas, by their formats."""
    found = [*_wrong(_CORE, event)]
    datetime.fromisoformat(event["eventTime"])
    things = [event["run"], event["job"], *event.get("inputs", []), *event.get("outputs", [])]
    for thing in things:
        for group in ("facets", "inputFacets", "outputFacets"):
            for key, facet in thing.get(group, {}).items():
                if not facet["_producer"].startswith("urn:wordtide:"):
                    found.append(f"{key}: producer {facet['_producer']}")
                if key in _FACETS:
                    found += _wrong(_FACETS[key], {key: facet})
                elif key not in _BY_CORE_ONLY:
                    found.append(f"{key}: no schema")
    return found


def _wrong(schema: Event, instance: Event) -> Iterator[str]:
    validator = Draft202012Validator(schema, registry=_REGISTRY, format_checker=FormatChecker())
    return (f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator.iter_errors(instance))


class Receiver:
    """Takes events at ``/api/v1/lineage``; what its schemas refuse it answers with 422.

    Attributes:
        events: What it took, in order.
        refused: What was wrong with what it did not take.
        answers: Statuses of the next answers, before it takes anything again.
        asked: What came to it as headers, request by request.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused: list[str] = []
        self.answers: list[int] = []
        self.asked: list[dict[str, str]] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, also while it is away."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, where it did before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked.append(dict(self.headers))
                status = receiver.take(self.path, json.loads(content))
                self.send_response(status)
                if status in {301, 302}:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be away: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, path: str, event: Event) -> int:
        """Take an event and return the status of the answer."""
        if self.answers:
            return self.answers.pop(0)
        if path != "/api/v1/lineage":
            return 404
        wrong = problems(event)
        if wrong:
            self.refused += wrong
            return 422
        self.events.append(event)
        return 201

    def told(self) -> list[tuple[str, int | str]]:
        """Return the state and batch (or job) of each event, in order."""
        return [(event["eventType"], batch_of(event)) for event in self.events]

    def complete(self) -> list[int | str]:
        """Return the batches that are told to their end."""
        return [what for state, what in self.told() if state == "COMPLETE" and isinstance(what, int)]


def batch_of(event: Event) -> int | str:
    """Return the number of a batch's event, and the job of another."""
    batch = event["run"]["facets"].get("wordtide_batch")
    return batch["batch"] if batch else event["job"]["name"]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a free loopback port; nothing that it did not take was wrong."""
    made = Receiver()
    try:
        yield made
        assert not made.refused, made.refused
    finally:
        made.stop()

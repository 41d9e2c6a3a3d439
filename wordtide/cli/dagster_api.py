"""What a Dagster web server says of its code servers and runs, and how its runs are cancelled."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

HTTP_SECONDS = 5.0
_ANSWER_BYTES = 64 * 2**20
"""Nobody knows who answers before the answer is read."""

# One question, one answer: the runs are those of whoever names these code servers.
_STANDING = """
query {
  workspaceOrError { ... on Workspace { locationEntries { displayMetadata { key value } } } }
  runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { runId repositoryOrigin { repositoryLocationMetadata { key value } } } } }
}
"""
_TERMINATE = """
mutation ($runs: [String!]!, $policy: TerminateRunPolicy) {
  terminateRuns(runIds: $runs, terminatePolicy: $policy) { __typename } }
"""

Policy = Literal["SAFE_TERMINATE", "MARK_AS_CANCELED_IMMEDIATELY"]
PROBLEMS = (OSError, http.client.HTTPException, ValueError)
"""What a question ends with that nobody, or no Dagster, answers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a web server shows at one moment.

    Attributes:
        servers: The sockets of its code servers, which no two instances share.
        runs: The unfinished runs in its storage, by id, each with the socket of the code server that started it. The
            storage may be shared with others, and runs of the command line have no code server.
    """

    servers: frozenset[str]
    runs: Mapping[str, str | None]

    @classmethod
    def of(cls, data: Any) -> Standing:
        """Return what an answer's data says.

        Raises:
            ValueError: No Dagster answers so.
        """
        try:
            entries = data["workspaceOrError"].get("locationEntries", ())
            runs = data["runsOrError"].get("results", ())
            return cls(
                frozenset(filter(None, (_socket(entry["displayMetadata"]) for entry in entries))),
                {
                    run["runId"]: _socket((run["repositoryOrigin"] or _NOWHERE)["repositoryLocationMetadata"])
                    for run in runs
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no Dagster answers ({error})") from None

    def runs_of(self, servers: frozenset[str]) -> frozenset[str]:
        """Return the unfinished runs that some of these code servers started."""
        return frozenset(run for run, server in self.runs.items() if server in servers)


_NOWHERE: dict[str, Any] = {"repositoryLocationMetadata": ()}


def _socket(metadata: Sequence[Mapping[str, str]]) -> str | None:
    return next((pair["value"] for pair in metadata if pair["key"] == "socket"), None)


class DagsterApi:
    """Asks the web server at an address. Every question may raise one of `PROBLEMS`.

    Args:
        host: Its address.
        port: Its port.
        seconds: How long an answer is waited for.
    """

    def __init__(self, host: str, port: int, seconds: float = HTTP_SECONDS) -> None:
        self._host = host
        self._port = port
        self._seconds = seconds

    def standing(self) -> Standing:
        """Return its code servers and unfinished runs."""
        return Standing.of(self._ask(_STANDING))

    def terminate(self, runs: Sequence[str], policy: Policy) -> None:
        """Ask it to cancel runs; a Dagster with another storage does not know them and changes nothing."""
        self._ask(_TERMINATE, runs=runs, policy=policy)

    def _ask(self, query: str, **variables: Any) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        body = json.dumps({"query": query, "variables": variables}).encode()
        try:
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read(_ANSWER_BYTES))
        finally:
            connection.close()
        return answer.get("data") if isinstance(answer, dict) else None

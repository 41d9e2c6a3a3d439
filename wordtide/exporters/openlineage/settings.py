"""Where lineage is sent to; nothing of this contacts anybody or imports the client."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from wordtide.core.problems import ConfigError

ENDPOINT = "api/v1/lineage"
NAMESPACE = "wordtide"
TIMEOUT = 5.0
"""Seconds for a connection and for an answer."""


@dataclass(frozen=True, slots=True)
class LineageSettings:
    """A backend that takes OpenLineage events over HTTP.

    Attributes:
        url: ``http(s)://host[:port]``.
        endpoint: Path that takes events.
        api_key: Sent as a bearer token; kept out of ``repr``.
        namespace: Namespace of our jobs.
        timeout: Seconds for a connection and for an answer.

    Raises:
        ConfigError: The url is none.
    """

    url: str
    endpoint: str = ENDPOINT
    api_key: str = ""
    namespace: str = NAMESPACE
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"OPENLINEAGE_URL: {self.place!r} is not http(s)://host:port")

    def __repr__(self) -> str:
        return f"LineageSettings({self.place!r})"

    @property
    def place(self) -> str:
        """The url as it may be shown: without user and password."""
        scheme, sign, rest = self.url.partition("://")
        return f"{scheme}{sign}{rest.rpartition('@')[2]}"


def lineage_settings(
    url: str = "", endpoint: str = "", api_key: str = "", namespace: str = "", timeout: float = TIMEOUT
) -> LineageSettings | None:
    """Return the backend, each empty value taken from ``OPENLINEAGE_…``; None where lineage is off.

    Raises:
        ConfigError: The url is none.
    """
    where = url or os.environ.get("OPENLINEAGE_URL", "").strip()
    if not where or os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return None
    return LineageSettings(
        where,
        endpoint or os.environ.get("OPENLINEAGE_ENDPOINT", "") or ENDPOINT,
        api_key or os.environ.get("OPENLINEAGE_API_KEY", ""),
        namespace or os.environ.get("OPENLINEAGE_NAMESPACE", "") or NAMESPACE,
        timeout,
    )

"""Sends one event to a backend and says whether it was taken, refused, or nobody was there to ask."""

from __future__ import annotations

from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider
from requests import RequestException, Response

from wordtide.core.problems import WordtideError
from wordtide.exporters.openlineage.settings import LineageSettings

_LATER = frozenset({401, 403, 404, 405, 408, 425, 429})
"""Answers that are not about the event: they may be another tomorrow."""


class BackendAway(WordtideError):
    """The backend does not answer, or takes nothing at present. Later it may."""


class EventRefused(WordtideError):
    """The backend does not want this event, now or later."""


class Backend:
    """A backend that takes events over HTTP; used by one thread.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: LineageSettings) -> None:
        self.settings = settings
        self._transport = HttpTransport(
            HttpConfig(
                settings.url,
                endpoint=settings.endpoint,
                timeout=settings.timeout,
                auth=ApiKeyTokenProvider({"apiKey": settings.api_key}) if settings.api_key else TokenProvider({}),
                # Whoever sends decides when to try again.
                retry={"total": 0},
            )
        )

    def send(self, event: RunEvent) -> None:
        """Send one event; return when the backend has taken it.

        Raises:
            BackendAway: Not taken; another try may help.
            EventRefused: Not taken, and never will be.
        """
        place = self.settings.place
        try:
            response = self._transport.emit(event)
        except RequestException as error:
            answer = error.response
            if answer is None:
                raise BackendAway(f"the lineage backend at {place} does not answer ({_short(error)})") from error
            said = f"the lineage backend at {place} answers {answer.status_code} {_body(answer)}"
            if 400 <= answer.status_code < 500 and answer.status_code not in _LATER:
                raise EventRefused(said) from error
            raise BackendAway(said) from error
        if response.history:
            # What is followed is sent as GET, without the event, and whoever answers then has taken nothing.
            raise BackendAway(f"the lineage backend at {place} redirects to {response.url}; name that one")

    def close(self) -> None:
        """Give up the connection."""
        self._transport.close()


def _short(error: Exception) -> str:
    return type(error).__name__


def _body(answer: Response) -> str:
    return " ".join(f"{answer.reason or ''} {answer.text}".split())[:200]

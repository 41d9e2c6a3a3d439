"""Where alerts go: a webhook (HTTP POST of JSON) and mail. Each either takes a message or says in one line why not."""

from __future__ import annotations

import http.client
import json
import os
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import partial
from urllib.parse import SplitResult, unquote, urlsplit

from wordtide.core.problems import ConfigError
from wordtide.exporters.alerts.decide import Message, NotDelivered, text_of

TIMEOUT_SECONDS = 10.0
_LOCAL = {"localhost", "127.0.0.1", "::1"}

Sender = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in; the password is kept out of ``repr``."""

    url: SplitResult
    sender: str
    to: tuple[str, ...]

    def __repr__(self) -> str:
        return f"MailServer({self.where})"

    @property
    def where(self) -> str:
        """The server without its secrets."""
        return f"{self.url.hostname}:{self.port}"

    @property
    def port(self) -> int:
        """Its port."""
        return self.url.port or (465 if self.url.scheme == "smtps" else 25)


def senders_from_environment() -> dict[str, Sender]:
    """Return the channels that are configured, by name.

    Raises:
        ConfigError: A variable does not say what it must.
    """
    senders: dict[str, Sender] = {}
    webhook = os.environ.get("WORDTIDE_ALERT_WEBHOOK", "").strip()
    if webhook:
        if not webhook.startswith(("http://", "https://")) or not urlsplit(webhook).hostname:
            raise ConfigError("WORDTIDE_ALERT_WEBHOOK is not http://… or https://…")
        senders["webhook"] = partial(post, webhook)
    to = tuple(one.strip() for one in os.environ.get("WORDTIDE_ALERT_MAIL_TO", "").split(",") if one.strip())
    if to:
        senders["mail"] = partial(mail, _mail_server(to))
    return senders


def _mail_server(to: tuple[str, ...]) -> MailServer:
    text = os.environ.get("WORDTIDE_SMTP_URL", "").strip() or "smtp://localhost"
    sender = os.environ.get("WORDTIDE_ALERT_MAIL_FROM", "").strip() or f"wordtide@{socket.getfqdn()}"
    try:
        url = urlsplit(text)
        named = url.scheme in {"smtp", "smtps"} and bool(url.hostname) and url.port != 0
    except ValueError:
        named = False
    if not named:
        raise ConfigError("WORDTIDE_SMTP_URL is not smtp://[user:password@]host[:port] or smtps://…")
    for address in (*to, sender):
        if "@" not in address or not address.isprintable() or " " in address:
            raise ConfigError(
                f"{address!r} is no mail address; see WORDTIDE_ALERT_MAIL_TO and WORDTIDE_ALERT_MAIL_FROM"
            )
    return MailServer(url, sender, to)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without content, which many servers answer with 200."""

    def redirect_request(self, *_args: object) -> None:
        """Follow nothing: the redirect is the answer."""


def post(url: str, message: Message) -> None:
    """Send a message to a webhook; any 2xx is a success.

    Raises:
        NotDelivered: It was not taken.
    """
    # Such addresses hold secrets: only the host may be told.
    where = urlsplit(url).hostname
    body = {**asdict(message), "at": _time(message).isoformat(), "text": text_of(message)}
    request = urllib.request.Request(  # noqa: S310 (http and https only)
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "User-Agent": "wordtide", "Idempotency-Key": message.id},
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        raise NotDelivered(f"{where} answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise NotDelivered(f"{where} cannot be reached ({_line(reason)})") from None


def mail(server: MailServer, message: Message) -> None:
    """Send a message by mail; a server that takes it for anybody has taken it.

    Raises:
        NotDelivered: It was not taken.
    """
    letter = EmailMessage()
    over = " (resolved)" if message.state == "resolved" else ""
    letter["Subject"] = f"[wordtide] {message.stream}: {message.kind}{over}"
    letter["From"] = server.sender
    letter["To"] = ", ".join(server.to)
    letter["Date"] = format_datetime(_time(message))
    letter["Message-ID"] = f"<{message.id}@wordtide>"
    letter.set_content(text_of(message))
    try:
        with _connected(server) as smtp:
            smtp.send_message(letter)
    except (OSError, smtplib.SMTPException) as error:
        raise NotDelivered(f"mail server {server.where} ({_line(error)})") from None


def _connected(server: MailServer) -> smtplib.SMTP:
    """Return a connection, encrypted if it can be and in any case before a password is sent."""
    host = server.url.hostname or ""
    context = ssl.create_default_context()
    if server.url.scheme == "smtps":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(host, server.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        smtp = smtplib.SMTP(host, server.port, timeout=TIMEOUT_SECONDS)
        smtp.ehlo_or_helo_if_needed()
        if smtp.has_extn("starttls"):
            smtp.starttls(context=context)
        elif server.url.username and host not in _LOCAL:
            smtp.close()
            raise smtplib.SMTPException("it offers no encryption, so the password was not sent; use smtps://")
    if server.url.username:
        smtp.login(unquote(server.url.username), unquote(server.url.password or ""))
    return smtp


def _time(message: Message) -> datetime:
    return datetime.fromtimestamp(message.at, UTC)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]

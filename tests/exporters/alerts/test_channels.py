"""Webhook and mail, against a real HTTP receiver and a real SMTP server."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.exporters.alerts.receivers import MailBox, Webhook, running
from wordtide.core.problems import ConfigError
from wordtide.exporters.alerts.channels import senders_from_environment
from wordtide.exporters.alerts.decide import Message, NotDelivered

MESSAGE = Message("id1", "alarm", "news", "parked", "", "1 waits: größer", "wordtide parked news", 1_800_000_000.0)
VARIABLES = ("ALERT_WEBHOOK", "ALERT_MAIL_TO", "ALERT_MAIL_FROM", "SMTP_URL")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"WORDTIDE_{name}", raising=False)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()
    monkeypatch.setenv("WORDTIDE_ALERT_WEBHOOK", hook.url)
    with running(hook.server):
        yield hook


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailBox]:
    box = MailBox()
    monkeypatch.setenv("WORDTIDE_ALERT_MAIL_TO", "ops@example.org, me@example.org")
    monkeypatch.setenv("WORDTIDE_ALERT_MAIL_FROM", "wordtide@example.org")
    monkeypatch.setenv("WORDTIDE_SMTP_URL", f"smtp://me:p%40ss@{box.address}")
    with running(box.server):
        yield box


def test_without_configuration_there_is_no_channel() -> None:
    assert senders_from_environment() == {}


def test_a_webhook_gets_the_message_as_json_with_a_text_for_people(webhook: Webhook) -> None:
    senders_from_environment()["webhook"](MESSAGE)
    (body,) = webhook.taken
    assert body == {
        "id": "id1",
        "state": "alarm",
        "stream": "news",
        "kind": "parked",
        "check": "",
        "what": "1 waits: größer",
        "do": "wordtide parked news",
        "at": "2027-01-15T08:00:00+00:00",
        "text": "news: parked: 1 waits: größer\nWhat to do: wordtide parked news",
    }


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_answer_but_success_is_a_failure_that_keeps_the_address_secret(webhook: Webhook, status: int) -> None:
    webhook.status = status
    with pytest.raises(NotDelivered, match=f"127.0.0.1 answers {status}") as refused:
        senders_from_environment()["webhook"](MESSAGE)
    assert "secret" not in str(refused.value)
    assert webhook.asked == 1


def test_a_webhook_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("WORDTIDE_ALERT_WEBHOOK", f"http://127.0.0.1:{port}/secret")
    with pytest.raises(NotDelivered, match="cannot be reached") as refused:
        senders_from_environment()["webhook"](MESSAGE)
    assert "secret" not in str(refused.value)


def test_mail_reaches_everybody_with_an_id_of_its_own(mailbox: MailBox) -> None:
    senders_from_environment()["mail"](MESSAGE)
    (letter,) = mailbox.letters
    assert letter["Subject"] == "[wordtide] news: parked"
    assert (letter["To"], letter["From"]) == ("ops@example.org, me@example.org", "wordtide@example.org")
    assert letter["Message-ID"] == "<id1@wordtide>"
    assert "größer\r\nWhat to do" in letter.get_payload(decode=True).decode()
    assert len(mailbox.logins) == 1


def test_mail_that_is_refused_is_one_line_without_the_password(mailbox: MailBox) -> None:
    mailbox.refuses = True
    with pytest.raises(NotDelivered, match="nobody of that name") as refused:
        senders_from_environment()["mail"](MESSAGE)
    assert "p@ss" not in str(refused.value)
    assert mailbox.letters == []


def test_a_password_is_not_sent_in_the_clear_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # It is this machine's as well, but not by name.
    box = MailBox("127.0.0.2")
    monkeypatch.setenv("WORDTIDE_ALERT_MAIL_TO", "ops@example.org")
    monkeypatch.setenv("WORDTIDE_SMTP_URL", f"smtp://me:secret@{box.address}")
    with running(box.server), pytest.raises(NotDelivered, match="use smtps"):
        senders_from_environment()["mail"](MESSAGE)
    assert (box.logins, box.letters) == ([], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_WEBHOOK", "ftp://x"),
        ("ALERT_WEBHOOK", "hooks.example.org"),
        ("ALERT_MAIL_TO", "nobody"),
        ("ALERT_MAIL_FROM", "no body@x"),
        ("SMTP_URL", "mail.example.org"),
        ("SMTP_URL", "smtp://host:99999"),
    ],
)
def test_a_variable_that_says_nonsense_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_ALERT_MAIL_TO", "ops@example.org")
    monkeypatch.setenv(f"WORDTIDE_{name}", value)
    with pytest.raises(ConfigError, match=f"WORDTIDE_{name}"):
        senders_from_environment()

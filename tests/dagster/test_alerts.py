"""The alerts sensor as the daemon evaluates it: a real instance, tables, receivers; the cursor is what it gave."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import dagster as dg
import pytest

from tests.dagster.support import by_hand, definitions, instance
from tests.exporters.alerts.receivers import MailBox, Webhook, running
from tests.support import decide

KEY = dg.AssetKey(["s", "word_counts"])


@pytest.fixture
def webhook(monkeypatch) -> Iterator[Webhook]:
    hook = Webhook()
    monkeypatch.setenv("WORDTIDE_ALERT_WEBHOOK", hook.url)
    monkeypatch.delenv("WORDTIDE_ALERT_MAIL_TO", raising=False)
    with running(hook.server):
        yield hook


@pytest.fixture
def home() -> Iterator[dg.DagsterInstance]:
    with instance() as made:
        yield made


@dataclass
class Sensor:
    """The sensor, evaluated tick by tick."""

    defs: dg.Definitions
    home: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> str:
        sensor = self.defs.resolve_sensor_def("wordtide_alerts")
        resources = {name: one for name, one in self.defs.resources.items() if name != "spark"}
        with dg.build_sensor_context(instance=self.home, resources=resources, cursor=self.cursor) as context:
            done = sensor.evaluate_tick(context)
        self.cursor = done.cursor
        return done.skip_message


def news(hook: Webhook) -> list[tuple[str, str]]:
    return [(body["kind"], body["state"]) for body in hook.taken]


def test_what_is_parked_is_told_once_with_what_to_do_until_it_is_decided(place, webhook, home):
    stream = place.folder_stream(engine="local")
    bad = place.land(stream, "bad.gz", b"\x1f\x8b\x08no gzip after all")
    defs = definitions(place, stream)
    assert by_hand(defs, stream, home).success
    sensor = Sensor(defs, home)
    assert sensor.tick() == "1 sent, 1 alarms are on"
    sensor.tick()
    # The check fails as well, and is not told of a second time.
    assert news(webhook) == [("parked", "alarm")]
    assert bad in webhook.taken[0]["what"]
    assert "wordtide resolve s WHAT" in webhook.taken[0]["text"]
    decide(place, stream, bad, "skip")
    sensor.tick()
    sensor.tick()
    assert news(webhook) == [("parked", "alarm"), ("parked", "resolved")]


def test_lag_and_freshness_are_told_with_the_thresholds_of_the_stream(place, webhook, home):
    stream = place.folder_stream(engine="local", alerts={"lag": 1, "freshness": "1ms"})
    defs = definitions(place, stream)
    for name in ("one", "two"):
        place.land(stream, name, b"a b")
    sensor = Sensor(defs, home)
    sensor.tick()
    sensor.tick()
    assert sorted(news(webhook)) == [("freshness", "alarm"), ("lag", "alarm")]
    assert by_hand(defs, stream, home).success
    sensor.tick()
    assert sorted(news(webhook)[2:]) == [("freshness", "resolved"), ("lag", "resolved")]


def test_a_check_that_failed_is_told_and_its_next_success(place, webhook, home):
    stream = place.folder_stream(engine="local")
    sensor = Sensor(definitions(place, stream), home)
    for passed in (False, True):
        metadata = {"stalled": dg.MetadataValue.json([] if passed else ["t/0: no leader"])}
        home.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=KEY, check_name="nothing_parked", passed=passed, metadata=metadata, description="t/0 stalled"
            )
        )
        sensor.tick()
        sensor.tick()
    assert news(webhook) == [("check", "alarm"), ("check", "resolved")]
    assert "t/0 stalled" in webhook.taken[0]["what"]


def test_a_receiver_that_is_away_gets_everything_once_it_is_back_and_nothing_twice(place, webhook, home, monkeypatch):
    box = MailBox()
    monkeypatch.setenv("WORDTIDE_ALERT_MAIL_TO", "ops@example.org")
    monkeypatch.setenv("WORDTIDE_SMTP_URL", f"smtp://{box.address}")
    stream = place.folder_stream(engine="local")
    place.land(stream, "bad.gz", b"\x1f\x8b\x08no gzip after all")
    defs = definitions(place, stream)
    assert by_hand(defs, stream, home).success
    sensor = Sensor(defs, home)
    webhook.status = 503
    with running(box.server):
        assert "webhook: 127.0.0.1 answers 503" in sensor.tick()
        sensor.tick()
        webhook.status = 200
        assert sensor.tick() == "1 sent, 1 alarms are on"
        sensor.tick()
    assert news(webhook) == [("parked", "alarm")]
    assert [letter["Subject"] for letter in box.letters] == ["[wordtide] s: parked"]


def test_a_stream_that_is_withheld_is_told_until_it_is_put_right(place, webhook, home):
    good, bad = place.folder_stream(engine="local"), replace(place.folder_stream(engine="local"), name="landing")
    clash = replace(good, name="word_counts", table="/elsewhere/word_counts")
    sensor = Sensor(definitions(place, bad, clash), home)
    sensor.tick()
    sensor.tick()
    told = sorted((body["stream"], body["kind"], body["state"]) for body in webhook.taken)
    assert told == [("landing", "withheld", "alarm"), ("word_counts", "withheld", "alarm")]
    assert all("would both be the asset landing/word_counts" in body["what"] for body in webhook.taken)
    sensor.defs = definitions(place, bad)
    sensor.tick()
    assert ("landing", "withheld", "resolved") in [(b["stream"], b["kind"], b["state"]) for b in webhook.taken]


def test_it_is_off_until_it_is_configured(place, home, monkeypatch):
    for name in ("WORDTIDE_ALERT_WEBHOOK", "WORDTIDE_ALERT_MAIL_TO"):
        monkeypatch.delenv(name, raising=False)
    defs = definitions(place, place.folder_stream())
    assert defs.resolve_sensor_def("wordtide_alerts").default_status is dg.DefaultSensorStatus.STOPPED
    assert "set WORDTIDE_ALERT_WEBHOOK" in Sensor(defs, home).tick()
    monkeypatch.setenv("WORDTIDE_ALERT_WEBHOOK", "http://127.0.0.1:1/")
    configured = definitions(place, place.folder_stream())
    assert configured.resolve_sensor_def("wordtide_alerts").default_status is dg.DefaultSensorStatus.RUNNING

"""The sensor that tells an operator what is wrong, once: by webhook or mail, if either is configured."""

import time
from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import Definition, Role
from wordtide.core.problems import ConfigError
from wordtide.core.source import Source
from wordtide.dagster.check import CHECK_NAME, latest_evaluation
from wordtide.dagster.resources.bound import LOOK, Bound, resource_keys
from wordtide.dagster.translator import WordtideTranslator, naming_of
from wordtide.exporters.alerts.channels import senders_from_environment
from wordtide.exporters.alerts.decide import State, decide, deliver, lines_of
from wordtide.exporters.alerts.judge import Judgement, Kind, Subject, judge, judge_checks, judge_configuration
from wordtide.status.monitor import Watcher, look_at_all
from wordtide.wiring import open_source

TICK_SECONDS = 30
LOOK_SECONDS = 15.0
"""With ten seconds for each channel a tick stays below the minute after which Dagster gives it up, and its cursor."""
OFF = "set WORDTIDE_ALERT_WEBHOOK or WORDTIDE_ALERT_MAIL_TO to be told what is wrong"


def configured() -> bool:
    """Return whether alerts go anywhere; what is wrong with that is for the tick to say."""
    try:
        return bool(senders_from_environment())
    except ConfigError:
        return True


def build_alerts_sensor(
    streams: Sequence[Stream],
    checks: Sequence[dg.AssetCheckKey],
    refused: Mapping[str, str],
    *,
    translator: WordtideTranslator | None = None,
    resource_prefix: str = "",
) -> dg.SensorDefinition:
    """Return the sensor that sends alerts for all streams.

    Args:
        streams: The streams.
        checks: Checks to be heard of when they fail; those of other assets are left out.
        refused: Why other streams are withheld, by name.
        translator: Names it and the definitions that its messages name.
        resource_prefix: What the keys of the resources begin with.

    Example:
        ```python
        tables = [build_word_counts(stream) for stream in streams]
        checks = [key for table in tables for key in table.check_keys]
        dg.Definitions(assets=tables, sensors=[build_alerts_sensor(streams, checks, {})])
        ```
    """
    naming = translator or WordtideTranslator()
    itself = Definition(Role.ALERTS_SENSOR)
    watchers: list[Watcher] = []
    names = [stream.name for stream in streams]

    @dg.sensor(
        name=naming.get_definition_name(itself),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if configured() else dg.DefaultSensorStatus.STOPPED,
        description=naming.get_definition_description(itself),
        tags=naming.get_definition_tags(itself),
        required_resource_keys=resource_keys(resource_prefix, *LOOK),
    )
    def alert(context: dg.SensorEvaluationContext, **_resources: object) -> dg.SensorResult:
        # Dagster passes the resources as arguments only where a test calls the sensor itself.
        found = Bound(context.resources, resource_prefix)
        try:
            senders = senders_from_environment()
        except ConfigError as error:
            raise dg.Failure(str(error)) from None
        if not senders:
            return dg.SensorResult(skip_reason=OFF)

        def opens_source(stream: Stream) -> Source:
            return open_source(stream, found.kafka.connection() if stream.config.kafka else None, found.hdfs.address())

        if not watchers:
            watchers.extend(Watcher(stream, _no_word, found.tables.open, opens_source) for stream in streams)
        seen = look_at_all(watchers, LOOK_SECONDS)
        before = State.of_cursor(context.cursor)
        now = time.time()
        judged = [
            judge(
                one,
                seen[one.name],
                now,
                before.behind.get(one.name),
                before.episodes.keys(),
                naming_of(naming),
            )
            for one in streams
        ]
        judged += [failed_checks(context.instance, one, checks, naming) for one in streams]
        judged += [judge_configuration(name, refused.get(name)) for name in (*names, *refused)]
        right = gone(before, {*names, *refused}, checks).union(*(one.right for one in judged))
        state = decide(before, [alarm for one in judged for alarm in one.alarms], right, senders.keys(), now)
        behind = {one.name: j.behind_since for one, j in zip(streams, judged, strict=False) if j.behind_since}
        done = deliver(State(state.episodes, state.outbox, behind), senders, now)
        for lost in done.lost:
            context.log.error(lost)
        said = f"{done.sent} sent, {len(done.state.episodes)} alarms are on"
        if done.problems:
            context.log.error(lines_of(done.problems))
            said = f"not delivered, to be tried again: {lines_of(done.problems)}"
        return dg.SensorResult(skip_reason=said, cursor=done.state.to_cursor())

    return alert


def _no_word(_problem: str) -> None:
    """Say nothing: what lasts becomes an alarm."""


def gone(state: State, names: Collection[str], checks: Sequence[dg.AssetCheckKey]) -> frozenset[Subject]:
    """Return the alarms of streams and checks that there are no more."""
    known = {check.name for check in checks}
    return frozenset(
        subject
        for subject in state.episodes
        if subject.stream not in names or (subject.kind is Kind.CHECK and subject.name not in known)
    )


def failed_checks(
    instance: dg.DagsterInstance,
    stream: Stream,
    checks: Sequence[dg.AssetCheckKey],
    translator: WordtideTranslator,
) -> Judgement:
    """Return which of a stream's checks failed when they last ran."""
    found: dict[str, str | None] = {}
    for key in checks:
        if key.asset_key != translator.table_key(stream) or (latest := latest_evaluation(instance, key)) is None:
            continue
        stalled = latest.metadata.get("stalled")
        # What is parked has an alarm of its own, which ends with the decision and not with the next evaluation.
        own = key.name == CHECK_NAME and not (stalled and stalled.value)
        found[key.name] = None if latest.passed or own else latest.description or ""
    return judge_checks(stream.name, found, naming_of(translator))

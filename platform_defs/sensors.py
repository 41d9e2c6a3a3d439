"""This platform's sensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from wordtide.config import Stream
from wordtide.dagster import build_alerts_sensor, build_retention_sensor, build_sensor


def build_sensors(
    streams: Sequence[Stream],
    jobs: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckKey],
    refused: Mapping[str, str],
) -> list[dg.SensorDefinition]:
    """Return all sensors.

    Args:
        streams: The streams.
        jobs: Their jobs, by the streams' names.
        checks: The checks of their tables.
        refused: Why other streams are withheld, by name.
    """
    return [
        # <stream>_sensor: starts a drain when something waits.
        *(build_sensor(stream, jobs[stream.name]) for stream in streams),
        # wordtide_alerts: sends what is wrong to a webhook or by mail.
        build_alerts_sensor(streams, checks, refused),
        # wordtide_retention: deletes old runs.
        build_retention_sensor(streams),
        # follow_word_counts: starts what has an automation condition, such as top_words. Off: switch it on in the UI.
        dg.AutomationConditionSensorDefinition(
            "follow_word_counts",
            target=dg.AssetSelection.all(),
            minimum_interval_seconds=30,
            default_status=dg.DefaultSensorStatus.STOPPED,
        ),
    ]

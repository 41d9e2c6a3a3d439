"""Schedules: maintenance, once a day."""

from __future__ import annotations

import dagster as dg

from wordtide.config.asset_names import Definition, Role
from wordtide.dagster.translator import WordtideTranslator


def build_maintenance_schedule(
    job: dg.JobDefinition, *, translator: WordtideTranslator | None = None
) -> dg.ScheduleDefinition:
    """Return the daily schedule of the maintenance job; off, since drains maintain their tables themselves.

    Example:
        ```python
        build_maintenance_schedule(build_maintenance_job(streams))
        ```
    """
    naming = translator or WordtideTranslator()
    itself = Definition(Role.MAINTENANCE_SCHEDULE)
    return dg.ScheduleDefinition(
        name=naming.get_definition_name(itself),
        job=job,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        description=naming.get_definition_description(itself),
        tags=naming.get_definition_tags(itself),
    )

"""Schedules: maintenance, once a day."""

from __future__ import annotations

import dagster as dg


def build_maintenance_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the daily maintenance; switched on in the UI by whoever wants it; drains tidy too."""
    return dg.ScheduleDefinition(job=job, cron_schedule="17 3 * * *", execution_timezone="UTC")

"""Tells other systems: Prometheus, OpenLineage, alerts, consumer groups."""

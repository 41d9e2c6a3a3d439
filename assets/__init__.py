"""Dagster assets, built per stream from its configuration."""

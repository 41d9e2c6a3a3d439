"""The Dagster layer: definitions, assets, sensors, jobs and resources."""

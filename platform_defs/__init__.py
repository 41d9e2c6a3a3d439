"""This platform's own Dagster project, written as yours might be: what `dagster dev` loads in this folder."""

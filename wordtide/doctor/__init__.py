"""What would stop a drain: checks of this machine, the servers, the sources and the tables.

Nothing here imports Dagster.
"""

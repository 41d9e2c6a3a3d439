"""Asset keys: one place decides what things are called."""

from __future__ import annotations

import re

import dagster as dg

from wordtide.config import Stream


def source_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's topic (shared by the streams that read it) or landing folder."""
    if stream.config.kafka is not None:
        return dg.AssetKey(["kafka", re.sub(r"[^A-Za-z0-9_]", "_", stream.config.kafka.topic)])
    return dg.AssetKey(["landing", stream.name])


def word_counts_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's table."""
    return dg.AssetKey([stream.name, "word_counts"])

"""Asset keys: one place decides what things are called."""

from __future__ import annotations

import hashlib
import re

import dagster as dg

from wordtide.config import Stream


def source_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's topic (shared by the streams that read it) or landing folder."""
    if stream.config.kafka is not None:
        topic = stream.config.kafka.topic
        plain = re.sub(r"[^A-Za-z0-9_]", "_", topic)
        # news.v1 and news-v1 are two topics: what the replacement made equal, a few digits keep apart.
        apart = "" if plain == topic else f"_{hashlib.sha256(topic.encode()).hexdigest()[:6]}"
        return dg.AssetKey(["kafka", plain + apart])
    return dg.AssetKey(["landing", stream.name])


def receiver_key(stream: Stream) -> dg.AssetKey:
    """Return the key of what a stream's receiver takes in: a TCP server's lines or Flume agents' events."""
    return dg.AssetKey(["socket" if stream.config.socket else "flume", stream.name])


def word_counts_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's table."""
    return dg.AssetKey([stream.name, "word_counts"])

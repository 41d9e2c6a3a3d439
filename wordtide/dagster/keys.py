"""Asset keys, as `wordtide.config.asset_names` has them."""

from __future__ import annotations

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import receiver_path, source_path, table_path


def source_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's topic (shared by the streams that read it) or landing folder."""
    return dg.AssetKey(source_path(stream))


def receiver_key(stream: Stream) -> dg.AssetKey:
    """Return the key of what a stream's receiver takes in: a TCP server's lines or Flume agents' events."""
    return dg.AssetKey(receiver_path(stream))


def word_counts_key(stream: Stream) -> dg.AssetKey:
    """Return the key of a stream's table."""
    return dg.AssetKey(table_path(stream.name))

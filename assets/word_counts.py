"""Each stream's source and its table of word counts."""

from collections.abc import Mapping, Sequence

import dagster as dg

from wordtide.config import Stream
from wordtide.dagster import build_sources, build_withheld, build_word_counts


def build_tables(streams: Sequence[Stream]) -> list[dg.AssetsDefinition]:
    """Return the table of each stream: `<stream>/word_counts`."""
    return [build_word_counts(stream) for stream in streams]


def build_others(streams: Sequence[Stream], refused: Mapping[str, str]) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Return what the tables come from, and an asset that says why for each stream that cannot run."""
    return [*build_sources(streams), *build_withheld(refused)]

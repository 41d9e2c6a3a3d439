"""Topics and landing folders as external assets: where lineage begins."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from assets.keys import source_key
from wordtide.config import Stream


def build_sources(streams: Iterable[Stream]) -> list[dg.AssetSpec]:
    """Return one external asset for each topic and landing folder."""
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for stream in streams:
        specs.setdefault(source_key(stream), _spec(stream))
    return list(specs.values())


def _spec(stream: Stream) -> dg.AssetSpec:
    kafka = stream.config.kafka
    if kafka is not None:
        return dg.AssetSpec(
            source_key(stream),
            description=f"Kafka topic `{kafka.topic}`: a value is a line.",
            kinds={"kafka"},
            group_name="sources",
        )
    return dg.AssetSpec(
        source_key(stream),
        description=f"Landing folder `{stream.landing}`: whole files, taken once each.",
        kinds={"hadoop" if "://" in (stream.landing or "") else "file"},
        metadata={"dagster/uri": stream.landing or ""},
        group_name="sources",
    )

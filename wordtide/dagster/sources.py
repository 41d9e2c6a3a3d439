"""Topics, landing folders and what receivers take in, as external assets: where lineage begins."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from wordtide.config import SocketConfig, Stream
from wordtide.dagster.keys import receiver_key, source_key
from wordtide.dagster.labels import code_references, quoted, source_labels


def build_sources(streams: Iterable[Stream]) -> list[dg.AssetSpec]:
    """Return one external asset for each topic and landing folder, and for what a receiver lands in one.

    Each is in the group of its stream, so that the graph shows the way of its words as one lane; a topic that several
    streams read is in the group `sources`.
    """
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for stream in streams:
        key, spec = source_key(stream), _spec(stream)
        specs[key] = specs[key].replace_attributes(group_name="sources") if key in specs else spec
        if stream.receiver is not None:
            specs[receiver_key(stream)] = _received(stream)
    return list(specs.values())


def _spec(stream: Stream) -> dg.AssetSpec:
    kafka = stream.config.kafka
    if kafka is not None:
        return dg.AssetSpec(
            source_key(stream),
            description=f"Kafka topic {quoted(kafka.topic)}: a value is a line.",
            kinds={"kafka"},
            metadata=source_labels(stream),
            owners=stream.config.owners,
            group_name=stream.name,
        )
    return dg.AssetSpec(
        source_key(stream),
        deps=[receiver_key(stream)] if stream.receiver is not None else [],
        description=f"Landing folder {quoted(stream.landing or '')}: whole files, taken once each.",
        kinds={"hadoop" if "://" in (stream.landing or "") else "file"},
        metadata=source_labels(stream),
        owners=stream.config.owners,
        group_name=stream.name,
    )


def _received(stream: Stream) -> dg.AssetSpec:
    receiver = stream.receiver
    if isinstance(receiver, SocketConfig):
        what, kind = f"TCP server {receiver.server}: its lines land in files.", "socket"
    else:
        assert receiver is not None
        what, kind = f"Flume agents, at port {receiver.port}: an event lands as a line.", "flume"
    return dg.AssetSpec(
        receiver_key(stream),
        description=what,
        kinds={kind},
        metadata=code_references(stream),
        owners=stream.config.owners,
        group_name=stream.name,
    )

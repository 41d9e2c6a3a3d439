"""Topics, landing folders and what receivers take in, as external assets: where lineage begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import dagster as dg

from wordtide.config import Stream
from wordtide.config.asset_names import Part, StreamAsset
from wordtide.dagster.translator import WordtideTranslator


def build_sources(streams: Sequence[Stream], *, translator: WordtideTranslator | None = None) -> list[dg.AssetSpec]:
    """Return one external asset for each topic and landing folder, and for what a receiver lands in one.

    Example:
        ```python
        dg.Definitions(assets=[*build_sources(streams), *(build_word_counts(stream) for stream in streams)])
        ```
    """
    naming = translator or WordtideTranslator()
    readers = Counter(naming.source_key(stream) for stream in streams)
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for stream in streams:
        key = naming.source_key(stream)
        if key not in specs:
            specs[key] = naming.get_asset_spec(StreamAsset.of(stream, Part.SOURCE, shared=readers[key] > 1))
        if stream.receiver is not None:
            spec = naming.get_asset_spec(StreamAsset.of(stream, Part.RECEIVER))
            specs[spec.key] = spec
    return list(specs.values())

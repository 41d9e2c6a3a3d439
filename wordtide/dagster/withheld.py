"""The assets of streams that cannot run: they say why, and so does whoever materializes them."""

from collections.abc import Mapping

import dagster as dg

from wordtide.config.asset_names import StreamAsset, op_name
from wordtide.dagster.translator import WordtideTranslator


def build_withheld(
    refused: Mapping[str, str], *, translator: WordtideTranslator | None = None
) -> list[dg.AssetsDefinition]:
    """Return an asset in the place of each table whose stream cannot run.

    Args:
        refused: What is wrong and what to do, one line for each stream, by its name.
        translator: Names and describes the assets.

    Example:
        ```python
        dg.Definitions(assets=build_withheld(load_configuration().problems))
        ```
    """
    naming = translator or WordtideTranslator()
    found: dict[dg.AssetKey, dg.AssetsDefinition] = {}
    for name, problem in refused.items():
        spec = naming.get_asset_spec(StreamAsset.withheld(name, problem))
        # Tables to which a translator gives one key, which is why they are withheld, share an asset.
        found.setdefault(spec.key, _asset(spec, problem))
    return list(found.values())


def _asset(spec: dg.AssetSpec, problem: str) -> dg.AssetsDefinition:
    @dg.multi_asset(name=op_name(spec.key.path), specs=[spec], can_subset=True)
    def withheld() -> None:
        raise dg.Failure(problem, allow_retries=False)

    return withheld

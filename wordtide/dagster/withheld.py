"""The asset of a stream that cannot run: it says why, and so does whoever materializes it."""

import hashlib
import re

import dagster as dg

from wordtide.config.asset_names import op_name, table_path


def build_withheld(name: str, problem: str) -> dg.AssetsDefinition:
    """Return the asset in the place of a stream's table.

    Args:
        name: The stream's name, which may be what is wrong with it.
        problem: What is wrong and what to do, one line.
    """
    usable = re.fullmatch(r"\w+", name, re.ASCII) is not None
    spec = dg.AssetSpec(
        dg.AssetKey(table_path(name)),
        description=f"Withheld: nothing is drained. {problem}",
        kinds={"deltalake", "table"},
        group_name=name if usable else None,
        metadata={"problem": problem},
    )

    @dg.multi_asset(
        name=op_name(name if usable else hashlib.sha256(name.encode()).hexdigest()[:10]), specs=[spec], can_subset=True
    )
    def withheld() -> None:
        raise dg.Failure(problem, allow_retries=False)

    return withheld

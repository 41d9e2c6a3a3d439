"""A table of your own that follows `word_counts` at its own pace: `dagster dev -f examples/automation/definitions.py`.

However many batches commit, it is made once every five minutes at most, and only if there is something new.
"""

import dagster as dg
import duckdb
from deltalake import write_deltalake

from resources import TablesResource
from wordtide.config import load_streams
from wordtide.dagster.definitions import build_definitions

STREAM = load_streams()["news"]
REQUESTED = dg.AutomationCondition.newly_requested()
# Not on_cron: it waits for news since the tick, and so leaves out what came just before it, if nothing follows. Nor
# any_deps_updated: it does not say when, and what came right after a request would pass for what that run has read.
NEWS = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
FIRST_TIME = dg.AutomationCondition.initial_evaluation()
TICK = dg.AutomationCondition.cron_tick_passed("*/5 * * * *")
AT_ITS_OWN_PACE = (
    (NEWS.since(REQUESTED) | FIRST_TIME.since(REQUESTED))
    & TICK.since(REQUESTED)
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.in_progress()
).with_label("something new, and five minutes are over")


@dg.asset(
    key=["news", "top_words"],
    deps=[dg.AssetKey(["news", "word_counts"])],
    group_name="news",
    kinds={"deltalake", "duckdb"},
    automation_condition=AT_ITS_OWN_PACE,
)
def top_words(tables: TablesResource) -> dg.MaterializeResult:
    """The hundred most frequent words, in a table beside `word_counts` that is written anew each time."""
    source = tables.read(STREAM)
    word_counts = source.to_pyarrow_dataset()  # noqa: F841 (DuckDB finds it by its name)
    top = duckdb.sql(
        "SELECT word, sum(count)::BIGINT AS n FROM word_counts WHERE kind = 'count'"
        " GROUP BY word ORDER BY n DESC, word LIMIT 100"
    ).to_arrow_table()
    write_deltalake(f"{source.table_uri.rstrip('/').rpartition('/')[0]}/top_words", top, mode="overwrite")
    return dg.MaterializeResult(metadata={"dagster/row_count": len(top)})


# Switched on from the start; the sensor that Dagster makes by itself has to be switched on in the UI.
follow = dg.AutomationConditionSensorDefinition(
    "follow_word_counts",
    target=dg.AssetSelection.assets(top_words),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)

defs = dg.Definitions.merge(build_definitions(), dg.Definitions(assets=[top_words], sensors=[follow]))

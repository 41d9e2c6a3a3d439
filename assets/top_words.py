"""Below each stream's `word_counts` a table of its most frequent words: an example of a downstream asset with a check.

However many batches commit, it is written once every five minutes at most, and only if there is something new.
"""

import dagster as dg
import duckdb
import pyarrow as pa
from deltalake import write_deltalake

from resources import TablesResource
from wordtide.config import Stream

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
ADDS_UP = "adds_up"


def build_top_words(stream: Stream) -> dg.AssetsDefinition:
    """Return the asset `<stream>/word_counts/top_words`."""
    table = dg.AssetKey([stream.name, "word_counts"])
    # Below the table's key, where no stream or topic can have one: what these are called is not ours to choose.
    key = dg.AssetKey([*table.path, "top_words"])

    @dg.asset(
        key=key,
        deps=[table],
        group_name=stream.name,
        kinds={"deltalake", "duckdb"},
        automation_condition=AT_ITS_OWN_PACE,
        check_specs=[dg.AssetCheckSpec(ADDS_UP, asset=key, description="All counts add up to what the ledger says.")],
    )
    def top_words(tables: TablesResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The hundred most frequent words, in a table next to `word_counts` that is written anew each time."""
        source = tables.read(stream)
        word_counts = source.to_pyarrow_dataset()  # noqa: F841 (DuckDB finds it by its name)
        with duckdb.connect() as connection:
            top: pa.Table = connection.execute(
                "SELECT word, sum(count)::BIGINT AS n FROM word_counts WHERE kind = 'count'"
                " GROUP BY word ORDER BY n DESC, word LIMIT 100"
            ).to_arrow_table()
            ((counted, in_ledger),) = connection.execute(
                "SELECT coalesce(sum(count) FILTER (kind = 'count'), 0)::BIGINT,"
                " coalesce(sum(words) FILTER (kind = 'batch'), 0)::BIGINT FROM word_counts"
            ).fetchall()
        write_deltalake(f"{source.table_uri.rstrip('/').rpartition('/')[0]}/top_words", top, mode="overwrite")
        return dg.MaterializeResult(
            metadata={"dagster/row_count": len(top)},
            check_results=[
                dg.AssetCheckResult(
                    passed=counted == in_ledger,
                    check_name=ADDS_UP,
                    metadata={"counted": counted, "in_ledger": in_ledger},
                )
            ],
        )

    return top_words

"""The README says what the asset's page plots; a real batch of either source has each of these as a number."""

import dagster as dg
import pytest

from tests.dagster.support import by_hand, definitions, events, instance
from tests.test_readme import chapter, rows_of

NAMES = {row[0].strip("`") for row in rows_of(chapter("What Dagster shows"), "plot")}


@pytest.mark.parametrize("kind", ["topic", "folder"])
def test_a_batch_of_either_source_has_every_plot_that_the_readme_names(place, kind):
    stream = place.topic_stream(engine="local") if kind == "topic" else place.folder_stream(engine="local")
    if kind == "topic":
        place.produce(stream, ["a b"])
    else:
        place.land(stream, "1.txt", b"a b\n")
    with instance() as home:
        assert by_hand(definitions(place, stream), stream, home).success
        batch, end = events(home, stream)
    numbers = {
        name for name, value in batch.metadata.items() if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
    }
    assert numbers == NAMES
    assert {"run_batches", "run_words", "run_records", "dagster/row_count", "table", "top_words"} <= end.metadata.keys()

"""Versions stay below what Dagster's storages can index, however many partitions a topic has, and stay comparable."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from tests.dagster.support import NAMING, NEWS, by_hand, definitions, events, instance, report
from wordtide.core.position import Offsets, parse
from wordtide.dagster.definitions import build_definitions
from wordtide.dagster.events import SourceVersion, materialization, next_version, source_events
from wordtide.dagster.versions import MAX_CHARACTERS, VERSION_TAG, Version
from wordtide.sources.kafka import source as kafka

POSTGRES_BYTES = 2704 - len('["x", "word_counts"]') - 100 - 400
"""Of a value, with the longest names of a stream and a topic in the same row of the index."""


def position(partitions: int, offset: int = 10**12) -> Offsets:
    return Offsets({partition: offset + partition for partition in range(partitions)})


@pytest.mark.parametrize("partitions", [1, 40, 200, 700, 5_000, 100_000])
def test_a_tag_is_bounded_whatever_the_number_of_partitions_and_a_short_one_is_the_position(partitions: int) -> None:
    whole = str(position(partitions))
    version = Version.of(whole)
    assert len(version.tag.encode()) <= MAX_CHARACTERS < POSTGRES_BYTES
    assert version.whole == whole
    assert (version.tag == whole) == (len(whole) <= MAX_CHARACTERS)
    assert Version.of(whole) == version
    assert Version.of(str(position(partitions, 5))).tag != version.tag


def test_a_digest_is_not_read_for_offsets() -> None:
    assert parse(Version.of(str(position(5_000))).tag) is None


def test_a_correction_of_a_long_position_is_a_version_of_its_own_until_the_position_moves() -> None:
    first = next_version(None, 1, position(5_000))
    corrected = next_version(first, 2, position(5_000), "correction")
    assert corrected.tag != first.tag
    assert corrected.whole == f"{position(5_000)}, corrected by batch 2"
    assert next_version(corrected, 3, position(5_000)) == corrected
    assert next_version(corrected, 4, position(5_000, 7)).tag not in {corrected.tag, first.tag}


def test_an_event_gives_back_the_whole_version_whatever_others_call_position() -> None:
    def event(tag: str, **metadata: str) -> dg.AssetMaterialization:
        return dg.AssetMaterialization("a", tags={VERSION_TAG: tag}, metadata=metadata)

    long = Version.of(str(position(5_000)))
    assert Version.of_event(event(long.tag, **long.metadata)) == long
    assert Version.of_event(event("0:1")) == Version("0:1", "0:1")
    assert Version.of_event(event("v7", position="at the door")) == Version("v7", "v7")
    # As events were until now: compared as they are, for as long as the position stays.
    old = Version.of_event(event(str(position(5_000))))
    assert old is not None
    assert old.tag == str(position(5_000))
    assert next_version(old, 2, position(5_000)) == old


REPORT = report(1, lag=0, position=position(5_000))


@pytest.mark.parametrize("old", [False, True], ids=["digest", "told before there were digests"])
def test_a_table_is_in_step_with_a_source_of_many_partitions_until_that_moves(old: bool) -> None:
    graph = build_definitions({"news": NEWS}).resolve_asset_graph()
    with dg.DagsterInstance.ephemeral() as home:

        def tell(version: Version, table: Version) -> None:
            for event in source_events(NEWS, version, position(3), 0, NAMING):
                home.report_runless_asset_event(event)
            (newest,) = home.fetch_materializations(NAMING.source_key(NEWS), limit=1).records
            known = Version.of_event(newest.asset_materialization)
            assert known == version
            told = materialization(NEWS, REPORT, table, SourceVersion(known, newest.storage_id), NAMING)
            home.report_runless_asset_event(told)

        def status() -> str:
            loading = LoadingContextForTest(home)
            return CachingStaleStatusResolver(home, graph, loading).get_status(NAMING.table_key(NEWS)).value

        whole = str(position(5_000))
        first = Version(whole, whole) if old else Version.of(whole)
        tell(first, first)
        assert status() == "FRESH"
        moved = Version.of(str(position(5_000, 7)))
        for event in source_events(NEWS, moved, position(5_000, 7), 0, NAMING):
            home.report_runless_asset_event(event)
        assert status() == "STALE"
        tell(moved, moved)
        assert status() == "FRESH"


def test_a_run_over_many_partitions_writes_bounded_tags_and_goes_on_from_the_whole_position(place, monkeypatch):
    stream = place.topic_stream(partitions=60, engine="local")
    defs = definitions(place, stream)
    # As if each offset had the most digits there are.
    monkeypatch.setattr(kafka, "Offsets", lambda offsets: Offsets({p: 10**18 + at for p, at in offsets.items()}))
    with instance() as home:
        for lines in (["a b"] * 60, ["b"] * 60):
            place.produce(stream, lines)
            assert by_hand(defs, stream, home).success
            source = home.fetch_materializations(NAMING.source_key(stream), limit=1).records[0].asset_materialization
            for event in (*events(home, stream), source):
                assert all(len(value) < 600 for value in event.tags.values())
            newest = events(home, stream)[-1]
            version = Version.of_event(newest)
            assert parse(version.whole) == parse(Version.of_event(source).whole)
            assert len(parse(version.whole).next) == 60
            key = NAMING.source_key(stream).to_user_string()
            assert newest.tags[f"dagster/input_data_version/{key}"] == source.tags[VERSION_TAG] == version.tag
        loading = LoadingContextForTest(home)
        resolver = CachingStaleStatusResolver(home, defs.resolve_asset_graph(), loading)
        assert resolver.get_status(NAMING.table_key(stream)).value == "FRESH"

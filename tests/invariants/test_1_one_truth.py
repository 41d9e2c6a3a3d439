"""One truth: counts, ledger rows and positions are one commit; everything else is a hint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable

import wordtide.status.lag
from resources import HdfsResource, KafkaResource
from tests.support import Place, assert_contiguous, assert_numbered, some_lines, topic_of, words_of
from wordtide.core.problems import TableRefused
from wordtide.dagster.definitions import build_definitions
from wordtide.drain.loop import Summary


def test_counts_ledger_row_and_positions_of_a_batch_are_one_commit(place: Place) -> None:
    stream = place.topic_stream(partitions=2, max_records=60)
    lines = some_lines(200)
    place.produce(stream, lines)
    place.drain(stream)
    log = Path(place.table(stream).uri) / "_delta_log"
    rows = place.ledger(stream)
    assert len(rows) > 3
    for row in rows[1:]:
        actions = [json.loads(line) for line in (log / f"{row['batch']:020d}.json").read_text().splitlines()]
        kinds = {action["add"]["partitionValues"]["kind"] for action in actions if "add" in action}
        assert kinds == {"count", "batch"}
        moved = {a["txn"]["appId"].rpartition("/")[2]: a["txn"]["version"] for a in actions if "txn" in a}
        ends = {str(split["partition"]): split["end"] for split in row["splits"]}
        assert moved == {"batch": row["batch"], **ends}


def test_deleting_dagster_home_and_consumer_groups_changes_no_count(place: Place) -> None:
    stream = place.topic_stream(partitions=2)
    definitions = build_definitions(
        {"s": stream},
        kafka=KafkaResource(bootstrap_servers=place.cluster.kafka),
        hdfs=HdfsResource(url=place.cluster.hdfs, webhdfs=place.cluster.webhdfs),
    )
    home = place.folder / "home"
    lines = some_lines(300)
    for part in (lines[:100], lines[100:200], lines[200:]):
        place.produce(stream, part)
        home.mkdir()
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            assert definitions.resolve_job_def("s_drain").execute_in_process(instance=instance).success
        shutil.rmtree(home)
        wordtide.status.lag._known.clear()
        # A consumer group that claims to have read everything, under the name our readers use.
        claims = Consumer({"bootstrap.servers": place.cluster.kafka, "group.id": "wordtide"})
        claims.commit(offsets=[TopicPartition(topic_of(stream), n, 10**6) for n in range(2)], asynchronous=False)
        claims.close()
    assert place.counted(stream) == words_of(lines)
    rows = place.ledger(stream)
    assert_numbered(rows)
    ends = {n: max(s["end"] for row in rows for s in row["splits"] if s["partition"] == n) for n in range(2)}
    assert sum(ends.values()) == len(lines)
    assert_contiguous(rows, ends)


def test_a_restored_table_is_refused_in_one_line(place: Place) -> None:
    stream = place.topic_stream(max_records=10)
    place.produce(stream, some_lines(40))
    place.drain(stream)
    before = place.handle(stream)
    before.restore(before.version() - 2)
    place.produce(stream, some_lines(10))
    with pytest.raises(TableRefused, match="RESTORE") as refused:
        place.drain(stream)
    assert "\n" not in str(refused.value)
    assert DeltaTable(place.table(stream).uri).version() == before.version()


def test_a_drain_at_work_notices_that_its_table_was_restored(place: Place) -> None:
    stream = place.topic_stream()
    place.produce(stream, ["a b"])
    drain = place.drainer(stream)
    drain._next(Summary())
    place.produce(stream, ["c"])
    place.handle(stream).restore(0)
    with pytest.raises(TableRefused, match="RESTORE"):
        drain._next(Summary())

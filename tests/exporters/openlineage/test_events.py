"""What a ledger row becomes, without any server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openlineage.client.naming.dataset import HDFS, Kafka, LocalFileSystem
from openlineage.client.serde import Serde

from tests.exporters.openlineage.receiver import Event, problems
from wordtide.config import Stream, StreamConfig
from wordtide.core.model import (
    Aside,
    Batch,
    Counted,
    Decision,
    FileSplit,
    Founding,
    KafkaSplit,
    Parked,
    SplitProof,
    Status,
    Verdict,
)
from wordtide.exporters.openlineage.events import batch_events, drain_ended, drain_started
from wordtide.exporters.openlineage.naming import Names, names_of
from wordtide.exporters.openlineage.records import DrainRun, End
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress
from wordtide.table.record import LedgerRow
from wordtide.table.rows import batch_row, founding_row

RUN = "7d0f2a0e-6f0c-4d52-9a44-0c8a4f6d6f11"
ATTEMPT = "0123456789abcdef0123456789abcdef"
AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
IDENTITY = {"cluster_id": "c1", "topic_id": "t1", "topic": "news"}
TOPIC = Stream("news", StreamConfig.model_validate({"kafka": {"topic": "news"}}), "/data/news/word_counts", None)
FOLDER = Stream(
    "articles",
    StreamConfig.model_validate({"landing": {"path": "hdfs:///landing/a b"}}),
    "hdfs:///tables/articles/word_counts",
    "hdfs:///landing/a b",
)
KAFKA = KafkaConnection("b1:9092,b2:9092")
HADOOP = HdfsAddress("hdfs://namenode:8020", "namenode:9870")


def names(stream: Stream) -> Names:
    return names_of(stream, "wordtide", KAFKA, HADOOP)


def row(*proofs: SplitProof, status: Status = Status.PUBLISHED, run_id: str = RUN, **batch: Any) -> LedgerRow:
    planned = Batch("news", 7, ATTEMPT, AT, 9, tuple(proof.split for proof in proofs), (), status=status, **batch)
    counted = Counted((), proofs, 30, 20, 1, "local", {"read": 0.25}) if proofs else None
    return batch_row(planned, counted, run_id, AT + timedelta(seconds=0.5))


def told(row: LedgerRow, stream: Stream = TOPIC) -> tuple[Event, Event]:
    """Return the two events as they are sent, valid by the specification."""
    start, complete = (json.loads(Serde.to_json(event)) for event in batch_events(row, IDENTITY, names(stream)))
    assert problems(start) + problems(complete) == []
    return start, complete


def test_a_batch_of_a_topic_says_its_offsets_statistics_columns_and_parent() -> None:
    start, complete = told(
        row(
            SplitProof(KafkaSplit("news", 1, 5, 9), lines=4, records=4, bytes=44),
            SplitProof(KafkaSplit("news", 0, 0, 10), lines=6, records=7, gaps=3, bytes=60),
        )
    )
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert (start["eventTime"], complete["eventTime"]) == (
        AT.isoformat(timespec="microseconds"),
        "2026-01-31T12:00:00.500000+00:00",
    )
    run = complete["run"]
    assert start["run"]["runId"] == run["runId"] == "01234567-89ab-cdef-0123-456789abcdef"
    assert complete["job"]["namespace"] == "wordtide"
    assert complete["job"]["name"] == "news_drain.word_counts"
    parent = run["facets"]["parent"]
    assert (parent["run"], parent["job"]) == ({"runId": RUN}, {"namespace": "wordtide", "name": "news_drain"})
    assert run["facets"]["processing_engine"]["name"] == "wordtide-local"
    assert run["facets"]["wordtide_batch"]["gaps"] == 3
    assert run["facets"]["wordtide_batch"]["seconds"] == {"read": 0.25}
    (source,) = complete["inputs"]
    assert (source["namespace"], source["name"]) == ("kafka://b1:9092", "news")
    offsets = source["inputFacets"]["wordtide_offsets"]
    assert (offsets["clusterId"], offsets["topicId"]) == ("c1", "t1")
    assert offsets["ranges"] == [
        {"partition": 1, "start": 5, "end": 9, "records": 4},
        {"partition": 0, "start": 0, "end": 10, "records": 7},
    ]
    statistics = source["inputFacets"]["inputStatistics"]
    assert (statistics["rowCount"], statistics["size"]) == (11, 104)
    assert source["facets"]["version"]["datasetVersion"] == "0:10,1:9"
    (table,) = complete["outputs"]
    assert (table["namespace"], table["name"]) == ("file", "/data/news/word_counts")
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 20
    lineage = table["facets"]["columnLineage"]["fields"]
    came = {column: [field["field"] for field in said["inputFields"]] for column, said in lineage.items()}
    assert came == {"word": ["value"], "count": ["value"], "window_start": ["timestamp"]}


def test_a_batch_of_a_folder_says_its_files() -> None:
    _, complete = told(row(SplitProof(FileSplit("/landing/a b/1.txt", 99, 1234, 0, 99), lines=5, bytes=99)), FOLDER)
    (source,) = complete["inputs"]
    assert (source["namespace"], source["name"]) == ("hdfs://namenode:8020", "/landing/a b")
    assert source["facets"]["dataSource"]["uri"] == "hdfs://namenode:8020/landing/a%20b"
    taken = source["inputFacets"]["wordtide_files"]
    assert (taken["total"], taken["files"]) == (
        1,
        [{"path": "/landing/a b/1.txt", "length": 99, "mtime": 1234, "lines": 5}],
    )
    statistics = source["inputFacets"]["inputStatistics"]
    assert (statistics["rowCount"], statistics["size"], statistics["fileCount"]) == (5, 99, 1)
    assert complete["outputs"][0]["namespace"] == "hdfs://namenode:8020"
    lineage = complete["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert lineage["window_start"]["inputFields"][0]["field"] == "mtime"


def test_of_very_many_files_the_first_are_named_and_all_are_counted() -> None:
    proofs = [SplitProof(FileSplit(f"/landing/{n}", 10, n, 0, 10), lines=1, bytes=10) for n in range(1500)]
    _, complete = told(row(*proofs), FOLDER)
    taken = complete["inputs"][0]["inputFacets"]["wordtide_files"]
    assert (taken["total"], len(taken["files"])) == (1500, 1000)
    assert complete["inputs"][0]["inputFacets"]["inputStatistics"]["fileCount"] == 1500


def test_every_partition_of_a_wide_topic_is_named() -> None:
    proofs = [SplitProof(KafkaSplit("news", n, 0, 1), lines=1, records=1, bytes=1) for n in range(3000)]
    _, complete = told(row(*proofs))
    assert len(complete["inputs"][0]["inputFacets"]["wordtide_offsets"]["ranges"]) == 3000


@pytest.mark.parametrize(
    ("ledger_row", "said"),
    [
        (
            row(status=Status.PARKED, parked=(Parked("news/0", "lost [3, 5)", KafkaSplit("news", 0, 3, 5)),)),
            {"ranges": [{"partition": 0, "start": 3, "end": 5, "reason": "lost [3, 5)"}]},
        ),
        (row(status=Status.PARKED, parked=(Parked("news", "recreated"),)), {"ranges": [{"reason": "recreated"}]}),
        (row(status=Status.STALLED, parked=(Parked("news/0", "no leader", KafkaSplit("news", 0, 3, 3)),)), {}),
        (row(status=Status.RESOLVED, run_id="me", decision=Decision(Verdict.SKIP, "me", "why not")), {}),
        (founding_row(TOPIC, Founding(IDENTITY, (), (KafkaSplit("news", 0, 4, 4),)), ATTEMPT, RUN, AT), {}),
    ],
    ids=["parked", "parked-topic", "stalled", "resolved", "founded"],
)
def test_what_counts_nothing_is_told_without_statistics_or_columns(ledger_row: LedgerRow, said: Event) -> None:
    _, complete = told(ledger_row)
    taken = complete["inputs"][0]["inputFacets"]
    assert set(taken) == {"wordtide_offsets"}
    assert said.items() <= taken["wordtide_offsets"].items()
    table = complete["outputs"][0]
    assert table["outputFacets"] == {}
    assert "columnLineage" not in table["facets"]
    assert ("lifecycleStateChange" in table["facets"]) == (ledger_row.status == "founded")
    assert complete["run"]["facets"]["wordtide_batch"]["status"] == ledger_row.status


def test_a_decision_says_who_made_it_and_has_no_parent() -> None:
    _, complete = told(row(status=Status.RESOLVED, run_id="me", decision=Decision(Verdict.SKIP, "me", "why not")))
    facets = complete["run"]["facets"]
    assert "parent" not in facets
    said = facets["wordtide_batch"]
    assert (said["decision"], said["who"], said["why"]) == ("skip", "me", "why not")


def test_a_correction_says_what_it_corrects_and_may_take_words_back() -> None:
    corrected = row(
        SplitProof(KafkaSplit("news", 0, 0, 2), lines=2, records=2, bytes=9),
        status=Status.CORRECTION,
        replaces=3,
        decision=Decision(Verdict.REPLAY, "me"),
    )
    _, complete = told(replace(corrected, words=-4))
    said = complete["run"]["facets"]["wordtide_batch"]
    assert (said["replaces"], said["words"]) == (3, -4)
    assert "columnLineage" in complete["outputs"][0]["facets"]


def test_records_put_aside_are_counted() -> None:
    split = KafkaSplit("news", 0, 0, 2)
    aside = Aside(KafkaSplit("news", 0, 1, 2), "not UTF-8")
    _, complete = told(row(SplitProof(split, lines=1, records=2, bytes=9, aside=(aside,))))
    assert complete["run"]["facets"]["wordtide_batch"]["quarantined"] == 1


def test_a_drain_run_that_failed_says_why_and_where() -> None:
    run = DrainRun(RUN, AT)
    start = json.loads(Serde.to_json(drain_started(run, names(TOPIC))))
    end = End("FAIL", AT, "there is no topic 'news'", "Traceback …")
    fail = json.loads(Serde.to_json(drain_ended(run, end, names(TOPIC))))
    assert problems(start) + problems(fail) == []
    assert start["run"]["runId"] == fail["run"]["runId"] == RUN
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    said = fail["run"]["facets"]["errorMessage"]
    assert (said["message"], said["stackTrace"]) == ("there is no topic 'news'", "Traceback …")


def test_names_are_those_of_the_naming_specification() -> None:
    assert names(TOPIC).source.namespace == Kafka("b1", "9092", "news").get_namespace()
    assert names(TOPIC).source.name == Kafka("b1", "9092", "news").get_name()
    hdfs = HDFS("namenode", "8020", "/tables/articles/word_counts")
    assert names(FOLDER).table.namespace == hdfs.get_namespace()
    assert names(FOLDER).table.name == hdfs.get_name()
    local = LocalFileSystem("/data/news/word_counts")
    assert names(TOPIC).table.namespace == local.get_namespace()
    assert names(TOPIC).table.name == local.get_name()


def test_the_schemas_notice_a_wrong_event() -> None:
    _, complete = told(row(SplitProof(KafkaSplit("news", 0, 0, 2), lines=2, records=2, bytes=9)))
    statistics = complete["inputs"][0]["inputFacets"]["inputStatistics"]
    for place, key, wrong in (
        (complete["run"], "runId", "seven"),
        (complete, "eventType", "DONE"),
        (statistics, "rowCount", "two"),
        (complete["inputs"][0]["inputFacets"]["wordtide_offsets"]["ranges"][0], "end", None),
    ):
        right, place[key] = place[key], wrong
        assert problems(complete), key
        place[key] = right
    assert problems(complete) == []


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_its_word_in_the_schema(status: Status) -> None:
    told(row(status=status, run_id="me"))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_decision_has_its_word_in_the_schema(verdict: Verdict) -> None:
    told(row(status=Status.RESOLVED, run_id="me", decision=Decision(verdict, "me")))

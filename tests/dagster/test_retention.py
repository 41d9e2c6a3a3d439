"""Old runs go with their events; what is still read of them stays. With a real SQLite instance and a real table."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster.support import NAMING, by_hand, events, instance
from wordtide.config import Stream, parse_streams
from wordtide.dagster.check import CHECK_NAME
from wordtide.dagster.definitions import build_definitions
from wordtide.dagster.retention import delete_old_runs, delete_run
from wordtide.table.files import utc_now

IN_A_WEEK = timedelta(days=7, minutes=1)


class Folder:
    """A stream on a local folder, in a Dagster of its own; no server is needed."""

    def __init__(self, folder: Path, home: dg.DagsterInstance, keys: str = "") -> None:
        self.folder = folder
        self.home = home
        (folder / "landing").mkdir(exist_ok=True)
        entry = f"s: {{landing: {{path: landing, min_age: 0s}}, max_files: 1, engine: local{keys}}}"
        self.streams = parse_streams(f"streams:\n  {entry}\n", folder / "streams.yaml")
        self.defs = build_definitions(self.streams)
        self.files = 0

    @property
    def stream(self) -> Stream:
        return self.streams["s"]

    def drain(self, batches: int = 1) -> dg.ExecuteInProcessResult:
        for _ in range(batches):
            self.files += 1
            (self.folder / "landing" / f"{self.files}.txt").write_text("a b\n")
        return by_hand(self.defs, self.stream, self.home)

    def forget(self, after: timedelta = IN_A_WEEK, seconds: float = 60.0) -> int:
        return delete_old_runs(self.home, [self.stream], utc_now() + after, seconds, translator=NAMING)

    def runs(self) -> list[str]:
        return [record.dagster_run.run_id for record in self.home.get_run_records(ascending=True)]

    def told(self) -> list[int]:
        """Return the batches that have an event, those that share one left out."""
        return [
            int(event.tags["wordtide_batch"]) for event in events(self.home, self.stream) if "words" in event.metadata
        ]

    def files_of(self, run_id: str) -> list[Path]:
        return list(Path(self.home.root_directory).rglob(f"*{run_id}*"))


@pytest.fixture
def few_events_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordtide.dagster.reporter.EVENTS_LOOKED_AT", 4)
    monkeypatch.setattr("wordtide.dagster.retention.EVENTS_LOOKED_AT", 4)


@pytest.mark.usefixtures("few_events_needed")
def test_old_runs_go_with_their_events_and_files_and_what_is_known_of_the_assets_stays(tmp_path):
    with instance() as home:
        here = Folder(tmp_path, home)
        ids = [here.drain(2).run_id for _ in range(3)]
        table, source = NAMING.table_key(here.stream), NAMING.source_key(here.stream)
        check = dg.AssetCheckKey(table, CHECK_NAME)

        def known():
            (record,) = home.get_asset_records([table])
            (checked,) = home.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
            return (
                record.asset_entry.last_materialization_record.storage_id,
                home.get_latest_materialization_event(table).asset_materialization.tags,
                home.get_latest_materialization_event(source).asset_materialization.tags,
                checked.status,
            )

        before = known()
        assert all(here.files_of(run_id) for run_id in ids)
        assert here.forget() == 1
        assert here.runs() == ids[1:]
        assert here.files_of(ids[0]) == []
        assert {record.run_id for record in home.fetch_materializations(table, limit=100).records} == set(ids[1:])
        assert known() == before
        assert here.forget() == 0


@pytest.mark.usefixtures("few_events_needed")
def test_what_was_reported_by_a_run_that_is_gone_is_not_reported_again(tmp_path, monkeypatch):
    with instance() as home:
        here = Folder(tmp_path, home)
        for _ in range(2):
            assert here.drain(3).success
        with monkeypatch.context() as broken:
            # A run that fails at its end logs no event that says up to where everything is reported.
            broken.setattr("wordtide.dagster.word_counts._preview", lambda *_: 1 / 0)
            assert not here.drain(3).success
        assert here.forget() == 1
        assert here.told() == [4, 5, 6, 7, 8, 9]
        assert here.drain(1).success
        assert here.told() == [4, 5, 6, 7, 8, 9, 10]


def test_the_run_that_told_how_far_the_source_is_taken_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("wordtide.dagster.retention.EVENTS_LOOKED_AT", 1)
    with instance() as home:
        here = Folder(tmp_path, home)
        assert here.drain(1).success
        assert here.drain(0).success
        assert here.forget() == 0


def test_runs_that_are_young_or_unfinished_or_others_stay(tmp_path):
    with instance() as home:
        here = Folder(tmp_path, home, ", keep_runs: 2h")
        job = here.defs.resolve_job_def("s_drain")
        old = home.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags={"wordtide/stream": "s"})
        unfinished = home.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"wordtide/stream": "s"})
        others = home.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags={"wordtide/stream": "t"})
        assert here.forget(timedelta(hours=1)) == 0
        assert here.forget(timedelta(hours=3)) == 1
        assert set(here.runs()) == {unfinished.run_id, others.run_id}
        assert old.run_id not in here.runs()


def test_null_keeps_every_run_and_a_tick_deletes_no_longer_than_it_may(tmp_path):
    with instance() as home:
        here = Folder(tmp_path, home, ", keep_runs: null")
        job = here.defs.resolve_job_def("s_drain")
        home.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags={"wordtide/stream": "s"})
        assert here.forget(timedelta(days=3000)) == 0
        assert Folder(tmp_path, home).forget(seconds=0.0) == 0
        assert Folder(tmp_path, home).forget() == 1


def test_deleted_runs_leave_nothing_on_the_disk_whatever_their_number(tmp_path):
    with instance() as home:
        here = Folder(tmp_path, home)
        job, root = here.defs.resolve_job_def("s_drain"), Path(home.root_directory)
        left = []
        for _ in range(2):
            ids = []
            for _ in range(2):
                run = home.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags={"wordtide/stream": "s"})
                home.report_engine_event("x" * 50_000, run)
                captured = root / "storage" / run.run_id / "compute_logs" / "drain.err"
                captured.parent.mkdir(parents=True)
                captured.write_text("x" * 5_000)
                ids.append(run.run_id)
            assert all(len(here.files_of(run_id)) == 2 for run_id in ids)
            assert here.forget() == len(ids)
            assert not any(here.files_of(run_id) for run_id in ids)
            left.append(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()))
        # The index grows by whole pages that later runs use again; a single run's file would be larger than this.
        assert left[1] - left[0] < 50_000


def test_a_run_that_cannot_be_deleted_is_named_and_holds_up_no_other(tmp_path, monkeypatch):
    with instance() as home:
        here = Folder(tmp_path, home)
        job = here.defs.resolve_job_def("s_drain")
        stuck, *_ = (
            home.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags={"wordtide/stream": "s"}).run_id
            for _ in range(3)
        )

        def delete(instance: dg.DagsterInstance, run_id: str) -> None:
            if run_id == stuck:
                raise PermissionError("not yours")
            delete_run(instance, run_id)

        monkeypatch.setattr("wordtide.dagster.retention.delete_run", delete)
        with pytest.raises(dg.Failure, match=f"2 old runs deleted, 1 could not be: s: run {stuck[:8]}: not yours"):
            here.forget()
        assert here.runs() == [stuck]


def test_the_sensor_says_what_it_deleted_and_starts_nothing(tmp_path):
    with instance() as home:
        here = Folder(tmp_path, home)
        sensor = here.defs.resolve_sensor_def("wordtide_retention")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        with dg.build_sensor_context(instance=home) as context:
            result = sensor(context)
        assert not result.run_requests
        assert result.skip_reason.skip_message == "no run is old enough"

"""How old versions are, and which files of a log nobody needs, as far as a listing shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from wordtide.storage import FileInfo
from wordtide.table.deltalog import DeltaLog

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
AGE = timedelta(minutes=10)


def log(minutes_ago: list[float], checkpoints: tuple[int, ...] = ()) -> DeltaLog:
    """Return a log of versions 0, 1, 2 … with these ages of their entries."""

    def file(name: str, ago: float) -> FileInfo:
        return FileInfo(f"/t/_delta_log/{name}", 100, int((NOW - timedelta(minutes=ago)).timestamp() * 1000), 0)

    entries = [file(f"{version:020d}.json", ago) for version, ago in enumerate(minutes_ago)]
    whole = [file(f"{version:020d}.checkpoint.parquet", minutes_ago[version]) for version in checkpoints]
    return DeltaLog.of([file("_last_checkpoint", 0), *whole, *reversed(entries)])


def names(paths: list[str]) -> list[str]:
    return [path.rpartition("/")[2].lstrip("0") for path in paths]


def test_what_lies_before_the_last_checkpoint_of_the_old_versions_has_expired() -> None:
    found = log([40, 30, 25, 20, 9, 1], checkpoints=(1, 3, 4))
    assert names(found.expired(NOW, AGE)) == [".json", "1.checkpoint.parquet", "1.json", "2.json"]
    assert found.newest == 5


def test_without_an_old_checkpoint_nothing_has_expired() -> None:
    assert log([40, 30, 9, 1], checkpoints=(2,)).expired(NOW, AGE) == []
    assert log([]).expired(NOW, AGE) == []
    assert log([]).newest == -1


def test_a_version_is_as_old_as_the_ones_after_it_whatever_its_mtime_says() -> None:
    fresh, future = 0.1, -500_000
    for strange in (fresh, future):
        found = log([40, strange, 25, 20, 15, 1], checkpoints=(0, 4))
        assert names(found.expired(NOW, AGE)) == [".checkpoint.parquet", ".json", "1.json", "2.json", "3.json"]
        assert found.committed_by(NOW - timedelta(minutes=24)) == 2
        assert found.ages[1] == found.ages[2]


def test_other_files_of_the_log_are_left_alone() -> None:
    listing = [
        FileInfo(f"/t/_delta_log/{name}", 1, 0, 0) for name in ("_last_checkpoint", "x.json", "12.json", "a.tmp")
    ]
    assert DeltaLog.of(listing) == DeltaLog({}, (), frozenset())

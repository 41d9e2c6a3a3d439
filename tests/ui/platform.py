"""The streams that the tests look at, and what Dagster's storage says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tests.support import Place, create_topic, some_lines, topic_of, wait_until
from wordtide.config import Stream

SECONDS = 180.0
"""No wait for Dagster lasts longer."""
SHOWN_LINES = some_lines(60)


def eventually(what: str, happened: Callable[[], Any]) -> Any:
    """Return what ``happened`` returns once that is true, without asking so often that nothing else gets on."""
    return wait_until(what, happened, SECONDS, every=0.2)


@dataclass
class Platform:
    """A running platform.

    Attributes:
        place: Where its servers and tables are.
        streams: By name; each test that changes something has one of its own.
        url: Of its web page.
        instance: Dagster's storage.
    """

    place: Place
    streams: dict[str, Stream]
    url: str
    instance: dg.DagsterInstance

    def topic(self, name: str) -> str:
        """Return the topic of a stream."""
        return topic_of(self.streams[name])

    def wait_for_events(self, name: str, count: int) -> None:
        """Wait until a table has so many materializations and the runs that made them have ended."""
        key = dg.AssetKey([name, "word_counts"])

        def there() -> bool:
            found = self.instance.fetch_materializations(key, limit=count).records
            return len(found) == count and {run.status for run in self.runs(name)} == {dg.DagsterRunStatus.SUCCESS}

        eventually(f"{count} events of {name}", there)

    def runs(self, name: str) -> list[dg.DagsterRun]:
        """Return the runs of a stream, the newest first."""
        key = dg.AssetKey([name, "word_counts"])
        # A run of the stream's job has its tag, one of the asset's page has a selection.
        return [
            run
            for run in self.instance.get_runs()
            if run.tags.get("wordtide/stream") == name or key in (run.asset_selection or ())
        ]

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return a run."""
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def is_on(self, name: str) -> bool:
        """Return whether a stream's sensor is on."""
        return self._sensor(name).is_running

    def looked(self, name: str) -> float:
        """Return when the newest look began that a stream's sensor has ended."""
        state = self._sensor(name)
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=5)
        return max((tick.timestamp for tick in ticks if tick.is_completed), default=0.0)

    def _sensor(self, name: str) -> Any:
        (state,) = (s for s in self.instance.all_instigator_state() if s.instigator_name == f"{name}_sensor")
        return state


def prepare(place: Place, prefix: str) -> dict[str, Stream]:
    """Make topics and folders, and what sensors find at their first look; return the streams."""

    def topic(name: str, **keys: Any) -> dict[str, Any]:
        create_topic(place.cluster, f"{prefix}_{name}", 2)
        source = {"kafka": {"topic": f"{prefix}_{name}"}, "batch_interval": "100ms", "linger": "0s"}
        return {**source, "engine": "local", **keys}

    folder = {"landing": {"path": f"hdfs:///{prefix}/parked", "min_age": "0s"}, "linger": "0s", "engine": "local"}
    streams = place.streams(
        {
            "shown": topic("shown", max_records=20, owners=["team:words"]),
            "parked": folder,
            "by_hand": topic("by_hand"),
            "watched": topic("watched"),
            "endless": topic("endless", max_records=20, linger="10m"),
        },
        f"hdfs:///{prefix}/tables",
    )
    place.produce(streams["shown"], SHOWN_LINES)
    place.land(streams["parked"], "good.txt", b"a b")
    place.land(streams["parked"], "bad.txt.gz", b"\x1f\x8b\x08no gzip after all")
    return streams

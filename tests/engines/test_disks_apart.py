"""Executors whose disk is not this machine's: what they write there is not committed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from resources import SparkResource
from tests.support import Place
from wordtide.config import EngineName
from wordtide.core.problems import EnvironmentProblem
from wordtide.counting.local import LocalEngine
from wordtide.counting.spark import SparkEngine
from wordtide.storage.local import LocalStorage
from wordtide.table.commit import WordCounts


@dataclass(frozen=True, slots=True)
class DiskOfEachMachine(LocalStorage):
    """A local disk that shows a process other than the driver another content of the table's folder.

    Attributes:
        root: The folder that is not shared.
        driver: The driver's process.
        cut: Bytes that the driver sees fewer of each file, of a disk that is shared with a delay; None: no file at all.
    """

    root: str
    driver: int
    cut: int | None = None

    def write_durably(self, path: str, chunks: Iterable[bytes], *, private: bool = False) -> int:
        """Write where this machine's disk is."""
        written = list(chunks)
        if os.getpid() == self.driver:
            return LocalStorage().write_durably(path, written, private=private)
        if self.cut is not None:
            LocalStorage().write_durably(path, [b"".join(written)[: -self.cut]], private=private)
        return LocalStorage().write_durably(path.replace(self.root, f"{self.root}-there"), written, private=private)


@pytest.mark.parametrize(("cut", "seen"), [(None, "this machine does not see it"), (1, "here it has .* bytes")])
def test_counts_that_the_driver_does_not_see_whole_are_not_committed(
    place: Place, spark: SparkResource, cut: int | None, seen: str
) -> None:
    stream = place.topic_stream(engine="spark")
    place.produce(stream, ["a b", "b"])
    apart = DiskOfEachMachine(str(place.folder / "tables"), os.getpid(), cut)
    table = WordCounts(stream, stream.table, apart, stream.table)
    engines = {EngineName.SPARK: SparkEngine(lambda: spark.spark_session, spark.tasks())}

    with pytest.raises(EnvironmentProblem, match=seen):
        place.drain(stream, table=table, engines=engines)

    assert (Path(f"{place.folder}/tables-there")).is_dir()
    assert [row["status"] for row in place.ledger(stream)] == ["founded"]
    here = replace(stream, config=stream.config.model_copy(update={"engine": EngineName.LOCAL}))
    place.drain(here, engines={EngineName.LOCAL: LocalEngine()})
    assert place.counted(stream) == {"a": 1, "b": 2}

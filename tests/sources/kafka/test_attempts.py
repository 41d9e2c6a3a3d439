"""Markers of ranges that are being read: a help for the next reader, and nobody's hindrance."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support import unique
from wordtide.core.model import KafkaSplit
from wordtide.sources.kafka.attempts import Fatal, attempt


def test_where_no_marker_can_be_written_ranges_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.pwrite

    def full(file: int, content: bytes, offset: int) -> int:
        if content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(file, content, offset)

    splits = [KafkaSplit(unique("topic"), 0, 0, 9)]
    monkeypatch.setattr("wordtide.sources.kafka.attempts.os.pwrite", full)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with attempt("b:1", splits) as fatal:
            assert not fatal
    # One is kept for the next batch, and no more.
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_where_damage_cannot_be_marked_what_marks_it_already_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    marker.write_text("{}")
    monkeypatch.setattr("wordtide.sources.kafka.attempts._folder", lambda: tmp_path / "gone")
    Fatal((marker,)).settle("b:1", [KafkaSplit("t", 0, 5, 6)])
    assert marker.exists()

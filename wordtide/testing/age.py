"""Tables that grow old in no time: light batches without a source, and a log whose times are moved back.

delta-rs has a clock of its own, so age is made where it looks for it: in the mtimes of log files and in the deletion
times that the log holds.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hdfs_native
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wordtide.batch import Batch, Counted, Founding, KafkaSplit, SplitProof, Transaction
from wordtide.config import Stream, parse_streams
from wordtide.storage import HdfsAddress, Storage
from wordtide.storage.hdfs import HdfsStorage
from wordtide.table.commit import WordCounts
from wordtide.table.files import utc_now, write_counts
from wordtide.table.ledger import Ledger
from wordtide.table.schema import COUNT_SCHEMA
from wordtide.wiring import open_table

_APP = "kafka/cluster/id/0"
_COUNTED = pa.schema([COUNT_SCHEMA.field(name) for name in ("window_start", "word", "count")])
_WINDOW = datetime(2026, 1, 1, tzinfo=UTC)


class LightTable:
    """A table whose batches come from nowhere: one record each, a few words.

    Args:
        folder: For `streams.yaml`, and for the table unless it is elsewhere.
        name: The stream's.
        tables: Where its table is; below ``folder`` unless given.
        hdfs: The HDFS, if it is there.
    """

    def __init__(self, folder: Path, name: str, tables: str | None = None, hdfs: HdfsAddress | None = None) -> None:
        text = json.dumps(
            {"tables": tables or str(folder / "tables"), "streams": {name: {"kafka": {"topic": "nowhere"}}}}
        )
        self.stream: Stream = parse_streams(text, folder / "streams.yaml")[name]
        self.table: WordCounts = open_table(self.stream, hdfs)
        self._ledger: Ledger | None = None
        identity = {"cluster_id": "cluster", "topic_id": "id", "topic": "nowhere"}
        founding = Founding(identity, (Transaction(_APP, None, 0),), (KafkaSplit("nowhere", 0, 0, 0),))
        self.table.found(founding, uuid.uuid4().hex, "light")

    def commit(self, words: int = 10) -> int:
        """Commit the next batch, each of its words once, and return its number."""
        snapshot = self.table.snapshot(self._ledger)
        assert snapshot is not None
        number, attempt, now = snapshot.next_batch, uuid.uuid4().hex, utc_now()
        split = KafkaSplit("nowhere", 0, number - 1, number)
        chosen = sorted({f"w{(7 * number + place) % 5000}" for place in range(words)})
        rows = pa.record_batch([[_WINDOW] * words, chosen, [1] * words], schema=_COUNTED)
        files = tuple(write_counts(self.table.storage, self.table.root, number, attempt, now.date(), [rows]))
        proof = SplitProof(split, lines=1, records=1)
        steps = {"plan": 0.0, "read": 0.0, "count": 0.0, "write": 0.0}
        counted = Counted(files, (proof,), words, words, 0, "local", steps)
        transactions = (snapshot.batch_transaction(), Transaction(_APP, number - 1, number))
        batch = Batch(self.stream.name, number, attempt, now, snapshot.version, (split,), transactions)
        self.table.commit(snapshot, batch, counted, "light")
        self._ledger = snapshot.ledger
        return number


def grow_older(table: WordCounts, seconds: float) -> None:
    """Move the times of a table's log back: mtimes of its files, and when it says that files were removed."""
    storage = table.storage
    listed = storage.list_files(f"{table.root}/_delta_log")
    newest = max((f.path for f in listed if f.path.endswith(".checkpoint.parquet")), default="")
    for file in listed:
        if file.path.endswith(".json") or file.path == newest:
            _rewrite(storage, file.path, file.length, seconds)
        move_back(storage, file.path, file.mtime_ms, seconds)


def move_back(storage: Storage, path: str, mtime_ms: int, seconds: float) -> None:
    """Make a file so many seconds older than ``mtime_ms`` says."""
    at = mtime_ms / 1000 - seconds
    if isinstance(storage, HdfsStorage):
        hdfs_native.Client(storage.address.url).set_times(path, int(at * 1000), int(at * 1000))
    else:
        os.utime(path, (at, at))


def _rewrite(storage: Storage, path: str, length: int, seconds: float) -> None:
    content = b"".join(storage.read_range(path, 0, length))
    older = _older_checkpoint(content, seconds) if path.endswith(".parquet") else _older_entry(content, seconds)
    if older is not None:
        storage.delete(path)
        storage.write_durably(path, [older])


def _older_entry(content: bytes, seconds: float) -> bytes | None:
    if b'{"remove":' not in content:
        return None
    actions: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
    for action in actions:
        if "remove" in action:
            action["remove"]["deletionTimestamp"] -= int(seconds * 1000)
    return b"\n".join(json.dumps(action).encode() for action in actions)


def _older_checkpoint(content: bytes, seconds: float) -> bytes | None:
    table = pq.read_table(pa.BufferReader(content))
    removes = table["remove"].combine_chunks()
    if removes.null_count == len(removes):
        return None
    names = [field.name for field in removes.type]
    columns = dict(zip(names, removes.flatten(), strict=True))
    columns["deletionTimestamp"] = pc.subtract(columns["deletionTimestamp"], int(seconds * 1000))
    # Where there is no action there is no path either, which the array's own type does not allow.
    fields = [field.with_nullable(True) for field in removes.type]
    older = pa.StructArray.from_arrays([columns[name] for name in names], fields=fields, mask=removes.is_null())
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(table.schema.get_field_index("remove"), "remove", older), sink)
    rewritten: bytes = sink.getvalue().to_pybytes()
    return rewritten

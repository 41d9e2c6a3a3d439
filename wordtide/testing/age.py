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
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from wordtide.config import Stream, parse_streams
from wordtide.core.model import Batch, Counted, Founding, KafkaSplit, SplitProof
from wordtide.core.model import Transaction as Txn
from wordtide.storage import HdfsAddress, Storage
from wordtide.storage.hdfs import HdfsStorage
from wordtide.table.commit import WordCounts, after_commit
from wordtide.table.files import utc_now, write_counts
from wordtide.table.ledger import Ledger
from wordtide.table.replaced import read_lists
from wordtide.table.schema import COUNT_SCHEMA, PARTITION_BY, SCHEMA
from wordtide.wiring import open_table

_APP = "kafka/cluster/id/0"
_COUNTED = pa.schema([COUNT_SCHEMA.field(name) for name in ("window_start", "word", "count")])
_CAUGHT_UP_EVERY = 5
"""Repeated commits between two looks of the handle that makes them at what it made."""
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
        self._handle: DeltaTable | None = None
        self._model: list[tuple[dict[str, str], bytes, str]] = []
        self._repeated = 0
        identity = {"cluster_id": "cluster", "topic_id": "id", "topic": "nowhere"}
        founding = Founding(identity, (Txn(_APP, None, 0),), (KafkaSplit("nowhere", 0, 0, 0),))
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
        transactions = (snapshot.batch_transaction(), Txn(_APP, number - 1, number))
        batch = Batch(self.stream.name, number, attempt, now, snapshot.version, (split,), transactions)
        self.table.commit(snapshot, batch, counted, "light")
        self._ledger = snapshot.ledger
        self._model = self._files_of(snapshot.version + 1)
        return number

    def repeat(self) -> None:
        """Commit the files of the last batch again under other names: what a batch does to a table, and no ledger.

        Several times faster than a batch, which reads and writes what is measured here by nobody.
        """
        if self._handle is None:
            self._handle = self.table.open()
        assert self._handle is not None
        now_ms = int(utc_now().timestamp() * 1000)
        added: list[AddAction | RemoveAction] = []
        for partition, content, stats in self._model:
            path = f"kind={partition['kind']}/day={partition['day']}/{uuid.uuid4().hex}.parquet"
            self.table.storage.write_durably(f"{self.table.root}/{path}", [content], private=True)
            added.append(AddAction(path, len(content), partition, now_ms, True, stats))
        self._repeated += 1
        version = self._handle.version() + self._repeated
        self._handle.create_write_transaction(
            added, "append", SCHEMA, PARTITION_BY, post_commithook_properties=after_commit(version)
        )
        if self._repeated == _CAUGHT_UP_EVERY:
            self._handle.update_incremental()
            self._repeated = 0

    def _files_of(self, version: int) -> list[tuple[dict[str, str], bytes, str]]:
        """Return partition, content and statistics of the files that a version adds."""
        entry = self.table.entry(version)
        assert entry is not None
        actions = b"".join(self.table.storage.read_range(entry.path, 0, entry.length)).splitlines()
        adds = [action["add"] for action in map(json.loads, actions) if "add" in action]
        return [
            (
                add["partitionValues"],
                b"".join(self.table.storage.read_range(f"{self.table.root}/{add['path']}", 0, add["size"])),
                add["stats"],
            )
            for add in adds
        ]


def grow_older(table: WordCounts, seconds: float) -> None:
    """Move the times of a table's log and of its compactions' lists back: mtimes, and when files were removed."""
    storage = table.storage
    listed = storage.list_files(f"{table.root}/_delta_log")
    newest = max((f.path for f in listed if f.path.endswith(".checkpoint.parquet")), default="")
    for file in listed:
        if file.path.endswith(".json") or file.path == newest:
            _rewrite(storage, file.path, file.length, seconds)
        move_back(storage, file.path, file.mtime_ms, seconds)
    for path, one in read_lists(storage, table.root):
        move_back(storage, path, one.written_ms, seconds)


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

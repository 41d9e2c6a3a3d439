"""Sends records and lands files, and keeps account of them."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from wordtide.sources.files.names import is_candidate
from wordtide.storage import FileInfo, HdfsAddress, HdfsStorage, Storage
from wordtide.testing import files, topics
from wordtide.testing.soak.account import FolderAccount, Sent, TopicAccount
from wordtide.testing.topics import HasKafka
from wordtide.testing.waiting import SECONDS, unique

_OTHER_WORDS = ["größer", "İstanbul", "東京", "🌊", "é", "e\u0301", ""]
_ODD_NAMES = ["{}", "{} with spaces", "größer-{}", "100%25-{}", "{}#?"]
_PLAIN = (".txt", ".log", ".csv", ".json", "")


def some_lines(chance: random.Random, count: int) -> list[bytes]:
    """Return lines of a few words each, some of them empty, some not ASCII."""
    words = [f"w{n}" for n in range(60)] + _OTHER_WORDS
    return [" ".join(chance.choices(words, k=chance.randrange(9))).encode() for _ in range(count)]


class TopicFeed:
    """Sends plain and transactional records to one topic, which may be deleted and made again.

    Args:
        broker: The broker.
        topic: Its name; the topic exists.
        isolation: `read_committed`, or `read_uncommitted`: what is aborted counts as well then.
        chance: Decides.
        account: What was sent.
    """

    def __init__(
        self, broker: HasKafka, topic: str, isolation: str, chance: random.Random, account: TopicAccount
    ) -> None:
        self.topic = topic
        self._broker = broker
        self._isolation = isolation
        self._chance = chance
        self._account = account
        self._failed: list[KafkaError] = []
        self._unplaced: list[tuple[int, Sent]] = []
        self._transaction: tuple[Producer, list[Sent]] | None = None
        self._meet()

    def _meet(self) -> None:
        """Get to know the topic as it is: clients remember another one of its name for too long."""
        admin = topics.admin_of(self._broker)
        found = admin.list_topics(self.topic, timeout=SECONDS).topics[self.topic]
        self.partitions = len(found.partitions)
        self.topic_id = topics.topic_id(self._broker, self.topic)
        if self.topic_id not in self._account.ids:
            self._account.ids.append(self.topic_id)
        self._plain = self._producer({})

    def _producer(self, config: dict[str, Any]) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._broker.kafka,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,
                # No fault lasts so long: every record is acknowledged, so the account has no doubts.
                "message.timeout.ms": 120_000,
                "log_level": 0,
                "error_cb": lambda _error: None,
                **config,
            }
        )

    def _send(self, producer: Producer, value: bytes, partition: int, open_: list[Sent] | None) -> None:
        topic_id = self.topic_id

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed.append(error)
                return
            number, offset = message.partition(), message.offset()
            assert number is not None
            assert offset is not None
            sent = Sent(value, True if open_ is None else None)
            if offset < 0:
                # Its first acknowledgement was lost with the broker: the second says that it is there, and not where.
                assert topic_id == self.topic_id
                self._unplaced.append((number, sent))
            else:
                self._account.records.setdefault((topic_id, number), {})[offset] = sent
            if open_ is not None:
                open_.append(sent)

        producer.produce(self.topic, value, partition=partition, on_delivery=delivered)

    def give(self, count: int) -> None:
        """Send a few records; they may wait for the broker."""
        for value in some_lines(self._chance, count):
            self._send(self._plain, value, self._chance.randrange(self.partitions), None)
        self._plain.poll(0)
        self._check()

    def burst(self, count: int, partition: int) -> int:
        """Send records to one partition and return the offset behind the last of them."""
        for value in some_lines(self._chance, count):
            self._send(self._plain, value, partition, None)
        self._flush(self._plain)
        return 1 + max(self._account.records[self.topic_id, partition])

    def begin(self, count: int) -> None:
        """Send a few records in a transaction and leave it open."""
        assert self._transaction is None
        producer = self._producer({"transactional.id": unique("soak"), "transaction.timeout.ms": 120_000})
        producer.init_transactions(SECONDS)
        producer.begin_transaction()
        sent: list[Sent] = []
        self._transaction = (producer, sent)
        for value in some_lines(self._chance, count):
            self._send(producer, value, self._chance.randrange(self.partitions), sent)
        self._flush(producer)

    def end(self, *, commit: bool) -> None:
        """Commit or abort the open transaction, if there is one."""
        if self._transaction is None:
            return
        producer, sent = self._transaction
        if commit:
            producer.commit_transaction(SECONDS)
        else:
            producer.abort_transaction(SECONDS)
        for record in sent:
            record.committed = commit or self._isolation == "read_uncommitted"
        self._transaction = None

    @property
    def open(self) -> bool:
        """Whether a transaction is open."""
        return self._transaction is not None

    def settle(self) -> None:
        """Wait until the broker has all of it, and find out where."""
        self._flush(self._plain)
        if self._unplaced:
            self._place()

    def _place(self) -> None:
        """Enter records whose offset no acknowledgement told: a reader sees each, and the account has it not."""
        unknown = sorted(
            (number, offset, value)
            for (number, offset), value in self.held().items()
            if offset not in self._account.records.get((self.topic_id, number), {})
        )
        unseen = []
        for number, sent in self._unplaced:
            found = next((one for one in unknown if one[0] == number and one[2] == sent.value), None)
            if found is None:
                # What is behind an open transaction, or in one that was aborted, no reader sees.
                assert self.open or not sent.committed, f"{sent} was acknowledged and is not there"
                unseen.append((number, sent))
                continue
            unknown.remove(found)
            self._account.records.setdefault((self.topic_id, number), {})[found[1]] = sent
        self._unplaced = unseen

    def _flush(self, producer: Producer) -> None:
        assert producer.flush(2 * SECONDS) == 0, "the broker did not take everything"
        self._check()

    def _check(self) -> None:
        assert not self._failed, f"the account is in doubt: {self._failed[0]}"

    def delete_below(self, partition: int, offset: int) -> None:
        """Delete a partition's records below an offset, as retention does."""
        self.settle()
        key = (self.topic_id, partition)
        self._account.deleted[key] = max(offset, self._account.deleted.get(key, 0))
        topics.delete_records(self._broker, self.topic, {partition: offset})

    def recreate(self, partitions: int) -> None:
        """Delete the topic and make another one of its name; the open transaction is committed before."""
        self.end(commit=True)
        self.settle()
        topics.recreate_topic(self._broker, self.topic, partitions)
        self._unplaced.clear()
        self._meet()

    def grow(self) -> None:
        """Add a partition."""
        self.settle()
        topics.add_partitions(self._broker, self.topic, self.partitions + 1)
        self.partitions += 1
        self._plain = self._producer({})

    def held(self) -> dict[tuple[int, int], bytes]:
        """Return what a reader of the topic sees now, by partition and offset."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._broker.kafka,
                "group.id": unique("soak"),
                "isolation.level": self._isolation,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        found: dict[tuple[int, int], bytes] = {}
        waiting = set(range(self.partitions))
        deadline = time.monotonic() + 4 * SECONDS
        try:
            consumer.assign(
                [
                    TopicPartition(
                        self.topic, n, consumer.get_watermark_offsets(TopicPartition(self.topic, n), SECONDS)[0]
                    )
                    for n in waiting
                ]
            )
            while waiting:
                assert time.monotonic() < deadline, f"partitions {waiting} of {self.topic} have no end"
                for message in consumer.consume(10_000, 0.2):
                    error, number, offset = message.error(), message.partition(), message.offset()
                    assert number is not None
                    assert offset is not None
                    if error is None:
                        found[number, offset] = message.value() or b""
                    else:
                        assert error.code() == KafkaError._PARTITION_EOF, error  # noqa: SLF001
                        waiting.discard(number)
        finally:
            consumer.close()
        return found


class FolderFeed:
    """Lands files in one folder and changes them.

    Args:
        storage: Where the folder is.
        root: Its path.
        glob: Which files the stream takes; others are not landed.
        hdfs: The HDFS, for what only that can do.
        chance: Decides.
        account: What was landed.
    """

    def __init__(
        self,
        storage: Storage,
        root: str,
        glob: str,
        hdfs: HdfsAddress,
        chance: random.Random,
        account: FolderAccount,
    ) -> None:
        self._storage = storage
        self._root = root
        self._hdfs = hdfs
        self._chance = chance
        self._account = account
        self._files = 0
        self._folders, self._suffix = self._names(glob)
        self.packs = is_candidate(f"{self._folders[0]}1{self._suffix}.gz", glob)
        """Whether the stream takes compressed files."""

    def _names(self, glob: str) -> tuple[list[str], str]:
        """Return the folders and the suffix that the stream takes."""
        for suffix in _PLAIN:
            folders = [folder for folder in ("", "0/", "1/") if is_candidate(f"{folder}1{suffix}", glob)]
            if folders:
                return folders, suffix
        raise AssertionError(f"a soak knows no name that {glob!r} takes; use **/* or a usual suffix")

    @property
    def on_hdfs(self) -> bool:
        """Whether the folder is on HDFS."""
        return isinstance(self._storage, HdfsStorage)

    def new_path(self, suffix: str = "") -> str:
        """Return a path nobody has used, in one of a few folders."""
        self._files += 1
        name = self._chance.choice(_ODD_NAMES).format(self._files)
        return f"{self._root}/{self._chance.choice(self._folders)}{name}{self._suffix}{suffix}"

    def give(self, count: int) -> str:
        """Land a file of so many lines, plain or compressed, and return its path."""
        lines = some_lines(self._chance, count)
        packed = self.packs and self._chance.random() < 0.2
        path = self.new_path(".gz" if packed else "")
        content = text_of(lines)
        self._storage.write_durably(path, [gzip.compress(content) if packed else content])
        self._landed(self._storage.stat(path), lines)
        return path

    def give_corrupt(self) -> str:
        """Land a compressed file that breaks off."""
        path = self.new_path(".gz")
        self._storage.write_durably(path, [gzip.compress(text_of(some_lines(self._chance, 50)))[:-9]])
        self._landed(self._storage.stat(path), None)
        return path

    def give_late(self) -> Callable[[], str]:
        """Write a file under a hidden name, and return what renames it."""
        lines = some_lines(self._chance, 10)
        path = self.new_path()
        rename = files.late_rename(self._storage, path, text_of(lines))

        def appear() -> str:
            self._landed(rename(), lines)
            return path

        return appear

    def give_slowly(self) -> tuple[Callable[[], None], Callable[[], str]]:
        """Begin a file under its final name on HDFS; return what writes a piece more of it, and what closes it."""
        path = self.new_path()
        # Of many blocks: the full ones are there for every reader.
        writer = files.SlowWriter(self._hdfs, path, block_size=1 << 20)
        lines: list[bytes] = []

        def write() -> None:
            more = some_lines(self._chance, 20)
            # Pieces that end with a block, and others.
            if self._chance.random() < 0.5:
                length = len(text_of([*lines, *more]))
                more.append(b"x" * ((1 << 20) - 1 - length % (1 << 20)))
            writer.write(text_of(more))
            lines.extend(more)

        def finish() -> str:
            self._landed(writer.finish(), lines)
            return path

        write()
        return write, finish

    def rewrite(self, path: str, *, same: str) -> None:
        """Replace a plain file by other content of the same ``length`` or ``mtime``, or by whatever content."""
        old = self._account.latest[path]
        length = old[0]
        if same == "length":
            # One line of that length, its end included.
            lines = [bytes(self._chance.choices(b"abc ", k=length - 1))]
        else:
            lines = some_lines(self._chance, 5)
            if len(text_of(lines)) == length:
                lines.append(b"more")
        content = text_of(lines)
        if path.endswith(".gz"):
            content = gzip.compress(content)
        self._landed(files.rewrite(self._storage, path, content, same_mtime=same == "mtime"), lines)

    def append(self, path: str) -> None:
        """Append lines to a plain file."""
        before = self._account.versions[path][self._account.latest[path]]
        assert before is not None
        lines = some_lines(self._chance, 3)
        self._landed(files.append(self._storage, path, text_of(lines)), [*before, *lines])

    def delete(self, path: str) -> None:
        """Delete a file."""
        self._account.deleted.add(path)
        self._storage.delete(path)

    def some_file(self) -> str | None:
        """Return a plain file with something in it, if there is one: as likely an old one as one of the newest."""
        known = [
            path
            for path, (length, _) in self._account.latest.items()
            if length > 1 and not path.endswith(".gz") and path not in self._account.deleted
        ]
        newest = self._chance.random() < 0.5
        return self._chance.choice(known[-3:] if newest else known) if known else None

    def _landed(self, found: FileInfo, lines: Sequence[bytes] | None) -> None:
        self._account.landed(found.path, (found.length, found.mtime_ms), lines)

    def held(self) -> dict[str, bytes]:
        """Return the content of every file there is, decompressed; unreadable ones empty."""
        found: dict[str, bytes] = {}
        listing = self._storage.list_files(self._root)
        for file in listing:
            content = b"".join(self._storage.read_range(file.path, 0, file.length))
            readable = self._account.versions.get(file.path, {}).get((file.length, file.mtime_ms)) is not None
            found[file.path] = gzip.decompress(content) if file.path.endswith(".gz") and readable else content
        return found


def text_of(lines: Sequence[bytes]) -> bytes:
    """Return lines as a file's content."""
    return b"".join(line + b"\n" for line in lines)

"""A consumer group that shows the table's positions to the usual lag tools. A mirror: nothing ever reads it back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from wordtide.config import Stream
from wordtide.core.model import Committed
from wordtide.core.problems import SourceUnavailable, WordtideError
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.plan import TopicIdentity
from wordtide.sources.kafka.source import connect, explain
from wordtide.table.commit import Snapshot, WordCounts
from wordtide.table.ledger import Ledger

INTERVAL_SECONDS = 2.0
"""Between two commits to the group; lag tools look every ten seconds or more."""
CLOSE_SECONDS = 5.0
"""How long the end of a drain waits for the last one."""


class GroupMirror:
    """Commits a table's positions to a consumer group, in a thread of its own beside the drain.

    Each time the table is asked and not the drain: of two drains neither puts the other's positions back, and what an
    operator decided shows as well. A failure is said once and never reaches the drain.

    Args:
        stream: The stream, which has a topic.
        connection: The topic's cluster.
        table: Its table.
        group: The consumer group's name.
        warn: Told, in one line, why the group does not show the positions.
    """

    def __init__(
        self, stream: Stream, connection: KafkaConnection, table: WordCounts, group: str, warn: Callable[[str], None]
    ) -> None:
        if stream.config.kafka is None:
            raise ValueError(f"stream {stream.name} has no Kafka source")
        self._stream = stream
        self._topic = stream.config.kafka.topic
        self._connection = connection
        self._table = table
        self._group = group
        self._warn = warn
        self._said = ""
        self._admin: KafkaAdminClient | None = None
        self._cluster_id = ""
        self._due = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"mirror-{stream.name}", daemon=True)
        self._thread.start()

    def submit(self, _committed: Committed) -> None:
        """Take note that there is something new; returns at once."""
        self._due.set()

    def close(self) -> None:
        """Commit what the table holds now, waiting with a bound."""
        self._ending.set()
        self._due.set()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        try:
            ending = False
            while not ending:
                self._due.wait()
                ending = self._ending.is_set()
                self._due.clear()
                self._mirror()
                self._ending.wait(INTERVAL_SECONDS)
        finally:
            self._disconnect()

    def _mirror(self) -> None:
        try:
            self._commit()
            self._said = ""
        except (WordtideError, kafka_errors.KafkaError, OSError) as error:
            self._disconnect()
            known = error if isinstance(error, WordtideError) else explain(error, self._connection, self._topic)
            if str(known) != self._said:
                self._said = str(known)
                self._warn(f"consumer group {self._group} does not show how far {self._stream.name} is: {known}")

    def _commit(self) -> None:
        handle = self._table.open()
        if handle is None:
            return
        if self._admin is None:
            self._admin = connect(self._connection)
            self._cluster_id = str(self._admin.describe_cluster()["cluster_id"])
        described = self._admin.describe_topics([self._topic])[0]
        # A group knows topics by name only, the table by their ids: of another one it has no positions.
        identity = TopicIdentity(self._cluster_id, str(described["topic_id"]), self._topic)
        # Not a ledger: catching one up costs a fraction of a millisecond for each live file.
        position = Snapshot(handle, Ledger(""), None).position
        offsets = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(at, "", None)
            for partition in sorted(int(entry["partition_index"]) for entry in described["partitions"])
            if (at := position(identity.app_id(partition))) is not None
        }
        if not offsets:
            return
        answer = self._admin.alter_group_offsets(self._group, offsets)
        refused = {error for error in answer.values() if error is not kafka_errors.NoError}
        if refused:
            raise self._refused(refused.pop())

    def _refused(self, error: type[kafka_errors.KafkaError]) -> WordtideError:
        where = f"Kafka at {self._connection.bootstrap}"
        if issubclass(error, kafka_errors.AuthorizationError):
            return SourceUnavailable(f"{where}: not allowed to commit to it; grant READ on the group")
        if error in {kafka_errors.UnknownMemberIdError, kafka_errors.IllegalGenerationError}:
            return SourceUnavailable(f"{where}: it has members of its own; name another as kafka.group")
        return SourceUnavailable(f"{where}: it does not take the positions ({error.__name__})")

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

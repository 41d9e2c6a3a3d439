"""`wordtide produce`: a line a message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from wordtide.cli.progress import Advance, progress, told
from wordtide.core.problems import ConfigError, SourceUnavailable
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.sources.kafka.source import connect, explain
from wordtide.wiring import kafka_connection

PARTITIONS = 4
_DELIVERY_SECONDS = 30
_END_SECONDS = 1.0
"""How long a Ctrl-C waits for what was read to be taken; a broker that answers takes milliseconds."""
_TOPIC_MS = 20_000
_MAX_BYTES = 1_000_000_000
"""librdkafka's own limit: how large a message may be is for the broker to say."""


class Sender:
    """Sends values to one topic and knows which of them the broker has taken.

    Args:
        connection: The cluster.
        topic: An existing topic.
        on_taken: Called with each message the broker has taken, from the thread that sends.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, on_taken: Callable[[Message], None] | None = None
    ) -> None:
        self._topic = topic
        self._where = f"Kafka at {connection.bootstrap}"
        self._on_taken = on_taken
        self._refused: tuple[KafkaError, int] | None = None
        self.taken = 0
        self._producer = Producer(
            {
                **connection.librdkafka(),
                "client.id": "wordtide",
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "delivery.timeout.ms": _DELIVERY_SECONDS * 1000,
                "message.max.bytes": _MAX_BYTES,
                "queue.buffering.max.kbytes": 256_000,
                # Its log would come on top of the one line that a failed delivery gets.
                "log_level": 0,
            }
        )

    def send(self, value: bytes) -> None:
        """Queue a value; it leaves within milliseconds.

        Raises:
            SourceUnavailable: A message sent earlier was refused or not taken in time.
        """
        while True:
            try:
                self._producer.produce(self._topic, value, on_delivery=self._delivered)
                break
            except BufferError:
                # Full: wait for room. Bounded, because each queued message is taken, or given up, in time.
                self._producer.poll(0.2)
            except KafkaException as error:
                self._refused = (error.args[0], len(value))
            self._check()
        self.poll()

    def poll(self) -> None:
        """Take in what the broker has answered meanwhile; raises as `send` does."""
        self._producer.poll(0)
        self._check()

    def finish(self, seconds: float = _DELIVERY_SECONDS + 5) -> None:
        """Wait until everything sent is taken, at most so long.

        Raises:
            SourceUnavailable: Some message was refused or not taken in time.
        """
        left = self._producer.flush(seconds)
        self._check()
        if left:
            raise SourceUnavailable(f"{self._where}: {left} messages to {self._topic} were not taken in time")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused = self._refused or (error, len(message.value() or b""))
            return
        self.taken += 1
        if self._on_taken is not None:
            self._on_taken(message)

    def _check(self) -> None:
        if self._refused is None:
            return
        error, size = self._refused
        hint = "is the broker still up?"
        if error.code() in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}:
            hint = "raise max.message.bytes of the topic or split the line"
        raise SourceUnavailable(
            f"{self._where}: topic {self._topic} did not take a message of {size:,} bytes"
            f" ({error.str()}) after {self.taken:,} others; {hint}"
        )


def ensure_topic(connection: KafkaConnection, topic: str, partitions: int) -> tuple[int, bool]:
    """Create a topic if it is missing; return its number of partitions and whether it was created."""
    admin = connect(connection)
    try:
        there = _partitions_of(admin, topic)
        if there is not None:
            return there, False
        try:
            admin.create_topics({topic: {"num_partitions": partitions}}, timeout_ms=_TOPIC_MS, wait_for_metadata=True)
        except kafka_errors.TopicAlreadyExistsError:
            # Somebody else was quicker.
            return _partitions_of(admin, topic) or partitions, False
        return partitions, True
    except kafka_errors.InvalidTopicError as error:
        raise ConfigError(f"{topic!r} is no topic name; use up to 249 letters, digits, dots, _ and -") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise explain(error, connection, topic) from error
    finally:
        admin.close()


def _partitions_of(admin: KafkaAdminClient, topic: str) -> int | None:
    """Return how many partitions a topic has, None if there is no such topic."""
    described = admin.describe_topics([topic])[0]
    # An unknown topic is an answer with an error code and no partitions, not an exception.
    problem = kafka_errors.for_code(described["error_code"])
    if problem is kafka_errors.UnknownTopicOrPartitionError:
        return None
    if problem is not kafka_errors.NoError:
        raise problem(topic)
    return len(described["partitions"])


def lines_of(file: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield lines without their end, ``\n`` or ``\r\n``; all other bytes stay as they are."""
    for line in file:
        if line.endswith(b"\n"):
            line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        yield line


def _open(name: str) -> AbstractContextManager[Iterable[bytes]]:
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error


def check_readable(names: Iterable[str]) -> None:
    """Raise ConfigError for the first name that is no readable file, before anything is done with the others."""
    for name in names:
        path = Path(name)
        if path.is_dir():
            raise ConfigError(f"{name}: is a folder; name the files in it")
        if not path.exists():
            raise ConfigError(f"{name}: no such file")
        # Not a pipe: opening that once would end it for its writer.
        if path.is_file():
            with _open(name):
                pass


@click.command()
@click.argument("topic")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=PARTITIONS,
    show_default=True,
    help="Partitions of the topic if it has to be created.",
)
@click.pass_context
def produce(ctx: click.Context, topic: str, files: tuple[str, ...], partitions: int) -> None:
    """Send each line of FILEs, or of standard input (-), as one message to TOPIC."""
    check_readable(name for name in files if name != "-")
    connection = kafka_connection()
    there, created = ensure_topic(connection, topic, partitions)
    given = ctx.get_parameter_source("partitions") is click.core.ParameterSource.COMMANDLINE
    if given and not created and there != partitions:
        click.echo(f"wordtide: topic {topic} exists with {there} partitions; it keeps them", err=True)
    sender = Sender(connection, topic)
    try:
        with _progress(topic, files) as advance:
            for name in files or ("-",):
                with _open(name) as file:
                    for line in lines_of(told(file, advance)):
                        sender.send(line)
            sender.finish()
    except KeyboardInterrupt:
        # `tail -f | wordtide produce` ends like this: what was read is sent.
        try:
            sender.finish(_END_SECONDS)
        except SourceUnavailable as error:
            click.echo(f"wordtide: {error}", err=True)
        _report(sender, topic)
        raise
    _report(sender, topic)


def _progress(topic: str, files: Sequence[str]) -> AbstractContextManager[Advance]:
    """Return what shows how much is sent; nothing, while somebody types the lines."""
    typed = (not files or "-" in files) and sys.stdin.isatty()
    return nullcontext(lambda _more: None) if typed else progress(f"sending to {topic}", _size(files))


def _size(files: Iterable[str]) -> int | None:
    """Return the bytes of all files; None if nobody knows, as of a pipe."""
    paths = [Path(name) for name in files]
    return sum(path.stat().st_size for path in paths) if paths and all(path.is_file() for path in paths) else None


def _report(sender: Sender, topic: str) -> None:
    click.echo(f"sent {sender.taken:,} {'message' if sender.taken == 1 else 'messages'} to {topic}", err=True)

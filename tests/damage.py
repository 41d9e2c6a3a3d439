"""Batches of records in a broker's log, and what breaks them while it is down."""

from __future__ import annotations

from collections.abc import Callable

from kafka.record.util import calc_crc32c

from tests.servers import OwnBroker
from tests.support import Place, produce, topic_of
from wordtide.config import Stream

BATCHES = ("one", "two", "three", "four")
"""The word of each batch of five records."""
CODEC_AT, CRC_AT, MAGIC_AT, PAYLOAD_AT = 22, 17, 16, 61


def flip(batch: bytearray) -> None:
    """Flip one bit of a record."""
    batch[PAYLOAD_AT + 20] ^= 1


def scramble(batch: bytearray) -> None:
    """Write nonsense as compressed data, with the right checksum: as a broken producer does."""
    for at in range(PAYLOAD_AT + 8, min(PAYLOAD_AT + 40, len(batch))):
        batch[at] ^= 0x5A
    sign(batch)


def scramble_unsigned(batch: bytearray) -> None:
    """Write nonsense as compressed data, as a broken disk does."""
    for at in range(PAYLOAD_AT + 12, min(PAYLOAD_AT + 32, len(batch))):
        batch[at] ^= 0x5A


def no_codec(batch: bytearray) -> None:
    """Claim a compression that there is not."""
    batch[CODEC_AT] = (batch[CODEC_AT] & ~7) | 5
    sign(batch)


def no_magic(batch: bytearray) -> None:
    """Claim a format that there is not."""
    batch[MAGIC_AT] = 9


def sign(batch: bytearray) -> None:
    """Make the checksum right."""
    batch[CRC_AT : CRC_AT + 4] = calc_crc32c(bytes(batch[CRC_AT + 4 :])).to_bytes(4, "big")


def damage(broker: OwnBroker, topic: str, partition: int, numbers: set[int], how: Callable[[bytearray], None]) -> None:
    """Damage batches, by their number, in the log of a broker that is down."""
    (log,) = broker.data.glob(f"{topic}-{partition}/*.log")
    content = bytearray(log.read_bytes())
    at = number = 0
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at + 8 : at + 12], "big")
        if number in numbers:
            batch = content[at:end]
            how(batch)
            content[at:end] = batch
        at, number = end, number + 1
    log.write_bytes(content)


def fill(place: Place, stream: Stream, codec: str, partitions: int = 1) -> None:
    for partition in range(partitions):
        for word in BATCHES:
            # Five records are one batch, however busy the machine: a flush sends it before its time.
            config = {"compression.type": codec, "linger.ms": 2000}
            produce(place.cluster, topic_of(stream), [f"{word} " * 30 + word] * 5, partition, config=config)

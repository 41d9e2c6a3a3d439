"""gzip, bzip2 and Zstandard as streams: in bounded memory, and nothing broken passes for an end."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Generator, Iterator
from typing import Protocol

import zstandard

from wordtide.core.sniff import Compression

_OUT_BYTES = 1 << 20


class BrokenData(ValueError):
    """Bytes that are not what they should be."""


class _Decoder(Protocol):
    """One gzip member, bzip2 stream or Zstandard frame; a file may hold several."""

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        """Yield what some more bytes decode to, in bounded pieces."""
        ...

    @property
    def ended(self) -> bool:
        """Whether its end was reached, checksum included."""
        ...

    @property
    def rest(self) -> bytes:
        """Bytes fed beyond its end."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        while out := self._inner.decompress(data, _OUT_BYTES):
            yield out
            data = self._inner.unconsumed_tail

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


class _Bz2:
    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, _OUT_BYTES)
        while not self._inner.eof and not self._inner.needs_input:
            yield self._inner.decompress(b"", _OUT_BYTES)

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCKS = _OUT_BYTES >> 17
"""So many blocks of Zstandard, of 128 KiB at most, are decoded at once."""


class _Zstd:
    """Feeds a few blocks at a time: the library bounds nothing it returns, and four bytes can be a block."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._parts = _parts_of_frame()
        self._missing = next(self._parts)  # Bytes of the part that has begun.
        self._part = b""

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        view = memoryview(data)
        begin = at = parts = 0
        while at < len(view) and self._missing:
            piece = view[at : at + self._missing]
            at += len(piece)
            self._missing -= len(piece)
            self._part += piece[:_LONGEST_HEADER]
            if self._missing:
                break
            self._missing = self._parts.send(self._part)
            self._part = b""
            parts += 1
            if parts == 2 * _BLOCKS:
                yield self._inner.decompress(view[begin:at])
                begin, parts = at, 0
        if begin < len(view) and not self._inner.eof:
            yield self._inner.decompress(view[begin:])
            begin = len(view)
        self._rest = bytes(view[begin:])

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data + self._rest


_LONGEST_HEADER = 5


def _parts_of_frame() -> Generator[int, bytes, None]:
    """The parts of a Zstandard frame (RFC 8878), headers and contents by turns.

    Yields:
        How long the next part is; 0 when the frame is over, or is none that is known. It wants to be sent its first
        bytes.
    """
    head = yield _LONGEST_HEADER
    if not head.startswith(_ZSTD_MAGIC):
        yield 0
        return
    flags = head[4]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    if header := (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]:
        yield header
    last = 0
    while not last:
        head = yield 3
        block = int.from_bytes(head, "little")
        last = block & 1
        if size := 1 if block >> 1 & 3 == 1 else block >> 3:
            yield size
    if checksum:
        yield 4
    yield 0


_DECODERS: dict[Compression, tuple[type[_Decoder], int]] = {
    # With the bytes to feed at once: few, for what follows a member is copied.
    Compression.GZIP: (_Gzip, 64 << 10),
    Compression.BZ2: (_Bz2, 64 << 10),
    Compression.ZSTD: (_Zstd, 4 << 10),
}


_BROKEN = (zlib.error, OSError, EOFError, zstandard.ZstdError)


def begins(compression: Compression, head: bytes) -> bool:
    """Return whether first bytes are such that a decoder goes on."""
    try:
        for _ in _DECODERS[compression][0]().feed(head):
            pass
    except _BROKEN:
        return False
    return True


def decompressed(compression: Compression, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a compressed file holds, several members one after the other; an empty file holds nothing.

    Raises:
        BrokenData: Wrong data or checksum, cut short, or followed by something else.
    """
    make, step = _DECODERS[compression]
    decoder: _Decoder | None = None
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), step):
            data: memoryview | bytes = view[start : start + step]
            while data:
                decoder = decoder or make()
                try:
                    yield from decoder.feed(data)
                except _BROKEN as error:
                    raise BrokenData(f"not sound {compression} data ({error})") from error
                data = b""
                if decoder.ended:
                    data, decoder = decoder.rest, None
    if decoder is not None:
        raise BrokenData(f"its {compression} data is cut short")

"""gzip, bzip2 and Zstandard as streams: in bounded memory, and nothing broken passes for an end."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from wordtide.reading.sniff import Compression

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


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()

    def feed(self, data: memoryview | bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data)

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


_DECODERS: dict[Compression, tuple[type[_Decoder], int]] = {
    # With the bytes to feed at once: few, for what follows a member is copied, and zstandard sets no bound on what it
    # returns (4 KiB of its shortest blocks are 128 MB).
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

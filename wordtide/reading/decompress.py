"""gzip, bzip2 and Zstandard as streams: in bounded memory, and nothing broken passes for an end."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

from wordtide.planning.landing import Compression

_OUT_BYTES = 1 << 20
_SIGNS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
"""How what is often given a wrong suffix begins."""


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


def decompressed(compression: Compression, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a compressed file holds, several members one after the other; an empty file holds nothing.

    Raises:
        BrokenData: Wrong data or checksum, cut short, or followed by something else.
    """
    make, step = _DECODERS[compression]
    decoder: _Decoder | None = None
    begin = b""
    for piece in pieces:
        begin = begin or piece[:8]
        view = memoryview(piece)
        for start in range(0, len(view), step):
            data: memoryview | bytes = view[start : start + step]
            while data:
                decoder = decoder or make()
                try:
                    yield from decoder.feed(data)
                except (zlib.error, OSError, EOFError, zstandard.ZstdError) as error:
                    why = _diagnosis(compression, begin, error)
                    raise BrokenData(f"not sound {compression} data ({why})") from error
                data = b""
                if decoder.ended:
                    data, decoder = decoder.rest, None
    if decoder is not None:
        raise BrokenData(f"its {compression} data is cut short")


def _diagnosis(compression: Compression, begin: bytes, error: Exception) -> str:
    """Return what a file seems to be if not what its suffix says, or else what the decoder says."""
    for sign, kind in _SIGNS.items():
        if begin.startswith(sign) and kind != compression:
            return f"it begins as {kind} does; give it that suffix, or decompress it"
    return str(error)

r"""What a file or a value is by its first bytes: text, compressed, or something that is no text. Pure.

Which rule decides, the first that says something:

1. A signature. One that holds bytes no text holds decides alone. One that a text may begin with (``PAR1``, ``ORC``,
   ``Obj\x01`` …) counts only if a byte that no text holds follows within `_NEAR` bytes: ``ORCHIDS ARE`` is text.
2. The shape of the bytes: a tar header's checksum, UTF-16 and UTF-32 without a mark, EBCDIC, and at last the share of
   bytes that no text holds.
3. A name that promises a compression, where the bytes are neither that nor text. So a brotli file, which has no
   signature, is known by its suffix, and ``vendas.br`` with text in it is text. A file that is shorter than the
   signature of the compression that its name promises is taken for that, cut short.
4. All else is text; bytes of it that are no UTF-8 become U+FFFD.

Bytes that no text holds are NUL, DEL and the controls from ``\x04`` on, without backspace, white space and escape;
Hive's separators (``\x01`` to ``\x03``) and ASCII's own (``\x1c`` to ``\x1f``) do occur in texts.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum

HEAD_BYTES = 512
"""How many first bytes are looked at."""

_NEAR = 64
_ASCII = bytes({*range(0x01, 0x04), *range(0x08, 0x0E), *range(0x1B, 0x7F)})
_HIGH = bytes(range(0x80, 0x100))
_TEXTUAL = _ASCII + _HIGH


class Compression(StrEnum):
    """How a file's bytes become text."""

    PLAIN = "plain"
    GZIP = "gzip"
    BZ2 = "bz2"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class NotText:
    """Something that is not counted as it is.

    Attributes:
        what: What it seems to be, with its article.
        advice: What makes it readable.
    """

    what: str
    advice: str = "convert it to text"

    def __str__(self) -> str:
        """Return why it is not counted, and the ways on."""
        return f"it seems to be {self.what}; {self.advice}, or resolve it --as text to count it anyway"

    def within(self, outer: Compression) -> NotText:
        """Return the same inside of a compression."""
        return replace(self, what=f"{self.what} in {outer}")


Kind = Compression | NotText


@dataclass(frozen=True, slots=True)
class Signature:
    """How a format begins.

    Attributes:
        kind: What it is.
        magic: Its first bytes.
        rest: What follows them, where they alone say too little.
    """

    kind: Kind
    magic: bytes
    rest: re.Pattern[bytes] | None = None

    def fits(self, head: bytes) -> bool:
        """Return whether bytes begin so."""
        if not head.startswith(self.magic):
            return False
        size = len(self.magic)
        if self.rest is not None:
            return self.rest.match(head, size) is not None
        return not _is_ascii_text(self.magic) or holds_controls(head[size : size + _NEAR])


_UNPACK = "unpack it, or use gzip, bz2 or zstd"
_CONVERT = "convert it to UTF-8"
_ARCHIVE = "unpack it"

# What each format begins with: bytes, or bytes and what must follow them.
_FORMATS: tuple[tuple[Kind, tuple[bytes | tuple[bytes, bytes], ...]], ...] = (
    (Compression.GZIP, (b"\x1f\x8b\x08",)),
    # The byte after the first block's checksum is below 8. The other one is an empty file's.
    (Compression.BZ2, ((b"BZh", rb"[1-9](?:1AY&SY(?![ -~\s]{5})|\x17rE8P\x90)"),)),
    # With frames that decoders pass over, which may come first.
    (Compression.ZSTD, (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60)))),
    (NotText("a zip archive (or an office document, or a jar)", _ARCHIVE), (b"PK\3\4", b"PK\5\6", b"PK\7\b")),
    (NotText("an xz file", _UNPACK), (b"\xfd7zXZ\0",)),
    (NotText("a 7z archive", _ARCHIVE), (b"7z\xbc\xaf\x27\x1c",)),
    (NotText("an lz4 file", _UNPACK), (b"\x04\x22\x4d\x18", b"\x02\x21\x4c\x18", b"LZ4Block")),
    (NotText("a snappy file", _UNPACK), (b"\xff\x06\0\0sNaPpY", b"\xff\x06\0\0S2sTwO", b"\x82SNAPPY\0")),
    (NotText("an lzo file", _UNPACK), (b"\x89LZO\0\r\n\x1a\n",)),
    (NotText("an lzma file", _UNPACK), (b"\x5d\0\0", b"LZIP\1")),
    (NotText("a compress (.Z) file", _UNPACK), ((b"\x1f\x9d", rb"[\x89-\x90]"),)),
    (NotText("an lzfse file", _UNPACK), (b"bvx2", b"bvx-", b"bvxn")),
    (NotText("a rar archive", _ARCHIVE), (b"Rar!\x1a\x07",)),
    (NotText("a cabinet archive", _ARCHIVE), (b"MSCF\0\0\0\0",)),
    (NotText("an arj archive", _ARCHIVE), ((b"\x60\xea", rb".[\0-\x0a][\x1a-\x30]"),)),
    (NotText("an ar archive (or a Debian package)", _ARCHIVE), ((b"!<arch>\n", b""),)),
    (
        NotText("a cpio archive", _ARCHIVE),
        ((b"070707", rb"[0-7]{70}"), (b"07070", rb"[12][0-9A-Fa-f]{104}")),
    ),
    (NotText("an RPM package", _ARCHIVE), (b"\xed\xab\xee\xdb",)),
    (NotText("a xar archive", _ARCHIVE), (b"xar!\0",)),
    (NotText("UTF-32 text", _CONVERT), (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
    (NotText("UTF-16 text", _CONVERT), (b"\xff\xfe", b"\xfe\xff")),
    (NotText("a Parquet file"), (b"PAR1", b"PARE")),
    (NotText("an Avro file"), (b"Obj\x01",)),
    (NotText("an Avro message"), (b"\xc3\x01",)),
    (NotText("an ORC file"), (b"ORC",)),
    (NotText("an Arrow (Feather) file"), (b"ARROW1\0\0", b"FEA1", (b"\xff\xff\xff\xff", rb"..\0\0"))),
    (NotText("a Hadoop SequenceFile"), ((b"SEQ", rb"[\0\4-\6]"), (b"SEQ", rb"[\1-\3].{1,2}(?:org|com|java)\."))),
    (NotText("an RCFile"), (b"RCF\x01",)),
    (NotText("an HFile"), ((b"DATABLK", rb"[*E]"),)),
    (NotText("an HDF5 file"), (b"\x89HDF\r\n\x1a\n",)),
    (NotText("a NetCDF file"), (b"CDF\1", b"CDF\2", b"CDF\5")),
    (NotText("a NumPy array"), ((b"\x93NUMPY", rb"[\1-\3]\0"),)),
    (NotText("a Python pickle"), tuple(b"\x80" + bytes([n]) for n in range(2, 6))),
    (NotText("an SQLite database"), (b"SQLite format 3\0",)),
    (NotText("a serialized Java object"), (b"\xac\xed\0\5",)),
    (NotText("a Java class"), (b"\xca\xfe\xba\xbe",)),
    (NotText("an R data file"), (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n")),
    (NotText("an SPSS file"), (b"$FL2", b"$FL3")),
    (NotText("a MATLAB file"), ((b"MATLAB 5.0 MAT-file", b""),)),
    (NotText("a Lucene index"), (b"\x3f\xd7\x6c\x17",)),
    (NotText("a journal of systemd"), (b"LPKSHHRH",)),
    (NotText("a Windows event log"), (b"ElfFile\0",)),
    (
        NotText("a packet capture"),
        (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", (b"\n\r\r\n", rb".{4}(?:\x4d\x3c\x2b\x1a|\x1a\x2b\x3c\x4d)")),
    ),
    (NotText("a PDF"), ((b"%PDF-", rb"[12]\.\d\s*[\r\n]"),)),
    (NotText("an old office document"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    (NotText("a PNG image"), (b"\x89PNG\r\n\x1a\n",)),
    (NotText("a JPEG image"), (b"\xff\xd8\xff",)),
    (NotText("a GIF image"), (b"GIF87a", b"GIF89a")),
    (NotText("a TIFF image"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (NotText("a bitmap image"), ((b"BM", rb".{4}\0\0\0\0.{2}\0\0"),)),
    (NotText("an icon"), (b"\0\0\1\0", b"\0\0\2\0")),
    (NotText("a Photoshop image"), (b"8BPS\0",)),
    (NotText("a video or sound file"), (b"RIFF", b"RIFX", b"OggS\0", b"fLaC\0", b"ID3", b"\x1a\x45\xdf\xa3", b"FLV\1")),
    (NotText("a font"), (b"wOFF\0", b"wOF2\0", b"OTTO\0", b"\0\1\0\0\0")),
    (NotText("a program"), (b"\x7fELF", b"\0asm", *(bytes([n]) + b"\xfa\xed\xfe" for n in (0xCE, 0xCF)))),
    (NotText("a program"), ((b"MZ", rb".{58}..\0\0"),)),
    (NotText("a Java keystore"), (b"\xfe\xed\xfe\xed",)),
    (NotText("a CBOR file"), (b"\xd9\xd9\xf7",)),
)

_LATER = (
    (NotText("a video or sound file"), re.compile(rb"\0\0.{2}ftyp", re.DOTALL)),
    (NotText("an lha archive", _ARCHIVE), re.compile(rb"..-l[hz][0-9sd]-.{13}[\0-\2]", re.DOTALL)),
    (NotText("compiled Python"), re.compile(rb".[\x0b-\x0e]\r\n[\0-\3]\0\0\0", re.DOTALL)),
    (NotText("a DICOM image"), re.compile(rb".{128}DICM", re.DOTALL)),
)
"""What begins with bytes of any kind."""

_OWN = {
    "gz": Compression.GZIP,
    "gzip": Compression.GZIP,
    "bz2": Compression.BZ2,
    "zst": Compression.ZSTD,
    "zstd": Compression.ZSTD,
}
_CUT_SHORT = {
    Compression.GZIP: re.compile(rb"\x1f\x8b?"),
    Compression.BZ2: re.compile(rb"B(?:Z(?:h(?:[1-9](?:1(?:A(?:Y(?:&S?)?)?)?)?)?)?)?"),
    Compression.ZSTD: re.compile(rb"\x28(?:\xb5\x2f?)?"),
}
"""The beginnings of what is too short for a signature."""
_FOREIGN_SUFFIXES = (
    "7z ace arj br brotli bzip2 cab cpio deflate jar lha lz lz4 lzh lzma lzo lzo_deflate lzop rar s2 snappy "
    "sz tar taz tbz tbz2 tgz tlz txz tzst xz z zip zipx zpaq zz"
)
_FOREIGN = frozenset(_FOREIGN_SUFFIXES.split())


def kind_of_file(head: bytes, path: str) -> Kind:
    """Return what a file is.

    Args:
        head: Its first `HEAD_BYTES` bytes, all if it has fewer.
        path: Its path; its suffix, in any case, matters where the bytes do not decide.
    """
    kind = kind_of(head)
    # Without a dot in the name this holds a slash, which no suffix does.
    suffix = path[path.rfind(".") + 1 :].lower()
    if kind not in (Compression.PLAIN, BINARY) or (suffix not in _OWN and suffix not in _FOREIGN):
        return kind
    promised = _OWN.get(suffix)
    if promised is not None and _CUT_SHORT[promised].fullmatch(head):
        return promised
    if _is_text(head):
        return Compression.PLAIN
    if promised is not None:
        return NotText(f"neither {promised}, as its name says, nor text")
    return NotText(f"a '.{suffix}' file, as its name says, and not text", _UNPACK)


def kind_of(head: bytes) -> Kind:
    """Return what bytes are by themselves, by their first `HEAD_BYTES`."""
    for signature in _SIGNATURES.get(head[:1], ()):
        if signature.fits(head):
            return signature.kind
    if not holds_controls(head):
        return _EBCDIC if _is_ebcdic(head) else Compression.PLAIN
    for kind, begin in _LATER:
        if begin.match(head):
            return kind
    if _is_tar(head):
        return NotText("a tar archive", _ARCHIVE)
    if (unit := _unit_of(head)) > 1:
        return NotText(f"UTF-{8 * unit} text", _CONVERT)
    if _is_ebcdic(head):
        return _EBCDIC
    return BINARY if is_binary(head) else Compression.PLAIN


BINARY = NotText("binary data")
_EBCDIC = NotText("EBCDIC text", _CONVERT)


def _index() -> dict[bytes, tuple[Signature, ...]]:
    found: defaultdict[bytes, list[Signature]] = defaultdict(list)
    for kind, begins in _FORMATS:
        for begin in begins:
            magic, rest = (begin, None) if isinstance(begin, bytes) else (begin[0], re.compile(begin[1], re.DOTALL))
            found[magic[:1]].append(Signature(kind, magic, rest))
    return {first: tuple(signatures) for first, signatures in found.items()}


_SIGNATURES = _index()
"""By the first byte."""


def _is_ascii_text(some: bytes) -> bool:
    return not some.translate(None, _ASCII)


def holds_controls(some: bytes) -> bool:
    """Return whether there are bytes that no text holds."""
    return bool(some.translate(None, _TEXTUAL))


def _is_tar(head: bytes) -> bool:
    """Return whether a header of 512 bytes holds its own checksum, which counts itself as spaces."""
    stored = head[148:156].strip(b" \0")
    if len(head) < 512 or not re.fullmatch(rb"[0-7]{1,7}", stored):
        return False
    return int(stored, 8) == sum(head[:148]) + 8 * 0x20 + sum(head[156:512])


def _unit_of(head: bytes) -> int:
    """Return how many bytes each character has, if unmistakably more than one.

    The others are NUL, or in UTF-16 they say of which script the characters are.
    """
    for unit in (4, 2):
        size = len(head) // unit
        if size < 2 or (size < 4 and len(head) % unit):
            continue
        columns = [head[at : size * unit : unit] for at in range(unit)]
        for here in (0, unit - 1):
            others = [column for at, column in enumerate(columns) if at != here]
            filled = all(10 * column.count(0) >= 9 * size for column in others)
            if filled and not holds_controls(columns[here]):
                return unit
    return 2 if any(_is_utf16(head, encoding) for encoding in ("utf-16-le", "utf-16-be")) else 1


def _is_utf16(head: bytes, encoding: str) -> bool:
    """Return whether bytes are text of one script that is not Latin; East Asian ones count as one."""
    try:
        # The last character may go on.
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    letters = [char for char in text if char > "\x7f" and char.isalnum()]
    if len(text) < 2 or 2 * len(letters) < len(text) or any(not (c in "\t\n\r\ufeff" or _is_written(c)) for c in text):
        return False
    scripts = {re.split("[ -]", unicodedata.name(char, ""))[0] for char in letters}
    if not scripts <= _EAST_ASIAN:
        return len(scripts) == 1
    # Any two bytes are a Chinese character, more likely than not: a text with a flaw must not be taken for those.
    spaced = not _is_utf8(head) and any(char in " \r\n" for char in text)
    return len(text) >= 8 and (spaced or is_binary(head))


def _is_written(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) in ("Zs", "Cf")


_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO"})
"""First words of the names of their characters."""


def _is_ebcdic(head: bytes) -> bool:
    """Return whether it is text of a mainframe: its space is our @, its letters and digits are no ASCII."""
    if len(head) < 16 or b" " in head or not len(head) <= 40 * head.count(b"@"):
        return False
    return 4 * (len(head) - len(head.translate(None, _EBCDIC_LETTERS))) >= 3 * len(head)


_EBCDIC_LETTERS = bytes(
    byte
    for byte, char in enumerate(bytes(range(256)).decode("cp037"))
    if byte > 0x3F and (char.isalnum() or char == " ")
)


def is_binary(head: bytes) -> bool:
    """Return whether there are more bytes that no text holds than in a text with a flaw."""
    controls = len(head.translate(None, _TEXTUAL))
    if controls >= max(8, len(head) // 16):
        return True
    return controls >= max(4, len(head) // 32) and not _is_utf8(head)


def _is_text(head: bytes) -> bool:
    """Return whether it reads as text: as UTF-8, or in an older encoding of a Latin script."""
    if holds_controls(head):
        return False
    return _is_utf8(head) or 3 * (len(head) - len(head.translate(None, _HIGH))) <= len(head)


def _is_utf8(head: bytes) -> bool:
    try:
        # The last character may go on.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True

"""Files are known by their first bytes: what is no text is named, and text stays text whatever words it begins with."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
import zstandard

from wordtide.core.sniff import HEAD_BYTES, Compression, NotText, kind_of, kind_of_file

TABLE = pa.table({"word": ["apple", "banana"] * 100, "count": list(range(200))})
TEXT = "the quick brown fox jumps over the lazy dog, größer\n" * 40


def made(write) -> bytes:
    held = io.BytesIO()
    write(held)
    return held.getvalue()


def tarred(held, layout=tarfile.PAX_FORMAT):
    with tarfile.open(fileobj=held, mode="w", format=layout) as archive:
        info = tarfile.TarInfo("some/file.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"words"))


def zipped(held):
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.txt", "zipped\n")


def streamed(held):
    with pa.ipc.new_stream(held, TABLE.schema) as writer:
        writer.write_table(TABLE)


def database(tmp: Path) -> bytes:
    connection = sqlite3.connect(tmp / "db")
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    return (tmp / "db").read_bytes()


AVRO = (
    b'Obj\x01\x04\x14avro.codec\x08null\x16avro.schema\xa2\x02{"type":"record","name":"r","fields":[]}' + TEXT.encode()
)
NOT_TEXT = [
    ("Parquet", made(lambda held: pq.write_table(TABLE, held))),
    ("Parquet", made(lambda held: pq.write_table(TABLE.slice(0, 1), held))),
    ("ORC", made(lambda held: orc.write_table(TABLE, held))),
    ("Arrow", made(lambda held: feather.write_feather(TABLE, held))),
    ("Arrow", made(streamed)),
    ("Feather", b"FEA1\0\0\0\0\x0a\0\0\0\0\0\0\0apple"),
    ("Avro", AVRO),
    ("SequenceFile", b'SEQ\x06!org.apache.hadoop.io.LongWritable"org.apache.hadoop.io.BytesWritable\0\0\0\0\0\0'),
    ("RCFile", b"RCF\x01\x00\x00\x00\x00\x01\x1ehive.io.rcfile.column.number\x015"),
    ("zip", made(zipped)),
    ("xz", lzma.compress(TEXT.encode())),
    ("lzma", lzma.compress(TEXT.encode(), lzma.FORMAT_ALONE)),
    ("lz4", pa.compress(TEXT.encode(), "lz4", asbytes=True)),
    ("snappy", b"\xff\x06\x00\x00sNaPpY\x01\x09\x00\x00"),
    ("compress", b"\x1f\x9d\x90t\xd0\x94\x01"),
    ("7z", b"7z\xbc\xaf\x27\x1c\x00\x04"),
    ("tar", made(tarred)),
    ("tar", made(lambda held: tarred(held, tarfile.GNU_FORMAT))),
    ("tar", made(lambda held: tarred(held, tarfile.USTAR_FORMAT))),
    ("UTF-16", TEXT.encode("utf-16")),
    ("UTF-16", "\ufeff".encode("utf-16-be") + "Слова".encode("utf-16-be")),
    ("UTF-16", TEXT.encode("utf-16-le")),
    ("UTF-16", TEXT.encode("utf-16-be")),
    ("UTF-32", TEXT.encode("utf-32")),
    ("UTF-32", TEXT.encode("utf-32-be")),
    ("EBCDIC", ("THE QUICK BROWN FOX 0123 " * 20).encode("cp037")),
    ("pickle", pickle.dumps({"words": ["a", "b"]}, 4)),
    ("pickle", pickle.dumps(["a"], 2)),
    ("Java object", b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap"),
    ("Java class", b"\xca\xfe\xba\xbe\x00\x00\x00\x3d"),
    ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ("JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF"),
    ("GIF", b"GIF89a\x01\x00\x01\x00\x80\x00\x00"),
    ("bitmap", b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
    ("PDF", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"),
    ("NumPy", made(lambda held: np.save(held, np.arange(10)))),
    ("program", b"\x7fELF\x02\x01\x01"),
    ("binary", random.Random(1).randbytes(600)),
    ("binary", bytes(600)),
]


@pytest.mark.parametrize(("name", "content"), NOT_TEXT, ids=[name for name, _ in NOT_TEXT])
def test_what_is_no_text_is_named_under_any_name(name, content):
    for path in ("/l/a", "/l/a.txt", "/l/a.gz"):
        kind = kind_of_file(content[:HEAD_BYTES], path)
        assert isinstance(kind, NotText)
        assert name in kind.what or path == "/l/a.gz"
        assert "--as text" in str(kind)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "hi", "abc", "a\n", "Привет", "привет мир как дела сегодня\n", "γειά σου κόσμε\n", "مرحبا بالعالم\n",
        "שלום עולם\n", "สวัสดีชาวโลก\n", "你好世界今天天气很好我们去公园玩吧\n", "これは日本語のテキストです。\n" * 3,
        "안녕하세요 세계 여러분\n", "id;имя;город\n1;Иван;Москва\n" * 30,
    ],
)  # fmt: skip
def test_utf_16_without_a_mark_is_known_in_any_script_and_however_short(text, encoding):
    kind = kind_of_file(text.encode(encoding)[:HEAD_BYTES], "/l/a.txt")
    assert isinstance(kind, NotText)
    assert kind.what == "UTF-16 text"


@pytest.mark.parametrize(
    "content",
    [
        b"dos\r\n\x1a\x04", b"abcdefg\x04", b"a\x04b\x05c\x06d\x07e\x04f\x05g\x06h", b"word\0", b"ab\0\0",
        ("été à la plage\0" * 2).encode("latin-1"), ("дом и сад\x04" * 3).encode("koi8-r"),
        "日本語のテキスト\0".encode("shift-jis"), "日本語のテキスト\x05".encode(),
    ],
)  # fmt: skip
def test_text_with_a_flaw_is_not_taken_for_utf_16(content):
    assert kind_of_file(content, "/l/a.txt") is Compression.PLAIN


def test_a_database_is_no_text(tmp_path):
    assert "an SQLite database" in str(kind_of(database(tmp_path)[:HEAD_BYTES]))


@pytest.mark.parametrize(
    "begin",
    [
        "PAR1", "PAR1 is what Parquet begins with", "ORC", "ORCHIDS AND ORCS", "Obj", "Object", "Obj\x01a\x01b", "SEQ",
        "SEQUENCE", "SEQ\x01\x02 fields", "RCF\x01", "BZh", "BZh9", "BZh91AY&SY is the magic of bzip2", "PK", "PKW",
        "BM", "BMW fährt", "MZ", "MZ and others", "GIF89a is a picture", "RIFF", "ID3 tags", "Rar!", "ARROW1",
        "%PDF is no PDF", "%PDF-1.7 is a version", "FEA1", "CDF\x01", "SQLite format 3 is a database", "07070", "LZIP",
        "7z", "]", "(", "\x1f", "\x1fa\x1eb", "\ufeffdas Wort", "`être`", "{\"a\": 1}", "%!PS-Adobe", "<?xml",
        "a\x01b\x02c", "\x1b[31mred\x1b[0m", "a\0b", "page\x0c", "@@@", "user@example.org", "日本語", "€ \x02",
    ],
)  # fmt: skip
def test_text_that_begins_like_something_else_is_text(begin):
    for text in (begin, f"{begin}\n", f"{begin} {TEXT}", f"{begin}\n{TEXT}"):
        assert kind_of_file(text.encode()[:HEAD_BYTES], "/l/a") is Compression.PLAIN


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("begin", ["BMW fährt", "PAR1 größer", "été", "ÿ", "Ça va"])
def test_text_of_an_older_encoding_is_text(begin, encoding):
    for name in ("/l/a", "/l/vendas.br"):
        assert kind_of_file(f"{begin} {TEXT}".encode(encoding)[:HEAD_BYTES], name) is Compression.PLAIN


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "shift_jis", "euc-jp", "gbk", "iso2022_jp"])
def test_text_of_another_script_is_text(encoding):
    text = "слова и слова, ещё слова\n" if encoding in {"cp1251", "koi8-r"} else "日本語の言葉\n"
    assert kind_of_file((text * 40).encode(encoding, "ignore")[:HEAD_BYTES], "/l/a.txt") is Compression.PLAIN


def test_a_character_that_the_head_cuts_off_makes_no_text_binary():
    text = ("a" * (HEAD_BYTES - 1) + "ö" * 400).encode()
    assert kind_of_file(text[:HEAD_BYTES], "/l/a.br") is Compression.PLAIN


@pytest.mark.parametrize(
    ("packed", "compression"),
    [
        (gzip.compress(TEXT.encode()), Compression.GZIP),
        (gzip.compress(b""), Compression.GZIP),
        (bz2.compress(TEXT.encode()), Compression.BZ2),
        (bz2.compress(b""), Compression.BZ2),
        (bz2.compress(b"a", 1), Compression.BZ2),
        (zstandard.compress(TEXT.encode()), Compression.ZSTD),
        (b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstandard.compress(b"a"), Compression.ZSTD),
    ],
)
@pytest.mark.parametrize("path", ["/l/a", "/l/a.txt", "/l/a.xz", "/l/a.tar.gz"])
def test_compressed_files_are_known_whatever_their_names(packed, compression, path):
    assert kind_of_file(packed[:HEAD_BYTES], path) is compression


@pytest.mark.parametrize(
    ("head", "path", "kind"),
    [
        (b"\x1f", "/l/a.gz", Compression.GZIP),
        (b"BZh91A", "/l/a.BZ2", Compression.BZ2),
        (b"\x28\xb5", "/l/a.zstd", Compression.ZSTD),
        (b"BZh91A", "/l/a.txt", Compression.PLAIN),
        (b"", "/l/a.gz", Compression.PLAIN),
        (b"B", "/l/bz2", Compression.PLAIN),
    ],
)
def test_where_the_bytes_are_too_few_the_name_decides(head, path, kind):
    assert kind_of_file(head, path) is kind


@pytest.mark.parametrize("size", [20, 60, 512])
def test_what_has_no_signature_is_known_by_its_suffix(size):
    noise = random.Random(size).randbytes(size)
    assert "a '.br' file, as its name says" in str(kind_of_file(noise, "/l/a.BR"))
    assert "neither gzip, as its name says" in str(kind_of_file(noise, "/l/a.gz"))

"""What file systems know files by: doubts, never proofs."""

import os

from wordtide.storage import LocalStorage, fileid


def id_of(path) -> int:
    return LocalStorage().stat(str(path)).file_id


def test_a_replaced_file_and_a_changed_mode_raise_doubt_and_reading_does_not(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    known = id_of(path)
    path.read_bytes()
    assert not fileid.raises_doubt(known, id_of(path))
    path.chmod(0o600)
    assert fileid.raises_doubt(known, id_of(path))
    other = tmp_path / "b"
    other.write_bytes(b"x")
    os.replace(other, path)
    assert fileid.raises_doubt(known, id_of(path))


def test_a_listing_shows_the_same_ids_as_a_stat(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    (listed,) = LocalStorage().list_files(str(tmp_path))
    assert listed.file_id == id_of(path) != fileid.UNKNOWN


def test_links_are_one_node_and_a_rename_keeps_it(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    known = id_of(path)
    os.link(path, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(path)
    path.rename(tmp_path / "moved")
    assert all(fileid.same_node(known, id_of(tmp_path / name)) for name in ("hard", "moved"))
    (tmp_path / "other").write_bytes(b"x")
    assert not fileid.same_node(known, id_of(tmp_path / "other"))


def test_a_device_that_is_numbered_anew_raises_no_doubt():
    known, now = fileid.from_text("1:7@9"), fileid.from_text("2:7@9")
    assert known != now
    assert not fileid.raises_doubt(known, now)
    assert not fileid.same_node(known, now)


def test_an_unknown_id_raises_none_either():
    known = fileid.from_text("1:7@9")
    assert not fileid.raises_doubt(known, fileid.UNKNOWN)
    assert not fileid.raises_doubt(fileid.UNKNOWN, known)
    assert not fileid.same_node(fileid.UNKNOWN, fileid.UNKNOWN)


def test_the_ledgers_text_gives_an_id_back(tmp_path):
    for known in (fileid.file_id(os.stat(tmp_path)), 16391, fileid.UNKNOWN):
        assert fileid.from_text(fileid.to_text(known)) == known
    assert fileid.from_text("of a newer:Wordtide@x") == fileid.UNKNOWN

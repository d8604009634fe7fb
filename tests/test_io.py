"""Files are written whole or not at all."""

import pytest

from graphkd.io import file_digest, write_json, write_text


def test_text_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "page.html"
    write_text(path, "old, and longer")
    write_text(path, "é")
    assert path.read_text(encoding="utf-8") == "é"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"AP": 1.5})
    with pytest.raises(ValueError):
        write_json(path, {"AP": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == '{\n "AP": 1.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

"""Charset files, encoding and decoding."""

import unicodedata

import pytest

from graphkd.errors import UserError
from graphkd.text.charset import (
    Charset,
    UnknownCharacter,
    charset_of,
    count_characters,
    normalise,
    read_charset,
    write_charset,
)


def test_text_comes_back_from_its_classes():
    charset = Charset((" ", "a", "é", "Z"))
    assert charset.size == 5
    assert charset.encode("aé Z") == [2, 3, 1, 4]
    assert charset.decode([2, 0, 3, 1, 4, 0]) == "aé Z"


def test_decomposed_text_is_composed_first():
    charset = Charset((unicodedata.normalize("NFD", "é"), "e"))
    assert charset.entries == ("é", "e")
    assert charset.encode(unicodedata.normalize("NFD", "eé")) == [2, 1]


def test_a_letter_with_a_mark_is_found_before_the_letter():
    charset = Charset(("q", "q̃", "̃"))
    assert charset.encode("qq̃q") == [1, 2, 1]
    assert charset.encode("̃") == [3]
    assert charset.decode([1, 2, 1]) == "qq̃q"


def test_unknown_characters_are_named():
    charset = Charset(("a", "b"))
    assert charset.unknown("aXbYX") == "XYX"
    assert charset.covers("ab") and not charset.covers("abc")
    assert charset.keep("aXb") == "ab" and charset.keep("aXb", replacement="b") == "abb"
    with pytest.raises(UnknownCharacter, match="X"):
        charset.encode("aX")


def test_the_second_space_is_read_and_never_written():
    charset = Charset((" ", "a"), duplicate_space=True)
    assert charset.size == 4
    assert charset.names == (" ", "a", "<space 2>")
    assert charset.encode("a a") == [2, 1, 2]
    assert charset.decode([2, 3, 2]) == "a a"
    assert Charset.from_names(charset.names) == charset


def test_a_file_keeps_the_lone_space_and_unusual_line_separators(tmp_path):
    # str.splitlines would cut at U+2028 and U+0085, and strip() would lose the space.
    charset = Charset((" ", "\u2028", "\x85", "\t", "ß"), duplicate_space=True)
    write_charset(tmp_path / "c.txt", charset)
    assert read_charset(tmp_path / "c.txt") == charset


def test_bom_and_crlf_are_no_characters(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes("\ufeffa\r\n \r\nb".encode())
    assert read_charset(path).entries == ("a", " ", "b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\na\n", "2 times"),
        ("é\ne\u0301\n".encode(), "2 times"),
        (b"a\n\nb\n", "line 2: empty"),
        (b"", "empty"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, words):
    path = tmp_path / "c.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_charset(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_names_the_command(tmp_path):
    with pytest.raises(UserError, match="data charset"):
        read_charset(tmp_path / "none.txt")


def test_counting_leaves_rare_characters_out():
    texts = ["aab ", "e\u0301\n", "é"]
    assert count_characters(texts) == {"a": 2, "b": 1, " ": 1, "é": 2}
    assert charset_of(texts).entries == (" ", "a", "b", "é")
    assert charset_of(texts, least=2).entries == ("a", "é")


def test_normal_forms():
    assert normalise("ﬁe\u0301") == "ﬁé"
    assert normalise("ﬁ", norm="nfkc") == "fi"
    assert normalise("e\u0301", norm="none") == "e\u0301"
    assert normalise("ＡＢ　１ａ", half_width=True) == "AB 1a"

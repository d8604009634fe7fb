"""Finding images by name, safely, and reading the json file."""

import unicodedata

import pytest

from graphkd.data.check.document import NotCoco, read_document
from graphkd.data.check.files import Folder
from graphkd.errors import UserError


@pytest.fixture()
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (root / name).write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("x")
    return Folder(root)


@pytest.mark.parametrize("name", ["a.jpg", "sub/b.jpg", "./a.jpg", "sub/../a.jpg"])
def test_names_below_the_root_are_found(folder, name):
    path, problem = folder.find(name)
    assert path.is_file() and problem is None


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "sub/../../secret.txt", "/etc/hostname", "C:\\x.jpg", "\\\\host\\x", "..\\x"],
)
def test_names_that_leave_the_root_are_refused(folder, name):
    path, problem = folder.find(name)
    assert path is None and problem.kind == "path_outside"


@pytest.mark.parametrize(
    "name", ["c.jpg", "sub", "no/folder.jpg", "a\0.jpg", "\ud800.jpg", "x" * 999]
)
def test_what_is_not_there_is_missing(folder, name):
    path, problem = folder.find(name)
    assert path is None and problem.kind == "image_missing"
    assert problem.line().isprintable()


@pytest.mark.parametrize("name", [None, 3, "", {"a": 1}])
def test_no_name(folder, name):
    assert folder.find(name)[1].kind == "no_file_name"


def test_case_is_hinted_at(folder):
    path, problem = folder.find("A.JPG")
    assert path is None and "a.jpg is" in problem.message


def test_the_other_normal_form_is_found(folder):
    decomposed = unicodedata.normalize("NFD", "é.jpg")
    (folder.root / decomposed).write_bytes(b"x")
    path, problem = folder.find(unicodedata.normalize("NFC", "é.jpg"))
    assert path.name == decomposed and problem.kind == "name_normal_form"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"images": [\n {"id": 1', "line 2, column 10"),
        (b"[]", "top level is a list"),
        (b"3", "top level is a int"),
        (b"{}", '"images" is missing'),
        (b'{"images": [], "annotations": []}', '"categories" is missing'),
        (b'{"images": {}, "categories": []}', '"images" is not a list'),
        (b'{"images": [1], "categories": []}', '"images" is not a list'),
        ('{"images": "é"}'.encode("latin-1"), "not UTF-8 .byte 12, line 1"),
        (b"[" * 200_000, "nested too deeply|not valid json"),
        (b"9" * 5000, "not valid json"),
    ],
)
def test_what_is_no_coco_json_says_where(tmp_path, raw, message):
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    with pytest.raises(NotCoco, match=message) as caught:
        read_document(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_byte_order_mark_and_absent_annotations_are_fine(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"images": [], "categories": [], "annotations": null}')
    assert read_document(path)["annotations"] == []


def test_a_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match="no.json: no such file"):
        read_document(tmp_path / "no.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_document(tmp_path)

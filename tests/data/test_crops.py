"""Data sets of crops: label files, names, lines for training and as published, checks."""

import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from PIL import Image

from graphkd.cli import main
from graphkd.data import catalog, crops, lines
from graphkd.data.check.crops import (
    LabelRules,
    check_crops,
    documents_of,
    read_rows,
    tidy_label,
    write_rows,
)
from graphkd.data.entries import own_entries
from graphkd.errors import UserError
from graphkd.text.charset import Charset, charset_of, read_charset, write_charset
from tests.data.crop_sets import ROWS, crop_set, draw
from tests.data.fuzz import QUICK, cpu_seconds, damaged
from tests.data.line_sets import hub

CHARSET = charset_of(text for _, text in ROWS)


@pytest.fixture(autouse=True)
def names():
    yield
    for name in [name for name in DatasetCatalog.list() if name.startswith("own_")]:
        catalog.forget(name)


def rows_of(path):
    return read_rows(path, lambda problem: None)


def kinds_of(path, **options):
    return {problem.kind for problem in check_crops(path, **options).cleaned.problems}


def test_a_registered_label_file_gives_lines_as_published_and_for_training(tmp_path):
    path = crop_set(tmp_path)
    path.write_text(path.read_text().replace("né", "ne\u0301"), encoding="utf-8")
    crops.register_crops("own_a", path)
    about = MetadataCatalog.get("own_a")
    assert about.kind == "crops" and about.label_file == str(path) and about.charset_file == ""
    published = DatasetCatalog.get("own_a")
    assert published == crops.published("own_a")
    assert [line["text"] for line in published] == ["one", "two words", "ne\u0301 3"]
    assert published[1] == {
        "file_name": str(tmp_path / "book1/b.png"),
        "image_id": "book1/b.png",
        "height": 32,
        "width": 108,
        "text": "two words",
        "document": "book1",
    }
    trained = crops.training_dicts(["own_a"], CHARSET)
    assert [line["text"] for line in trained] == ["one", "two words", "né 3"]
    crops.check_scorable(["own_a"])


def test_kinds_of_data_sets_are_not_mixed_up(tmp_path):
    crops.register_crops("own_b", crop_set(tmp_path))
    with pytest.raises(UserError, match="own_b has pictures of lines, no regions"):
        catalog.training_dicts(["own_b"], filter_empty=False)
    with pytest.raises(UserError, match="own_b has no text lines"):
        lines.published("own_b")
    lines.register_lines("own_pages", hub(tmp_path))
    with pytest.raises(UserError, match="own_pages has no pictures of lines"):
        crops.published("own_pages")


def test_rows_keep_their_text_as_it_is(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("\ufeffa.png\t x\ty \r\n\r\nb.png\t\nc.png\t\u2028z\x85".encode())
    assert rows_of(path) == [("a.png", " x\ty "), ("b.png", ""), ("c.png", "\u2028z\x85")]
    write_rows(path, [*rows_of(path), ("d.png", "two\nrows")])
    assert rows_of(path)[::3] == [("a.png", " x\ty "), ("d.png", "two rows")]


def test_a_json_list_names_several_pictures_of_one_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('["a.png", "b.png"]\tword\n[c].png\tother\n', encoding="utf-8")
    assert rows_of(path) == [("a.png", "word"), ("b.png", "word"), ("[c].png", "other")]


def test_documents_are_the_first_folders_that_differ_or_follow_a_rule():
    assert documents_of(["val/x/1.jpg", "val/y/1.jpg"]) == ["x", "y"]
    assert documents_of(["val/1.jpg", "val/2.jpg"]) == [None, None]
    assert documents_of(["1.jpg", "b/2.jpg"]) == [None, "b"]
    assert documents_of(["val/001_5.jpg", "val/002_1.jpg"], r"([^/_]+)_[^/]*$") == ["001", "002"]
    with pytest.raises(UserError, match="regular expression"):
        documents_of(["a"], "(")


@pytest.mark.parametrize(
    ("text", "rules", "label", "kinds"),
    [
        ("one", {}, "one", []),
        ("ne\u0301", {}, "né", ["text_normal_form"]),
        ("", {}, None, ["text_empty"]),
        ("oXe", {}, None, ["text_unknown"]),
        ("oXe", {"unknown": "drop_char"}, "oe", ["text_unknown"]),
        ("XX", {"unknown": "drop_char"}, None, ["text_unknown", "text_empty"]),
        ("oXe", {"unknown": "replace", "replacement": "n"}, "one", ["text_unknown"]),
        ("ｏｎｅ", {"half_width": True}, "one", []),
        ("one one one one", {}, "one one one one", []),
        # 15 characters and 14 blanks between equal ones; the line has 15 frames
        ("o" * 15, {}, None, ["text_too_long"]),
        ("o" * 8, {}, "o" * 8, []),
        ("one" * 300_000, {}, None, ["text_too_long"]),
    ],
)
def test_labels_are_made_ready_for_training(text, rules, label, kinds):
    found, problems = tidy_label(text, (60, 32), CHARSET, LabelRules(**rules))
    assert found == label and [kind for kind, _ in problems] == kinds
    assert all(len(said) < 300 for _, said in problems)


def test_unknown_words_in_the_config_are_named():
    with pytest.raises(UserError, match="UNKNOWN is 'skip'; known: drop_line, drop_char, replace"):
        LabelRules(unknown="skip")
    with pytest.raises(UserError, match="NORM"):
        LabelRules(norm="nfd")


def test_a_charset_that_lacks_much_is_an_error_that_names_the_characters(tmp_path, caplog):
    crops.register_crops("own_c", crop_set(tmp_path))
    small = Charset(tuple("one tw"))
    with pytest.raises(UserError, match=r"lacks characters of 2 of 3 lines.*'r' \(U\+0072\) 1"):
        crops.training_dicts(["own_c"], small)
    with caplog.at_level(logging.INFO):
        kept = crops.training_dicts(["own_c"], small, LabelRules(unknown="drop_char"))
    assert [line["text"] for line in kept] == ["one", "two wo", "n "]
    assert "2 of 3 lines: 'r'" in caplog.text
    rules = LabelRules(unknown="replace", replacement="#")
    with pytest.raises(UserError, match="REPLACEMENT '#' is not in the charset"):
        crops.training_dicts(["own_c"], small, rules)


def test_long_lines_can_be_left_out_of_the_training_but_are_scored(tmp_path):
    crops.register_crops("own_d", crop_set(tmp_path))
    rules = LabelRules(max_width=50)
    kept = crops.training_dicts(["own_d"], CHARSET, rules)
    assert [line["text"] for line in kept] == ["one", "né 3"]
    assert len(crops.published("own_d")) == 3
    with pytest.raises(UserError, match="MAX_WIDTH"):
        crops.training_dicts(["own_d"], CHARSET, LabelRules(max_width=20))


def test_lines_beyond_the_widest_bucket_are_squeezed_and_counted(tmp_path, caplog):
    crops.register_crops("own_i", crop_set(tmp_path))
    Image.fromarray(np.zeros((10, 700), np.uint8)).save(tmp_path / "book1/b.png")
    with caplog.at_level(logging.INFO):
        assert len(crops.training_dicts(["own_i"], CHARSET)) == 3
    assert "1 of 3 lines are longer than 2048 pixels: squeezed" in caplog.text


def test_a_user_s_own_loader_is_cleaned_too(tmp_path):
    draw(tmp_path / "a.png", "one")
    line = {"file_name": str(tmp_path / "a.png"), "image_id": 0, "height": 32, "width": 36}
    loaded = [{**line, "text": text} for text in ("one", "", "X", "o" * 99)]
    DatasetCatalog.register("own_loader", lambda: loaded)
    MetadataCatalog.get("own_loader").kind = "crops"
    try:
        assert crops.training_dicts(["own_loader"], CHARSET) == loaded[:1]
        assert crops.published("own_loader") == loaded
    finally:
        DatasetCatalog.remove("own_loader")
        MetadataCatalog.remove("own_loader")


@pytest.mark.parametrize(
    ("content", "kind", "scored"),
    [
        (b"no tab here\nbook1/a.png\tone\n", "row_malformed", False),
        (b"none.png\tone\nbook1/a.png\tone\n", "image_missing", False),
        (b"../../etc/passwd\tone\nbook1/a.png\tone\n", "path_outside", False),
        (b"book1/a.png\t\nbook1/b.png\tone\n", "text_empty", True),
        (b"book1/a.png\tone\nbook1/a.png\tone\n", "same_file_twice", True),
        ("book1/a.png\tne\u0301\n".encode(), "text_normal_form", True),
        (b"book1/a.png\t" + b"x" * 1_000_000 + b"\n", "text_too_long", True),
    ],
)
def test_damage_is_named(tmp_path, content, kind, scored, capsys):
    path = crop_set(tmp_path)
    path.write_bytes(content)
    assert kinds_of(path) == {kind}
    crops.register_crops("own_e", path)
    if scored:
        published = crops.published("own_e")
        assert len({line["image_id"] for line in published}) == content.count(b"\n")
    else:
        with pytest.raises(UserError) as error:
            crops.published("own_e")
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert main(["data", "check", str(path)]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"\xff\xfea\tb\n", b"\n\n"])
def test_files_that_are_no_label_files(tmp_path, content):
    path = crop_set(tmp_path)
    path.write_bytes(content)
    assert "not_labels" in kinds_of(path)
    crops.register_crops("own_f", path)
    for use in (crops.published, lambda name: crops.training_dicts([name], CHARSET)):
        with pytest.raises(UserError):
            use("own_f")


def test_a_check_finds_turned_and_very_long_lines_and_unknown_characters(tmp_path):
    path = crop_set(tmp_path)
    Image.fromarray(np.zeros((60, 20), np.uint8)).save(tmp_path / "book1/a.png")
    Image.fromarray(np.zeros((10, 700), np.uint8)).save(tmp_path / "book1/b.png")
    assert kinds_of(path) == {"line_upright", "line_squeezed"}
    assert kinds_of(path, charset=Charset(tuple("one two words"[:3]))) >= {"text_unknown"}


def test_a_picture_in_two_splits_is_found(tmp_path):
    path = crop_set(tmp_path)
    other = crop_set(tmp_path, (("x/z.png", "other"),), name="test.tsv")
    assert kinds_of(path) == set() == kinds_of(other)
    (tmp_path / "x/z.png").write_bytes((tmp_path / "book2/c.png").read_bytes())
    (problem,) = check_crops(path).cleaned.problems
    assert problem.kind == "other_split"
    assert problem.line() == "book2/c.png: the same picture as x/z.png of test.tsv"


def test_a_repaired_copy_checks_clean(tmp_path, capsys):
    path = crop_set(tmp_path)
    path.write_bytes(path.read_bytes() + "none.png\tx\nbook1/a.png\tno\u0308\n".encode())
    before = path.read_bytes()
    assert main(["data", "check", str(path), "--fix", str(tmp_path / "fixed")]) == 1
    assert "it checks clean" in capsys.readouterr().out
    assert path.read_bytes() == before
    found = rows_of(tmp_path / "fixed" / "labels.tsv")
    assert [text for _, text in found] == ["one", "two words", "né 3", "nö"]
    assert all((tmp_path / "fixed" / name).is_file() for name, _ in found)
    assert main(["data", "check", str(tmp_path / "fixed" / "labels.tsv")]) == 0


def test_own_files_are_registered_under_a_name_and_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    path = crop_set(tmp_path / "mine")
    write_charset(tmp_path / "mine/charset.txt", CHARSET)
    words = ["data", "register", "own_g", "--crops", str(path), "--group", "([a-z])[.]png$"]
    assert main([*words, "--charset", str(tmp_path / "mine/charset.txt")]) == 0
    assert main(["data", "check", "own_g"]) == 0
    capsys.readouterr()
    assert main(["data", "list", "--json", str(tmp_path / "list.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert rows["own_g"]["pages"] == 3 and rows["own_g"]["data"] == "found"
    assert rows["lines_print_train"]["kind"] == "crops"
    catalog.forget("own_g")
    (entry,) = own_entries(tmp_path)
    catalog.register(entry)
    assert MetadataCatalog.get("own_g").charset_file == str(tmp_path / "mine/charset.txt")
    assert [line["document"] for line in crops.published("own_g")] == ["a", "b", "c"]
    (tmp_path / "bad.tsv").write_text("no tab")
    assert main(["data", "register", "own_h", "--crops", str(tmp_path / "bad.tsv")]) == 2
    assert main([*words[:4], str(path), "--lines", str(path)]) == 2


def test_the_real_sets_are_known_by_name(real_data, monkeypatch):
    catalog.unregister_all()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(real_data))
    try:
        catalog.register_all(real_data)
        if not (real_data / "lines_print").is_dir():
            pytest.skip("no lines_print")
        found = crops.published("lines_print_val")
        assert len(found) == 1229
        assert len({line["document"] for line in found}) > 5
        receipts = {line["document"] for line in crops.published("sroie_lines_val")}
        assert len(receipts) == 60
    finally:
        catalog.unregister_all()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return crop_set(tmp_path_factory.mktemp("fuzz"))


@QUICK
@given(content=damaged('\ufeffbook1/a.png\tone\r\n["book1/b.png"]\tné ß\n'.encode()))
def test_damaged_label_files_are_read_or_refused_in_a_line(fuzzed, content):
    path = fuzzed.with_name("damaged.tsv")
    path.write_bytes(content)
    with cpu_seconds(2):
        report = check_crops(path, charset=CHARSET, decode=False)
    for problem in report.cleaned.problems:
        assert "\n" not in problem.line() and len(problem.line()) < 1000
    assert all("\n" not in crop.entry["text"] for crop in report.cleaned.pages)


@QUICK
@given(content=damaged(" \na\né\n<space 2>\n".encode()))
def test_damaged_charsets_are_read_or_refused_in_a_line(fuzzed, content):
    path = fuzzed.with_name("damaged.txt")
    path.write_bytes(content)
    try:
        charset = read_charset(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    for entry in charset.entries:
        assert charset.decode(charset.encode(entry)) == entry

"""Data sets of text lines: hub files, names, pages for training and as published, checks."""

import json
import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from graphkd.cli import main
from graphkd.data import catalog, lines
from graphkd.data.check.lines import (
    check_lines,
    clean_lines,
    tidy,
    write_fixed_lines,
    write_hub,
)
from graphkd.data.entries import own_entries
from graphkd.errors import UserError
from graphkd.text.polygons import signed_area
from tests.data.line_sets import corners, drawn_page, hub


@pytest.fixture(autouse=True)
def names():
    yield
    for name in [name for name in DatasetCatalog.list() if name.startswith("own_")]:
        catalog.forget(name)


def test_a_registered_hub_file_gives_pages_as_published_and_for_training(tmp_path):
    def change(records):
        records[0]["document"] = "book"
        records[0]["lines"][0]["polygon"] = corners((-30, 20, 180, 40))[::-1]

    lines.register_lines("own_a", hub(tmp_path, change=change))
    about = MetadataCatalog.get("own_a")
    assert about.kind == "lines" and about.hub_file == str(tmp_path / "train.jsonl")
    published = DatasetCatalog.get("own_a")
    assert published == lines.published("own_a")
    assert published[0]["lines"][0]["polygon"] == corners((-30, 20, 180, 40))[::-1]
    assert published[0]["document"] == "book" and "document" not in published[1]
    assert published[0]["file_name"] == str(tmp_path / "images/0.png")
    assert (published[0]["height"], published[0]["width"]) == (240, 320)
    trained = lines.training_dicts(["own_a"])
    polygon = np.array(trained[0]["lines"][0]["polygon"])
    assert polygon.min() >= 0 and signed_area(polygon) == pytest.approx(180 * 20)
    assert trained[1]["lines"] == published[1]["lines"]
    lines.check_scorable(["own_a"])


def test_a_user_s_own_loader_is_cleaned_too(tmp_path):
    page = drawn_page(tmp_path / "a.png", boxes=[(-30, 20, 180, 40), (400, 0, 500, 20)])
    DatasetCatalog.register("own_loader", lambda: [page])
    MetadataCatalog.get("own_loader").kind = "lines"
    try:
        (trained,) = lines.training_dicts(["own_loader"])
        assert len(trained["lines"]) == 1 and lines.published("own_loader") == [page]
    finally:
        DatasetCatalog.remove("own_loader")
        MetadataCatalog.remove("own_loader")


def test_lines_and_regions_are_not_mixed_up(tmp_path):
    lines.register_lines("own_b", hub(tmp_path))
    with pytest.raises(UserError, match="own_b has text lines, no regions"):
        catalog.training_dicts(["own_b"], filter_empty=False)
    with pytest.raises(UserError, match="no regions"):
        catalog.check_scorable(["own_b"])
    with pytest.raises(UserError, match="pages_tiny_train has no text lines"):
        lines.published("pages_tiny_train")


SQUARE = [[0, 0], [40, 0], [40, 40], [0, 40]]


@pytest.mark.parametrize(
    ("points", "kinds", "area"),
    [
        (SQUARE, [], 1600),
        ([[0, 0], [40, 0], [0, 40]], [], 800),  # three points are a polygon
        (SQUARE[::-1], ["line_orientation"], 1600),
        ([[0, 0], [40, 40], [40, 0], [0, 40]], ["line_crossing"], 1600),  # corners in wrong order
        ([[-20, 0], [40, 0], [40, 40], [-20, 40]], ["line_clipped"], 1600),
        ([[-0.5, 0], [40, 0], [40, 40], [-0.5, 40]], [], 1600),  # rounding
        ([[500, 0], [600, 0], [600, 9]], ["line_outside"], None),
        ([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]], ["line_too_small"], None),
        ([[0, 0], [10, 10], [20, 20]], ["line_too_small"], None),
        ([[5, 5], [5, 5], [5, 5], [5, 5]], ["line_too_small"], None),
    ],
)
def test_a_polygon_is_made_ready_for_training(points, kinds, area):
    found, problems = tidy(np.array(points, float), (100, 100))
    assert [kind for kind, _ in problems] == kinds
    assert (found is None) == (area is None)
    if area is not None:
        assert signed_area(found) == pytest.approx(area)


def test_the_larger_loop_of_a_crossing_outline_stays():
    eight = np.array([[0, 0], [30, 0], [30, 20], [20, 20], [20, -5], [10, -5], [10, 20], [0, 20]])
    found, problems = tidy(eight.astype(float) + 10, (100, 100))
    assert problems[0][0] == "line_crossing"
    assert 150 < signed_area(found) < 500


def kinds_of(path):
    return {problem.kind for problem in check_lines(path).cleaned.problems}


def polygon(value):
    return lambda records: records[0]["lines"][0].update(polygon=value)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (polygon([[0, 0], [float("nan"), 1], [2, 2]]), "line_not_finite"),
        (polygon([[0, 0], [float("inf"), 1], [2, 2]]), "line_not_finite"),
        (polygon([[0, 0], [1e300, 1], [2, 2]]), "line_malformed"),
        (polygon([[0, 0], [10**400, 1], [2, 2]]), "line_malformed"),
        (polygon([[0, 0], ["3", 1], [2, 2]]), "line_malformed"),
        (polygon([[0, 0], [True, 1], [2, 2]]), "line_malformed"),
        (polygon([[0, 0], [None, 1], [2, 2]]), "line_malformed"),
        (polygon([[0, 0], [1, 1]]), "line_malformed"),
        (polygon([0, 0, 5, 0, 5, 5]), "line_malformed"),
        (polygon(None), "line_malformed"),
        (polygon({"x": 1}), "line_malformed"),
        (polygon([[i % 300, i % 200] for i in range(1_000_000)]), "line_malformed"),
        (lambda r: r[0].update(path="images/none.png"), "image_missing"),
        (lambda r: r[0].update(path="../../etc/passwd"), "path_outside"),
        (lambda r: r[0].update(path=None), "no_file_name"),
        (lambda r: r[0].update(path=["a"]), "no_file_name"),
        (lambda r: r[0].update(width=400), "size_unclear"),
        (lambda r: r[1].update(path="images/0.png"), "duplicate_image_id"),
        (lambda r: r[0].update(lines=None), "not_hub"),
        (lambda r: r[0].update(lines=[3]), "not_hub"),
    ],
)
def test_damage_is_named_and_cannot_be_scored(tmp_path, change, kind, capsys):
    path = hub(tmp_path, change=change)
    assert kind in kinds_of(path)
    lines.register_lines("own_c", path)
    with pytest.raises(UserError) as error:
        lines.published("own_c")
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    assert main(["data", "check", str(path)]) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe{", b"[" * 200_000, b"{} x", b"3", b'"a"', b'{"a": 1}', b"9" * 5000],
    ids=range(8),
)
def test_files_that_are_no_hub_files(tmp_path, content, capsys):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert kinds_of(path) & {"not_hub", "no_images"}
    assert main(["data", "check", str(path)]) == 1
    lines.register_lines("own_d", path)
    with pytest.raises(UserError):
        lines.training_dicts(["own_d"])


def test_sets_without_anything_to_learn(tmp_path):
    path = hub(tmp_path, ignore=(0, 1))
    assert "all_ignored" in kinds_of(path)
    lines.register_lines("own_e", path)
    for use in (lines.published, lambda name: lines.training_dicts([name])):
        with pytest.raises(UserError, match="all 4 lines are marked `ignore`"):
            use("own_e")
    small = hub(tmp_path / "small", boxes=[(0, 0, 50, 5), (0, 9, 50, 15), (0, 60, 50, 90)])
    assert kinds_of(small) == {"most_too_small"}
    assert kinds_of(hub(tmp_path / "empty", boxes=[])) == {"no_annotations"}


def test_a_size_that_is_missing_is_that_of_the_picture(tmp_path):
    path = hub(tmp_path, change=lambda records: records[0].pop("width"))
    assert kinds_of(path) == {"size_absent"}
    assert clean_lines(path).pages[0].entry["width"] == 320


def test_a_turned_photo_is_read_upright(tmp_path):
    from PIL import Image

    path = hub(tmp_path, pages=1)
    picture = Image.open(tmp_path / "images" / "0.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "images" / "0.png", exif=exif)
    report = check_lines(path)
    assert report.clean and report.cleaned.pages[0].entry["width"] == 320


def test_a_repaired_copy_checks_clean(tmp_path, capsys):
    def change(records):
        records[0]["lines"][0]["polygon"] = [[-20, 0], [40, 0], [40, 40], [-20, 40]]
        records[0]["lines"][1]["polygon"] = [[0, 0], [float("nan"), 1], [2, 2]]
        records[1]["path"] = "images/none.png"

    path = hub(tmp_path, change=change)
    before = path.read_bytes()
    assert main(["data", "check", str(path), "--fix", str(tmp_path / "fixed")]) == 1
    assert "it checks clean" in capsys.readouterr().out
    assert path.read_bytes() == before
    (record,) = map(json.loads, (tmp_path / "fixed" / "lines.jsonl").read_text().splitlines())
    assert record["path"] == "images/0.png" and len(record["lines"]) == 1
    assert record["lines"][0]["text"] == "line 0"
    assert main(["data", "check", str(tmp_path / "fixed" / "lines.jsonl")]) == 0
    with pytest.raises(UserError, match="cannot be repaired"):
        write_fixed_lines(clean_lines(hub(tmp_path / "x", ignore=(0, 1))), tmp_path / "no")


def test_what_was_changed_for_training_is_counted(tmp_path, caplog):
    box = [[-20, 0], [40, 0], [40, 40], [-20, 40]]
    path = hub(tmp_path, change=lambda r: [line.update(polygon=box) for line in r[0]["lines"]])
    lines.register_lines("own_f", path)
    with caplog.at_level(logging.WARNING):
        lines.training_dicts(["own_f"])
    assert caplog.text.count("reaches 20 pixels over the page") == 2


def test_own_files_are_registered_under_a_name_and_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    path = hub(tmp_path / "mine")
    assert main(["data", "register", "own_g", "--lines", str(path)]) == 0
    assert main(["data", "check", "own_g"]) == 0
    capsys.readouterr()
    assert main(["data", "list", "--json", str(tmp_path / "list.json")]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert rows["own_g"]["pages"] == 2 and rows["own_g"]["data"] == "found"
    assert rows["page_lines_train"]["data"] == "missing"
    catalog.forget("own_g")
    (entry,) = own_entries(tmp_path)
    catalog.register(entry)
    assert len(lines.published("own_g")) == 2
    (tmp_path / "bad.jsonl").write_text("{")
    assert main(["data", "register", "own_h", "--lines", str(tmp_path / "bad.jsonl")]) == 2
    assert main(["data", "register", "own_h"]) == 2


def test_a_written_hub_file_keeps_odd_texts(tmp_path):
    page = drawn_page(tmp_path / "images" / "a.png", boxes=[(0, 0, 50, 20)])
    page["lines"][0]["text"] = 'a, "b"\n\u2028\ud800 ###'
    record = {"path": "images/a.png", "width": 320, "height": 240, "lines": page["lines"]}
    write_hub(tmp_path / "a.jsonl", [record])
    (found,) = clean_lines(tmp_path / "a.jsonl").pages
    assert found.annotations[0]["text"].startswith('a, "b"\n\u2028')
    assert check_lines(tmp_path / "a.jsonl").clean

"""Cleaning, reporting and repairing whole data sets."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from graphkd.data.check.clean import clean
from graphkd.data.check.document import read_document
from graphkd.data.check.problems import KINDS
from graphkd.data.check.report import check, write_fixed
from graphkd.data.images import read_page
from graphkd.errors import UserError
from tests.data.sets import document, page, write_set


def kinds(report):
    return {problem.kind for problem in report.cleaned.problems}


def test_a_clean_set_is_clean(tmp_path):
    report = check(*write_set(tmp_path))
    assert report.clean and report.cleaned.problems == []
    assert report.to_dict()["usable_boxes"] == 3


def test_cleaning_keeps_a_clean_document(tmp_path):
    json_file, images = write_set(tmp_path)
    cleaned = clean(read_document(json_file), images).document()
    original = document()
    for box in original["annotations"]:
        box["area"] = box["bbox"][2] * box["bbox"][3]
    assert cleaned == original


def test_extra_keys_of_boxes_and_images_survive(tmp_path):
    content = document(info={"version": "1"})
    content["images"][0]["doc_category"] = "law"
    content["annotations"][0]["precedence"] = 2
    json_file, images = write_set(tmp_path, content)
    kept = clean(read_document(json_file), images).document()
    assert kept["info"] == {"version": "1"}
    assert kept["images"][0]["doc_category"] == "law"
    assert kept["annotations"][0]["precedence"] == 2


def test_a_copy_is_legal_json_whatever_stands_in_other_fields(tmp_path):
    content = document(info={"note": "\ud800", "year": math.inf})
    content["images"][0]["dpi"] = math.nan
    content["annotations"][0]["scores"] = [math.nan, 0.5]
    report = check(*write_set(tmp_path / "in", content))
    assert write_fixed(report.cleaned, tmp_path / "out") == []
    written = json.loads((tmp_path / "out/annotations.json").read_bytes().decode("utf-8"))
    assert written["info"] == {"note": "\ud800", "year": None}
    assert written["images"][0]["dpi"] is None
    assert written["annotations"][0]["scores"] == [None, 0.5]


@pytest.mark.parametrize("mark", [1, True, "1"])
def test_a_crowd_box_is_one_however_it_is_marked(tmp_path, mark):
    content = document()
    content["annotations"][0]["iscrowd"] = mark
    report = check(*write_set(tmp_path, content))
    assert kinds(report) == {"crowd"}
    assert report.cleaned.pages[0].annotations[0]["iscrowd"] == 1


def test_findings_name_file_and_annotation(tmp_path):
    content = document()
    content["annotations"][1]["bbox"] = [1, 2, 0, 4]
    report = check(*write_set(tmp_path, content))
    (problem,) = report.cleaned.problems
    assert (problem.file, problem.image_id, problem.annotation_id) == ("a.jpg", 1, 2)
    assert problem.line().startswith("a.jpg, annotation 2: bbox")
    assert json.loads(json.dumps(report.to_dict()))["problems"][0]["kind"] == "box_degenerate"


def test_classes_are_compared_with_the_registered_ones(tmp_path):
    paths = write_set(tmp_path)
    assert check(*paths, classes=["figure", "text"]).clean
    assert "wrong_classes" in kinds(check(*paths, classes=["text", "table"]))
    assert check(*paths, classes=["text", "figure"], category_ids=[1, 2]).clean
    for ids in ([0, 1], [2, 1]):
        assert "wrong_classes" in kinds(check(*paths, classes=["text", "figure"], category_ids=ids))


def test_fractions_are_scaled_even_where_the_sizes_are_right(tmp_path):
    content = document()
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x / 60, y / 80, width / 60, height / 80]
    report = check(*write_set(tmp_path, content))
    assert kinds(report) == {"normalised_boxes"}
    found = [a["bbox"] for p in report.cleaned.pages for a in p.annotations]
    assert np.allclose(found, [[5, 6, 20, 30], [30, 40, 25, 35], [0, 0, 60, 80]])


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"categories": []}, "no_categories"),
        ({"categories": [{"id": 1}]}, "no_categories"),
        ({"categories": [{"id": 1, "name": "te\ud800xt"}]}, "no_categories"),
        ({"categories": [{"id": "x", "name": "a"}]}, "bad_id"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "duplicate_category"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "duplicate_category"),
        ({"images": [{"id": None, "file_name": "a.jpg"}]}, "bad_id"),
        ({"images": [{"id": [], "file_name": "a.jpg"}]}, "bad_id"),
        ({"images": []}, "no_images"),
    ],
)
def test_errors_refuse_the_file(tmp_path, changes, kind):
    report = check(*write_set(tmp_path, document(**changes)))
    assert KINDS[kind][0] == "error" and kind in kinds(report)
    assert not report.clean and report.cleaned.pages == []
    with pytest.raises(UserError, match="cannot be repaired"):
        write_fixed(report.cleaned, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_random_rubbish_never_crashes(tmp_path):
    rubbish = [None, True, -1, 1e400, "x", "", [], {}, [1], {"a": 1}, "1", 10**30]
    json_file, images = write_set(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = document()
        part = content[str(rng.choice(["images", "annotations", "categories"]))]
        entry = part[int(rng.integers(len(part)))]
        key = str(rng.choice([*entry, "segmentation", "area", "iscrowd", "ignore"]))
        entry[key] = rubbish[int(rng.integers(len(rubbish)))]
        report_ = clean(content, images)
        json.dumps(report_.document())
        for found in report_.pages:
            for box in found.annotations:
                assert np.isfinite(box["bbox"]).all() and box["area"] > 0


def test_a_repaired_copy_checks_clean_and_the_source_is_untouched(tmp_path):
    content = document()
    content["images"] += [
        {"id": 3, "file_name": "turned.jpg", "width": 60, "height": 80},
        {"id": 4, "file_name": "clear.png", "width": 60, "height": 80},
        {"id": 5, "file_name": "../x.jpg", "width": 60, "height": 80},
        {"id": 6, "file_name": "wrong.jpg", "width": 60, "height": 80},
        {"id": 7, "file_name": "a.jpg", "width": 60, "height": 80},
    ]
    content["annotations"] += [
        {"id": 3, "image_id": 3, "category_id": 1, "bbox": [50, 60, 99, 99]},
        {"id": 8, "image_id": 7, "category_id": 1, "bbox": [5, 6, 20, 30]},
        {"id": 9, "image_id": 7, "category_id": 1, "bbox": [1, 1, 3, 3]},
    ]
    json_file, images = write_set(tmp_path / "source", content)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(page(images / "lying.png", width=80, height=60)).save(
        images / "turned.jpg", exif=exif, quality=95
    )
    Image.new("RGBA", (60, 80), (0, 0, 0, 0)).save(images / "clear.png")
    page(images / "wrong.png").rename(images / "wrong.jpg")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "source").rglob("*.*"))}

    report = check(json_file, images)
    assert {"path_outside", "same_file_twice", "exif_rotation", "box_clipped"} <= kinds(report)
    assert write_fixed(report.cleaned, tmp_path / "out") == []

    again = check(tmp_path / "out" / "annotations.json", tmp_path / "out" / "images")
    assert kinds(again) == {"empty_page"}
    names = {p.entry["file_name"]: p for p in again.cleaned.pages}
    assert set(names) == {"a.jpg", "b.jpg", "turned.png", "clear.png", "wrong.png"}
    assert len(names["a.jpg"].annotations) == 3  # the second listing's new box was kept
    assert (tmp_path / "out/images/a.jpg").read_bytes() == (images / "a.jpg").read_bytes()
    upright = read_page(images / "turned.jpg")
    assert np.array_equal(read_page(tmp_path / "out/images/turned.png"), upright)
    assert read_page(tmp_path / "out/images/clear.png").min() == 255
    assert before == {p: p.read_bytes() for p in sorted((tmp_path / "source").rglob("*.*"))}


def test_a_full_folder_is_not_written_into(tmp_path):
    report = check(*write_set(tmp_path / "source"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="already there"):
        write_fixed(report.cleaned, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_failed_repair_leaves_nothing(tmp_path):
    json_file, images = write_set(tmp_path / "source")
    report = check(json_file, images)
    (images / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        write_fixed(report.cleaned, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]

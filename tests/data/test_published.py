"""Reading a COCO json as published: nothing is cleaned, and what cannot be scored is refused."""

import copy
import json
import logging

import pytest
from PIL import Image

from graphkd.data.coco import TRUST_VARIABLE
from graphkd.data.published import load_published, read_published
from graphkd.errors import UserError
from tests.data.sets import document, page, write_set

CLASSES = ["text", "figure"]


def odd():
    """What COCO evaluation takes, though training would clean it or leave it out."""
    content = document()
    boxes = content["annotations"]
    boxes[0]["bbox"] = [48, 6, 20, 30]  # 40 % over the edge
    boxes.append({**boxes[1], "id": 10})  # twice
    boxes.append({**boxes[1], "id": 11, "bbox": [5, 5, 1, 1]})
    boxes.append({**boxes[1], "id": 12, "bbox": [5, 5, 0, 9]})
    boxes.append({**boxes[1], "id": 13, "bbox": [500, 500, 9, 9]})
    boxes.append({**boxes[1], "id": 14, "iscrowd": 1, "area": 3.5})
    boxes.append({**boxes[1], "id": 15, "category_id": 99})
    boxes.append({**boxes[1], "id": 16, "image_id": 99})
    return content


def test_every_page_and_box_is_there_as_published(tmp_path):
    content = odd()
    content["images"].reverse()
    json_file, images = write_set(tmp_path, content)
    pages = load_published(json_file, images, CLASSES)
    assert [page["image_id"] for page in pages] == [1, 2]
    first = pages[0]["annotations"]
    wanted = [a for a in content["annotations"] if a["image_id"] == 1 and a["category_id"] != 99]
    assert [a["bbox"] for a in first] == [a["bbox"] for a in wanted]
    assert [a["id"] for a in first] == [a["id"] for a in wanted]
    assert first[-1]["iscrowd"] == 1 and first[-1]["area"] == 3.5
    assert first[0]["area"] == 600  # of the whole box, since the json states none
    assert read_published(json_file) == content


@pytest.mark.parametrize("ids", [("b", "a"), (7, 3), ("2", "10")])
def test_image_ids_may_be_strings_or_in_any_order(tmp_path, ids):
    content = document()
    for image, name in zip(content["images"], ids, strict=True):
        image["id"] = name
    for annotation in content["annotations"]:
        annotation["image_id"] = ids[annotation["image_id"] - 1]
    pages = load_published(*write_set(tmp_path, content), CLASSES)
    assert [page["image_id"] for page in pages] == sorted(ids)
    assert {len(page["annotations"]) for page in pages} == {1, 2}


def test_absent_sizes_are_those_of_the_picture(tmp_path):
    content = document()
    del content["images"][0]["width"]
    content["images"][1]["height"] = None
    pages = load_published(*write_set(tmp_path, content), CLASSES)
    assert {(page["width"], page["height"]) for page in pages} == {(60, 80)}


def changed(place, key, value):
    content = document()
    content[place][0][key] = value
    return content


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (changed("annotations", "bbox", [1, 2, float("nan"), 4]), "annotation 1: bbox"),
        (changed("annotations", "bbox", ["1", 2, 3, 4]), "annotation 1: bbox"),
        (changed("annotations", "bbox", None), "annotation 1: bbox None"),
        (changed("annotations", "area", None), "annotation 1: area is None, no number"),
        (changed("annotations", "iscrowd", "1"), "annotation 1: iscrowd is 1, no number"),
        (changed("annotations", "image_id", "1"), "image_id '1' and the id that it means"),
        (changed("annotations", "image_id", [1]), r"image_id is \[1\]"),
        (changed("annotations", "category_id", "1"), "category_id '1' and the id that it means"),
        (changed("images", "id", 2), "two images have the id 2"),
        (changed("images", "id", "1"), "some image ids are numbers and some are strings"),
        (changed("images", "id", None), "the id of image 'a.jpg' is None"),
        (changed("categories", "id", 2), "category id 2 is both"),
        (document(images=[]), "no images are listed"),
        (document(categories=[]), "no class to learn"),
    ],
)
def test_what_coco_evaluation_cannot_take_is_refused_in_one_line(tmp_path, content, fault):
    json_file, images = write_set(tmp_path, content)
    with pytest.raises(UserError, match=fault) as caught:
        load_published(json_file, images, CLASSES, name="mine")
    said = str(caught.value)
    assert said.startswith(f"{json_file}: ") and "\n" not in said
    assert "cannot be scored as published; `graphkd data check mine --fix OUT`" in said


def spoil_missing(path):
    path.unlink()


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-400])


def spoil_size(path):
    page(path, width=61, height=80)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (spoil_missing, "a.jpg: missing"),
        (spoil_truncated, "a.jpg: the file is cut off"),
        (spoil_size, "a.jpg: the json gives 60 x 80 pixels, the picture has 61 x 80"),
    ],
)
def test_a_page_that_cannot_be_scored_is_refused_in_one_line(tmp_path, spoil, fault):
    json_file, images = write_set(tmp_path)
    spoil(images / "a.jpg")
    with pytest.raises(UserError, match=fault) as caught:
        load_published(json_file, images, CLASSES)
    assert "\n" not in str(caught.value) and "more)" not in str(caught.value)
    assert f"`graphkd data check {json_file} --images DIR --fix OUT`" in str(caught.value)
    spoil(images / "b.jpg")
    with pytest.raises(UserError, match=r"\(and 1 more\)"):
        load_published(json_file, images, CLASSES)


def test_a_page_stored_turned_is_taken_in_the_frame_of_the_json(tmp_path):
    json_file, images = write_set(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(page(images / "lying.png", width=80, height=60)).save(images / "a.jpg", exif=exif)
    assert load_published(json_file, images, CLASSES)[0]["width"] == 60


def test_images_are_looked_at_once_and_not_at_all_where_they_are_trusted(tmp_path, monkeypatch):
    json_file, images = write_set(tmp_path)
    (images / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="a.jpg"):
        load_published(json_file, images, CLASSES)
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    assert len(load_published(json_file, images, CLASSES)) == 2
    monkeypatch.delenv(TRUST_VARIABLE)
    page(images / "a.jpg")
    load_published(json_file, images, CLASSES)
    monkeypatch.setattr("graphkd.data.check.files.inspect_page", None)
    assert len(load_published(json_file, images, CLASSES)) == 2


def test_ids_given_twice_are_said_once(tmp_path, caplog):
    content = document()
    content["annotations"][1]["id"] = 1
    json_file, _ = write_set(tmp_path, content)
    with caplog.at_level(logging.WARNING):
        read_published(json_file)
        read_published(json_file)
    assert [r.getMessage().count("1 boxes have the id of another one") for r in caplog.records] == [
        1
    ]


def test_other_classes_are_refused(tmp_path):
    json_file, images = write_set(tmp_path)
    with pytest.raises(UserError, match="missing: table"):
        load_published(json_file, images, ["text", "table"])
    with pytest.raises(UserError, match="class ids"):
        load_published(json_file, images, CLASSES, category_ids=[0, 1])


def test_reading_changes_no_file(tmp_path):
    json_file, images = write_set(tmp_path, odd())
    before = copy.deepcopy(json.loads(json_file.read_text()))
    load_published(json_file, images, CLASSES)
    assert json.loads(json_file.read_text()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["annotations.json", "images"]

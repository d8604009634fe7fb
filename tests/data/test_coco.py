"""Loading a COCO json for training."""

import logging

import pytest
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode

from graphkd.data.coco import TRUST_VARIABLE, load_coco, read_categories
from graphkd.errors import UserError
from tests.data.sets import document, write_set

CLASSES = ["text", "figure"]


def test_it_agrees_with_detectron2_on_clean_data(tmp_path):
    json_file, images = write_set(tmp_path)
    ours = load_coco(json_file, images, CLASSES)
    theirs = load_coco_json(str(json_file), str(images), "agreement_of_loaders")
    assert ours == theirs


def test_it_agrees_with_detectron2_on_real_pages(real_data):
    folder = real_data / "segmonto"
    names = list(read_categories(folder / "val.json").values())
    ours = load_coco(folder / "val.json", folder / "images", names)
    theirs = load_coco_json(str(folder / "val.json"), str(folder / "images"), "agreement_segmonto")
    assert ours == theirs


def test_the_index_follows_the_given_class_list(tmp_path):
    pages = load_coco(*write_set(tmp_path), ["figure", "text"])
    assert [a["category_id"] for a in pages[0]["annotations"]] == [1, 0]
    assert pages[0]["annotations"][0]["bbox_mode"] == BoxMode.XYWH_ABS


def test_other_class_names_are_refused(tmp_path):
    with pytest.raises(UserError, match="missing: table; unexpected: figure.*data register"):
        load_coco(*write_set(tmp_path), ["text", "table"])


def test_a_box_gets_a_mask_where_others_have_one(tmp_path):
    content = document()
    content["annotations"][0]["segmentation"] = [[5, 6, 25, 6, 25, 36]]
    pages = load_coco(*write_set(tmp_path, content), CLASSES)
    masks = [a["segmentation"] for page in pages for a in page["annotations"]]
    assert masks[0] == [[5, 6, 25, 6, 25, 36]]
    assert masks[1] == [[30, 40, 55, 40, 55, 75, 30, 75]]


def test_warnings_name_the_place_and_stay_few(tmp_path, caplog):
    content = document()
    content["annotations"] += [
        {"id": 10 + i, "image_id": 1, "category_id": 1, "bbox": [1, 1, 0, 1]} for i in range(50)
    ]
    with caplog.at_level(logging.WARNING):
        load_coco(*write_set(tmp_path, content), CLASSES)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6 and "50 in all" in lines[-1]
    assert "annotations.json: a.jpg, annotation 10: bbox [1, 1, 0, 1]" in lines[0]


def test_no_usable_page_is_an_error(tmp_path):
    with pytest.raises(UserError, match="none of its images can be used.*a.jpg"):
        load_coco(*write_set(tmp_path, pages=False), CLASSES)


def test_trusted_images_are_not_opened(tmp_path, monkeypatch):
    json_file, images = write_set(tmp_path)
    (images / "a.jpg").write_bytes(b"no picture")
    assert len(load_coco(json_file, images, CLASSES)) == 1
    assert len(load_coco(json_file, images, CLASSES, inspect=False)) == 2
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    assert len(load_coco(json_file, images, CLASSES)) == 2
    (images / "b.jpg").unlink()  # a file that is not there is noticed all the same
    assert len(load_coco(json_file, images, CLASSES)) == 1


def test_categories_are_read_in_the_order_of_their_ids(tmp_path):
    turned = document(categories=[{"id": 9, "name": "b"}, {"id": 4, "name": "a"}])
    assert read_categories(write_set(tmp_path, turned)[0]) == {4: "a", 9: "b"}
    with pytest.raises(UserError, match="no class to learn"):
        read_categories(write_set(tmp_path, document(categories=[]))[0])


def test_a_file_that_is_loaded_again_is_warned_about_once_but_logged_each_time(tmp_path, caplog):
    content = document()
    content["annotations"][0]["bbox"] = [50, 6, 20, 30]
    paths = write_set(tmp_path, content)
    with caplog.at_level(logging.INFO, logger="graphkd"):
        for _ in range(3):
            load_coco(*paths, CLASSES)
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert len({r.getMessage() for r in caplog.records}) == 1


def test_other_processes_leave_the_warning_to_the_first(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: 1)
    content = document()
    content["annotations"][0]["bbox"] = [50, 6, 20, 30]
    with caplog.at_level(logging.INFO, logger="graphkd"):
        load_coco(*write_set(tmp_path, content), CLASSES)
    assert [r.levelname for r in caplog.records] == ["INFO"]

"""The mapper that reads pages for the data loader."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetMapper

from graphkd.data.coco import load_coco
from graphkd.data.mapper import PageMapper, read_for
from graphkd.errors import UserError
from tests.data.sets import document, page, write_set


@pytest.fixture()
def cfg():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg


@pytest.mark.parametrize("train", [True, False])
def test_plain_pages_come_out_as_from_detectron2(tmp_path, cfg, train):
    for record in load_coco(*write_set(tmp_path), ["text", "figure"]):
        ours = PageMapper(cfg, is_train=train)(record)
        theirs = DatasetMapper(cfg, is_train=train)(record)
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["image"], theirs["image"])
        if train:
            boxes = ours["instances"].gt_boxes.tensor
            assert torch.equal(boxes, theirs["instances"].gt_boxes.tensor)


def test_masks_come_out_as_from_detectron2(tmp_path, cfg):
    cfg.MODEL.MASK_ON = True
    content = document()
    content["annotations"][0]["segmentation"] = [[5, 6, 25, 6, 25, 36]]
    record = load_coco(*write_set(tmp_path, content), ["text", "figure"])[0]
    ours, theirs = (M(cfg, is_train=True)(record) for M in (PageMapper, DatasetMapper))
    assert ours["instances"].gt_masks.polygons[0][0] == pytest.approx(
        theirs["instances"].gt_masks.polygons[0][0]
    )


def test_the_record_is_not_changed(tmp_path, cfg):
    (record, _) = load_coco(*write_set(tmp_path), ["text", "figure"])
    before = repr(record)
    PageMapper(cfg, is_train=True)(record)
    assert repr(record) == before


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1), (1200, 4)])
def test_no_side_becomes_zero(tmp_path, cfg, size):
    path = page(tmp_path / "strip.png", width=size[0], height=size[1])
    record = {"file_name": str(path), "width": size[0], "height": size[1], "image_id": 1}
    shape = PageMapper(cfg, is_train=False)(record)["image"].shape
    assert min(shape[1:]) >= 1 and max(shape[1:]) <= cfg.INPUT.MAX_SIZE_TEST


def test_a_page_that_cannot_be_used_stops_the_run_with_its_name(tmp_path):
    path = page(tmp_path / "p.jpg")
    with pytest.raises(UserError, match="p.jpg: the picture has 60 x 80 pixels.*61 x 80"):
        read_for({"file_name": str(path), "width": 61, "height": 80})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="p.jpg: .*data check"):
        read_for({"file_name": str(path)})


def test_the_frame_of_the_annotations_is_read(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "p.jpg"
    Image.open(page(tmp_path / "p.png", width=80, height=60)).save(path, exif=exif)
    lying = read_for({"file_name": str(path), "width": 80, "height": 60})
    upright = read_for({"file_name": str(path), "width": 60, "height": 80})
    assert np.array_equal(np.rot90(lying, -1), upright)

"""Detectron2 models find here exactly what evaluation finds."""

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, build_detection_test_loader

import graphkd
from graphkd.data.mapper import PageMapper
from graphkd.errors import UserError
from graphkd.evaluation.coco import evaluate, find_boxes
from graphkd.modelfile import build_detector, read_model
from tests.predict.conftest import write_torch
from tests.predict.files import noise
from tests.small import CLASSES

SIZES = [(96, 128), (61, 143), (200, 90)]


@pytest.mark.parametrize(("channels", "kind"), [("RGB", ".pth"), ("BGR", ".safetensors")])
def test_boxes_are_those_of_evaluation(tmp_path, channels, kind):
    file = write_torch(tmp_path / "m.safetensors", "INPUT.FORMAT", channels)
    stored = read_model(file)
    if kind == ".pth":
        file = tmp_path / "m.pth"
        torch.save(
            {"model": dict(stored.state), "classes": CLASSES, "config": stored.cfg.dump()}, file
        )
    pages = [noise(tmp_path / f"{i}.png", size=size, seed=i) for i, size in enumerate(SIZES)]
    dicts = [
        {"file_name": str(p), "image_id": i, "width": w, "height": h, "annotations": []}
        for i, (p, (w, h)) in enumerate(zip(pages, SIZES, strict=True))
    ]
    name = f"predict_{channels}_{kind}"
    DatasetCatalog.register(name, lambda: dicts)
    try:
        mapper = PageMapper(stored.cfg, is_train=False)
        loader = build_detection_test_loader(dicts, mapper=mapper)
        model = build_detector(stored)
        found = find_boxes(model, loader, name, classes=CLASSES, progress=False)
        evaluate(found, output_dir=tmp_path)
    finally:
        DatasetCatalog.remove(name)
    expected = json.loads((tmp_path / "coco_results.json").read_text())
    assert len(expected) > 20
    found = [
        (i, region)
        for i, page in enumerate(graphkd.load(file, device="cpu").predict(pages, score=0.0))
        for region in page.regions
    ]
    assert len(found) == len(expected)
    for (image_id, region), result in zip(found, expected, strict=True):
        x1, y1, x2, y2 = map(np.float32, region.box)
        assert image_id == result["image_id"]
        assert CLASSES.index(region.label) == result["category_id"]
        assert region.score == result["score"]
        assert [x1, y1, x2 - x1, y2 - y1] == result["bbox"]


def test_a_batch_finds_what_single_pages_give(torch_file, tmp_path):
    # Resized, the first two fill the same multiples of Detectron2's padding; the third does not.
    sizes = [(96, 128), (97, 128), (128, 96), (96, 128)]
    pages = [noise(tmp_path / f"{i}.png", size=size, seed=i) for i, size in enumerate(sizes)]
    model = graphkd.load(torch_file, device="cpu")
    single, batched = (model.predict(pages, score=0.0, batch=size) for size in (1, 4))
    for one, many in zip(single, batched, strict=True):
        assert [r.label for r in one.regions] == [r.label for r in many.regions]
        boxes = [np.array([r.box for r in page.regions]) for page in (one, many)]
        assert np.abs(boxes[0] - boxes[1]).max() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2)])
def test_strips_and_dots_are_pages_too(torch_file, size):
    pixels = np.zeros((*size, 3), np.uint8)
    (page,) = graphkd.load(torch_file, device="cpu").predict(pixels, score=0.0)
    assert (page.height, page.width) == size
    for region in page.regions:
        x1, y1, x2, y2 = region.box
        assert 0 <= x1 <= x2 <= page.width and 0 <= y1 <= y2 <= page.height


def test_real_pages(torch_file, real_data):
    files = sorted((real_data / "publaynet_examples" / "images").glob("*.jpg"))[:2]
    if not files:
        pytest.skip("no PubLayNet pages there")
    pages = graphkd.load(torch_file, device="cpu").predict(files, score=0.0)
    assert len(pages) == 2 and all(page.regions for page in pages)
    for region in (region for page in pages for region in page.regions):
        assert region.label in CLASSES and 0 <= region.score <= 1


def test_thresholds_in_the_file(tmp_path):
    file = write_torch(tmp_path / "m.safetensors", thresholds={name: 0.0 for name in CLASSES})
    page = noise(tmp_path / "a.png")
    model = graphkd.load(file, device="cpu")
    assert model.predict(page)[0].regions == model.predict(page, score=0.0)[0].regions != ()


def test_devices(torch_file):
    with pytest.raises(UserError, match="--device gpu"):
        graphkd.load(torch_file, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable GPU"):
            graphkd.load(torch_file, device="cuda")

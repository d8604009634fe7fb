"""The COCO files: pycocotools reads them, and half a file is never seen."""

import contextlib
import io
import json

import pytest
from pycocotools.coco import COCO

from graphkd.document import Page, Region, box_polygon
from graphkd.formats.coco_json import CocoWriter

PAGES = [
    Page("b.pdf", 1, 100, 200, (Region("table", 0.75, box_polygon((10, 20, 40, 80))),)),
    Page("b.pdf", 2, 100, 200, ()),
    Page("c.png", 1, 50, 50, (Region("text", 0.5, box_polygon((0, 0, 50, 50))),) * 2),
]


def write(folder, pages):
    sizes = []
    writer = CocoWriter(folder, ["text", "table"], reserve=sizes.append)
    for page in pages:
        writer.add(page, "name", several=page.source == "b.pdf")
    writer.finish()
    writer.close()
    files = [folder / "coco.json", folder / "coco_results.json"]
    # What is not reserved page by page is the frame of the documents.
    assert sum(file.stat().st_size for file in files) - sum(sizes) < 250


def test_the_document(tmp_path):
    write(tmp_path, PAGES)
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "text"}, {"id": 2, "name": "table"}]
    assert [image["file_name"] for image in coco["images"]] == [
        "b.pdf#page=1",
        "b.pdf#page=2",
        "c.png",
    ]
    assert coco["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [10, 20, 30, 60],
        "area": 1800,
        "iscrowd": 0,
        "score": 0.75,
    }


@pytest.mark.parametrize("pages", [PAGES, PAGES[1:2], []])
def test_pycocotools_loads_both(tmp_path, pages):
    write(tmp_path, pages)
    regions = sum(len(page.regions) for page in pages)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco.json"))
        assert len(truth.imgs) == len(pages) and len(truth.anns) == regions
        if regions:  # loadRes itself cannot read an empty list
            assert len(truth.loadRes(str(tmp_path / "coco_results.json")).anns) == regions
    assert len(json.loads((tmp_path / "coco_results.json").read_text())) == regions


def test_nothing_is_left_lying_about(tmp_path):
    writer = CocoWriter(tmp_path, ["text"], reserve=lambda size: None)
    with pytest.raises(ValueError):
        region = Region("text", float("nan"), box_polygon((0, 0, 1, 1)))
        writer.add(Page("a", 1, 9, 9, (region,)), "a", several=False)
    writer.close()
    assert list(tmp_path.iterdir()) == []

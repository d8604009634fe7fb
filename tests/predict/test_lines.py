"""Text detectors: lines in pixels of the page, in every format, whatever the page is like."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import graphkd
from graphkd.cli import main
from graphkd.errors import UserError
from graphkd.formats.page_xml import NAMESPACE
from tests.predict.files import line_page, write_line_onnx

# The map of `write_line_onnx` shows the bars themselves; read as regions shrunk with r = 0.6, they
# are less than the line. Without growth they come back as they are.
PLAIN = {"unclip": "ratio", "unclip_ratio": 0.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_line_onnx(tmp_path_factory.mktemp("lines") / "lines.onnx")


@pytest.fixture(scope="module")
def model(file):
    return graphkd.load(file, decoding=PLAIN)


def boxes_of(page):
    return [line.box for region in page.regions for line in region.lines]


def test_lines_lie_where_they_are_on_the_page(model):
    (page,) = model.predict(line_page())
    (region,) = page.regions
    assert (region.label, region.found_by) == ("text", "lines")
    assert boxes_of(page) == pytest.approx(np.array([[20, 30, 140, 50], [20, 80, 100, 100]]), abs=1)
    assert region.box == pytest.approx((20, 30, 140, 100), abs=1)
    assert all(0.9 < line.score <= 1 for line in region.lines)
    assert region.score == pytest.approx(np.mean([line.score for line in region.lines]))


@pytest.mark.parametrize(("resize", "size"), [("long", 384), ("short", 96), ("as_is", 0)])
def test_any_test_size_gives_pixels_of_the_page(tmp_path, resize, size):
    file = write_line_onnx(tmp_path / "m.onnx", resize=resize, size=size)
    odd = line_page(size=(171, 203))
    (page,) = graphkd.load(file, decoding=PLAIN).predict(odd)
    assert (page.width, page.height) == (203, 171)
    assert boxes_of(page) == pytest.approx(np.array([[20, 30, 140, 50], [20, 80, 100, 100]]), abs=3)


def test_exact_unclip_grows_lines_and_its_scale_is_a_choice(file):
    found = {}
    for scale in (0.0, 1.0, 1.5):
        (page,) = graphkd.load(file, decoding={"unclip_scale": scale}).predict(line_page())
        found[scale] = boxes_of(page)[0]
    heights = [y2 - y1 for _, y1, _, y2 in found.values()]
    assert heights[0] == pytest.approx(20, abs=1) and heights[0] < heights[1] < heights[2]


def test_results_do_not_depend_on_batch_and_order(model):
    pages = [line_page([(20, 30, 40 + 20 * i, 52)]) for i in range(5)] + [line_page(())]
    alone = [model.predict(page)[0].regions for page in pages]
    for batch in (2, 4):
        assert [page.regions for page in model.predict(pages, batch=batch)] == alone
    assert [page.regions for page in model.predict(pages[::-1], batch=3)][::-1] == alone


def test_pages_without_text_and_constant_pages(model):
    for level in (3, 255):
        (page,) = model.predict(np.full((64, 96, 3), level, np.uint8))
        assert len(boxes_of(page)) == (level == 3)
    assert model.predict(np.full((5, 7, 3), 255, np.uint8))[0].regions == ()


def test_values_that_are_not_numbers_name_the_page(file, tmp_path, capsys):
    Image.fromarray(line_page()).save(tmp_path / "a.png")
    Image.fromarray(line_page() * np.array([1, 1, 0], np.uint8)).save(tmp_path / "b.png")
    code = main(
        ["predict", str(file), str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--batch"]
        + ["2", "-o", str(tmp_path / "out")]
    )
    assert code == 2
    assert "b.png, page 1: lines.onnx gives values that are not numbers" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["L", "I;16", "turned", "RGBA"])
def test_pages_of_every_kind(model, tmp_path, kind):
    pixels, path = line_page(), tmp_path / "page.tif"
    if kind == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    elif kind == "turned":
        path = tmp_path / "page.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: upright is 90 degrees clockwise
        Image.fromarray(np.rot90(pixels)).save(path, exif=exif, quality=95)
    else:
        Image.fromarray(pixels).convert(kind).save(path)
    (page,) = model.predict(path)
    assert boxes_of(page) == pytest.approx(np.array([[20, 30, 140, 50], [20, 80, 100, 100]]), abs=2)


def test_every_format_and_a_picture_without_torch(file, tmp_path):
    Image.fromarray(line_page()).save(tmp_path / "page.png")
    Image.fromarray(line_page(())).save(tmp_path / "white.png")
    code = """
import sys
for name in ("torch", "torchvision", "detectron2"):
    sys.modules[name] = None
from graphkd.cli import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["predict", file, tmp_path / "page.png", tmp_path / "white.png", "-o", tmp_path / "out"]
    words += ["--format", "json,coco,page", "--draw", "--unclip", "ratio", "--unclip-ratio", "0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 pages, 2 lines")
    out = tmp_path / "out"
    said = json.loads((out / "pages" / "page.json").read_text())
    first = said["regions"][0]["lines"][0]
    assert np.array(first["polygon"]).shape == (4, 2) and 0 < first["score"] <= 1
    coco = json.loads((out / "coco.json").read_text())
    assert [entry["category_id"] for entry in coco["annotations"]] == [1, 1]
    assert coco["annotations"][0]["area"] == pytest.approx(120 * 20, rel=0.1)
    assert np.reshape(coco["annotations"][0]["segmentation"], (4, 2)).tolist() == pytest.approx(
        np.array(first["polygon"]), abs=0.01
    )
    results = json.loads((out / "coco_results.json").read_text())
    assert {"segmentation", "bbox", "score"} <= set(results[0])
    lines = ElementTree.parse(out / "page_xml" / "page.xml").findall(f".//{{{NAMESPACE}}}TextLine")
    assert [line.get("id") for line in lines] == ["r1l1", "r1l2"]
    drawn = np.asarray(Image.open(out / "pictures" / "page.jpg"), int)
    assert np.abs(drawn[:, 20:140] - line_page()[:, 20:140]).max() > 50
    record = json.loads((out / "predict.json").read_text())
    assert (record["lines"], record["decoding"]) == (2, {"unclip": "ratio", "unclip_ratio": 0.0})


def test_the_least_score_is_the_box_threshold(file, tmp_path, capsys):
    grey = line_page()
    grey[30:50, 20:140] = 120  # a probability of 0.6
    model = graphkd.load(file)
    assert model.shown_scores() == {"text": 0.4}
    assert [len(boxes_of(model.predict(grey, score=s)[0])) for s in (0.5, 0.7, 1.0)] == [2, 1, 0]
    Image.fromarray(grey).save(tmp_path / "g.png")
    words = ["predict", file, tmp_path / "g.png", "-o", tmp_path / "out", "--box-thresh", "0.7"]
    assert main(list(map(str, words))) == 0
    assert capsys.readouterr().out.startswith("1 pages, 1 lines")


def test_calibrated_numbers_are_used(tmp_path):
    import onnx

    path = write_line_onnx(tmp_path / "m.onnx")
    stored = onnx.load(path)
    header = json.loads(stored.metadata_props[0].value)
    header["calibration"] = {"box_thresh": 0.9, "unclip_scale": 1.25}
    stored.metadata_props[0].value = json.dumps(header)
    onnx.save(stored, path)
    assert graphkd.load(path).shown_scores() == {"text": 0.9}


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": {"kind": "Oracle"}},
        {"decoder": {"kind": "MapDecoder", "colour": 3}},
        {"decoder": None},
        {"size": "large"},
        {"decoder": {"kind": "EASTDecoder"}},
    ],
)
def test_settings_of_another_kind_are_refused(tmp_path, settings):
    with pytest.raises(UserError, match="text detector"):
        graphkd.load(write_line_onnx(tmp_path / "m.onnx", **settings))


def test_unknown_numbers_are_refused(file, onnx_file):
    with pytest.raises(UserError, match="--nms: lines.onnx has no such setting"):
        graphkd.load(file, decoding={"nms": 0.1})
    with pytest.raises(UserError, match="--unclip-scale is for text detectors"):
        graphkd.load(onnx_file, decoding={"unclip_scale": 0.1})

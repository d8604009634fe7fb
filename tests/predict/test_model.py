"""The Python interface: what goes in, what comes out, and how much is read ahead."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import graphkd
from graphkd.cli import main
from graphkd.document import Line, Page, Region, box_polygon, text_region
from graphkd.errors import UserError
from graphkd.predict.detector import Predictor, Prepared
from graphkd.predict.documents import RawPage
from tests.predict.files import BOX, CLASSES, pdf, picture, write_onnx


def test_importing_graphkd_is_light():
    code = """
import sys, graphkd
assert callable(graphkd.load)
sys.exit(bool({"torch", "detectron2", "onnxruntime", "numpy"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_three_lines(onnx_file, tmp_path):
    model = graphkd.load(onnx_file)
    assert model.classes == CLASSES
    (page,) = model.predict(picture(tmp_path / "a.png", red=204))
    assert page == Page(
        str(tmp_path / "a.png"), 1, 60, 80, (Region("text", pytest.approx(0.8), box_polygon(BOX)),)
    )


def test_every_kind_of_input_gives_the_same(stub, tmp_path):
    file = picture(tmp_path / "a.png", red=255)
    pixels = np.asarray(Image.open(file))
    grey = np.full((80, 60), 255, np.uint8)
    pages = stub.predict([file, str(file), pixels, Image.open(file), grey, grey[:, :, None]])
    assert len({page.regions for page in pages}) == 1
    sources = ["image 3", "image 4", "image 5", "image 6"]
    assert [page.source for page in pages] == [str(file), str(file), *sources]
    assert {(page.width, page.height) for page in pages} == {(60, 80)}
    assert stub.predict(pixels) == [Page("image 1", 1, 60, 80, pages[0].regions)]


def test_folders_and_pdfs(stub, tmp_path):
    picture(tmp_path / "in" / "b.png")
    pdf(tmp_path / "in" / "a.pdf", pages=3)
    pages = stub.predict(tmp_path / "in", score=0.0, dpi=72)
    assert [(page.source[-5:], page.number) for page in pages] == [
        ("a.pdf", 1),
        ("a.pdf", 2),
        ("a.pdf", 3),
        ("b.png", 1),
    ]
    assert [len(stub.predict(tmp_path / "in", page_numbers=part)) for part in ("2", "2-")] == [2, 3]
    assert (pages[0].width, pages[0].height) == (144, 72)


def test_a_turned_pil_image_is_upright_like_its_file(stub, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 80), "white").save(tmp_path / "a.jpg", exif=exif)
    (file,) = stub.predict(tmp_path / "a.jpg")
    (image,) = stub.predict(Image.open(tmp_path / "a.jpg"))
    assert (file.width, file.height) == (image.width, image.height) == (80, 60)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "list"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (7, "int is no page"),
        ([None], "NoneType is no page"),
        ("gone.png", "no such file"),
    ],
)
def test_wrong_inputs_are_named(stub, wrong, message):
    with pytest.raises(UserError, match=message):
        stub.predict(wrong)


def test_a_damaged_page_is_an_error_here(stub, tmp_path):
    (tmp_path / "a.png").write_text("words")
    with pytest.raises(UserError, match="a.png: not an image"):
        stub.predict(tmp_path / "a.png")


def test_no_pages_give_no_pages(stub):
    assert stub.predict([]) == []


def test_scores_choose_what_is_shown(stub, tmp_path):
    pages = [picture(tmp_path / f"{red}.png", red=red) for red in (51, 102, 153)]
    shown = lambda **options: [  # noqa: E731
        len(page.regions) for page in stub.predict(pages, **options)
    ]
    assert shown() == [0, 0, 1]
    assert shown(score=0.4) == [0, 1, 1]
    assert shown(score=0.4, score_class={"text": 0.6}) == [0, 0, 1]
    assert shown(score_class={"figure": 0.1}) == [0, 0, 1]
    assert shown(score=0.0) == [1, 1, 1]


def test_stored_thresholds_hold_unless_told_otherwise(tmp_path):
    file = write_onnx(tmp_path / "m.onnx", header={"thresholds": {"text": 0.3}})
    page = picture(tmp_path / "a.png", red=102)
    model = graphkd.load(file)
    assert [len(model.predict(page, score=s)[0].regions) for s in (None, 0.5)] == [1, 0]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_batch_changes_nothing_and_reads_no_further(stub, batch):
    read = []

    def pages():
        for number in range(1, 6):
            read.append(number)
            pixels = np.full((40, 30 if number < 4 else 50, 3), number * 40, np.uint8)
            yield RawPage("book", number, 5, pixels)

    results = stub.detect(pages(), shown=dict.fromkeys(CLASSES, 0.0), batch=batch)
    next(results)
    assert len(read) == batch
    scores = [page.regions[0].score for _, page in results]
    assert scores == pytest.approx([n * 40 / 255 for n in range(2, 6)])


def test_the_weights_file_must_be_one(tmp_path):
    for name in ("gone.onnx", "gone.pth", "gone.safetensors"):
        with pytest.raises(UserError, match="no such weights file"):
            graphkd.load(tmp_path / name)
    with pytest.raises(UserError, match="a model is a .pth, .safetensors, .onnx file"):
        graphkd.load(tmp_path / "model.pt")


class Lines(Predictor):
    """Stands for a text detector: two lines on every page."""

    def prepare(self, pixels):
        return Prepared(pixels.shape[:2], None)

    def regions(self, batch, *, shown):
        lines = [Line(box_polygon((1, y, 9, y + 4)), score=0.9) for y in (1, 6)]
        return [(text_region(lines, score=0.9),) for _ in batch]


def test_the_task_of_a_file_says_what_runs_it(torch_file, tmp_path, monkeypatch):
    asked = []

    def predictor(self, stored, *, device):
        asked.append((stored.path, device))
        return Lines(stored.path.name, stored.header)

    monkeypatch.setattr("graphkd.tasks.layout.LayoutTask.predictor", predictor)
    model = graphkd.load(torch_file, device="cpu")
    assert asked == [(torch_file, "cpu")]
    (page,) = model.predict(picture(tmp_path / "a.png"))
    (region,) = page.regions
    assert (region.label, region.box, len(region.lines)) == ("text", (1, 1, 9, 10), 2)
    words = ["predict", str(torch_file), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu", "--draw", "--format", "json,coco,page"]) == 0
    assert "TextLine" in (tmp_path / "out" / "page_xml" / "a.xml").read_text()


def test_an_onnx_file_of_an_unknown_task_is_one_line(tmp_path):
    file = write_onnx(tmp_path / "m.onnx", header={"format": 2, "task": "speech"})
    with pytest.raises(UserError, match="a model for speech; this version runs layout"):
        graphkd.load(file)

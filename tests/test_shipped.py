"""The models in the package are whole, and both kinds of file find the same."""

import numpy as np
import pytest

import graphkd
from graphkd import shipped
from graphkd.errors import UserError
from graphkd.synthesis import make_page


@pytest.fixture(scope="module")
def page():
    return np.asarray(make_page(3, 0, long_side=800).image)


def regions(name, kind, picture):
    return (
        graphkd.load(shipped.default_weights(kind, name=name), device="cpu")
        .predict(picture)[0]
        .regions
    )


def test_both_files_find_the_same_regions(page):
    found = [regions("layout", kind, page) for kind in ("onnx", "safetensors")]
    assert len(found[0]) > 3
    for one, other in zip(*found, strict=True):
        assert one.label == other.label and one.score == pytest.approx(other.score, abs=1e-3)
        assert one.box == pytest.approx(other.box, abs=0.5)


def test_both_files_find_and_read_the_same_lines(page):
    (found,), (same,) = (regions("lines", kind, page) for kind in ("onnx", "safetensors"))
    assert len(found.lines) > 10
    for one, other in zip(found.lines, same.lines, strict=True):
        assert one.box == pytest.approx(other.box, abs=0.5)
    for line in found.lines[:5]:
        x1, y1, x2, y2 = map(round, line.box)
        crop = page[max(0, y1) : y2, max(0, x1) : x2]
        # The ONNX file has eight-bit weights.
        texts = [regions("text", kind, crop)[0].lines[0].text for kind in ("onnx", "safetensors")]
        assert texts[0] and abs(len(texts[0]) - len(texts[1])) <= 1


@pytest.mark.parametrize(
    ("name", "task"),
    [("layout", "layout"), ("lines", "text_detection"), ("text", "text_recognition")],
)
def test_the_header_tells_task_and_metrics(name, task):
    model = graphkd.load(name)
    assert (model.name, model.task) == (shipped.file_of("onnx", name).name, task)
    assert set(model.thresholds) <= set(model.classes) | {"text"}
    card = shipped.file_of("onnx", name).with_suffix(".md").read_text()
    assert "| licence |" in card and "trained on" in card


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="student.onnx: the shipped student is missing"):
        graphkd.load()
    (tmp_path / "lines.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="lines.onnx: not the shipped student"):
        graphkd.load("lines")

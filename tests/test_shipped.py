"""The models in the package are whole, and both kinds of file find the same."""

import numpy as np
import pytest

import graphkd
from graphkd import shipped
from graphkd.errors import UserError
from graphkd.synthesis import make_page


def test_both_files_find_the_same():
    page = np.asarray(make_page(3, 0, long_side=400).image)
    found = [
        graphkd.load(shipped.default_weights(kind), device="cpu").predict(page)[0].regions
        for kind in ("onnx", "safetensors")
    ]
    assert len(found[0]) > 3
    for one, other in zip(*found, strict=True):
        assert one.label == other.label and one.score == pytest.approx(other.score, abs=1e-3)
        assert one.box == pytest.approx(other.box, abs=0.5)


def test_the_header_tells_task_and_metrics():
    model = graphkd.load()
    assert (model.name, model.task) == ("student.onnx", "layout")
    assert set(model.thresholds) == set(model.classes)


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="student.onnx: the shipped student is missing"):
        graphkd.load()
    (tmp_path / "student.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="student.onnx: not the shipped student"):
        graphkd.load()

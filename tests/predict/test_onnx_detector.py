"""ONNX files run without torch; damaged and foreign ones give a one-line error."""

import subprocess
import sys

import numpy as np
import onnx
import pytest

import graphkd
from graphkd.errors import UserError
from tests.predict.files import pdf, picture, write_onnx

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["torchvision"] = sys.modules["detectron2"] = None
from graphkd.cli import main
code = main(sys.argv[1:])
import graphkd
model = graphkd.load(sys.argv[2])
assert len(model.predict(sys.argv[3])[0].regions) == 1
sys.exit(code)
"""


def test_no_torch_is_needed(onnx_file, tmp_path):
    page, book = picture(tmp_path / "a.png"), pdf(tmp_path / "b.pdf")
    words = ["predict", onnx_file, page, book, "-o", tmp_path / "out", "--draw"]
    words += ["--format", "json,coco,page"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 pages, 1 regions")


def test_a_damaged_file(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"words, not a graph")
    with pytest.raises(UserError, match="not a readable ONNX file") as caught:
        graphkd.load(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"classes": []}, "names no classes"),
        ({"classes": "text"}, "class list is damaged; export it again"),
        ({"classes": ["text", "text"]}, "names the class 'text' twice"),
        ({"format": 9}, "format is 9, this version reads 1"),
        ({"thresholds": [1]}, "thresholds are damaged"),
        ({"thresholds": {"text": "high"}}, "threshold of 'text' is 'high', not a number"),
        ({"score_floor": "low"}, "lowest score is 'low'"),
        ({"score_floor": None}, "lowest score is None"),
        ({"card": 3}, "card is damaged"),
    ],
)
def test_headers_of_another_kind(tmp_path, header, message):
    with pytest.raises(UserError, match=message):
        graphkd.load(write_onnx(tmp_path / "m.onnx", header=header))


def test_a_foreign_graph(tmp_path):
    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    kept = [entry.value for entry in model.metadata_props]
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="names no classes; write it with `graphkd export`"):
        graphkd.load(tmp_path / "m.onnx")
    model.graph.output.pop()
    onnx.helper.set_model_props(model, {"graphkd": kept[0]})
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UserError, match="not those of a graphkd model"):
        graphkd.load(tmp_path / "m.onnx")


def test_a_class_without_a_name_is_told(tmp_path):
    model = graphkd.load(write_onnx(tmp_path / "m.onnx", classes=2))
    with pytest.raises(UserError, match="no name for"):
        model.predict(np.full((50, 50, 3), 255, np.uint8))


def test_boxes_end_at_the_page(stub):
    (page,) = stub.predict(np.full((20, 10, 3), 255, np.uint8))
    assert page.regions[0].box == (1, 2, 10, 20)


def test_devices_that_are_not_there(onnx_file):
    import onnxruntime

    with pytest.raises(UserError, match="name cpu, cuda"):
        graphkd.load(onnx_file, device="tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UserError, match="onnxruntime-gpu"):
            graphkd.load(onnx_file, device="cuda")
    with pytest.raises(UserError, match="leave --config out"):
        graphkd.load(onnx_file, config="run.yaml")

"""Toy models of a reader as ONNX files: dark bars are lines, colours in them are characters."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from graphkd.text.prepare import PREPARATION
from tests.predict.files import write_line_onnx, write_onnx

# Character -> colour of its block: the channel without light tells it, so that what lies between
# two blocks is a blank.
COLOURS = {"a": (0, 120, 120), "b": (120, 0, 120), " ": (120, 120, 0)}
HEIGHT, STEP = 24, 24  # of a line, and the width of a character, in pixels


def write_reader(path: Path, *, temperature: float = 1.0) -> Path:
    """A recogniser that reads `COLOURS` from the middle rows, with a probability of 0.9."""
    node, number = helper.make_node, helper.make_tensor
    whole = {"top": [8], "low": [24], "rows": [1]}
    constants = [number(k, TensorProto.INT64, [len(v)], v) for k, v in whole.items()]
    constants += [number(k, TensorProto.INT64, [], [v]) for k, v in (("three", 3), ("stride", 4))]
    floats = {"dark": 40.0, "nothing": 0.0, "sure": 0.9}
    constants += [number(k, TensorProto.FLOAT, [], [v]) for k, v in floats.items()]
    constants += [number("classes", TensorProto.FLOAT, [1, 3, 1], [1.0, 2.0, 3.0])]
    nodes = [
        node("Cast", ["lines"], ["levels"], to=TensorProto.FLOAT),
        node("Slice", ["levels", "top", "low", "rows"], ["middle"]),
        node("ReduceMean", ["middle", "rows"], ["columns"], keepdims=0),
        node("Transpose", ["columns"], ["channels"], perm=[0, 2, 1]),
        node("AveragePool", ["channels"], ["frames"], kernel_shape=[4], strides=[4]),
        node("Less", ["frames", "dark"], ["unlit"]),
        node("Cast", ["unlit"], ["chosen"], to=TensorProto.FLOAT),
        node("Mul", ["chosen", "classes"], ["numbers"]),
        node("ReduceSum", ["numbers", "rows"], ["class"], keepdims=0),
        node("Cast", ["class"], ["best"], to=TensorProto.INT64),
        node("Mul", ["class", "nothing"], ["zeros"]),
        node("Add", ["zeros", "sure"], ["best_score"]),
        node("Add", ["widths", "three"], ["up"]),
        node("Div", ["up", "stride"], ["lengths"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [
        value("lines", TensorProto.UINT8, ["n", 32, "w", 3]),
        value("widths", TensorProto.INT64, ["n"]),
    ]
    outputs = [
        value("best", TensorProto.INT64, ["n", "t"]),
        value("best_score", TensorProto.FLOAT, ["n", "t"]),
        value("lengths", TensorProto.INT64, ["n"]),
    ]
    graph = helper.make_graph(nodes, "reader", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    settings = {"height": 32, "decoder": "ctc", "preparation": PREPARATION}
    header = {"format": 2, "classes": list(COLOURS), "task": "text_recognition"}
    header |= {"settings": settings, "calibration": {"temperature": temperature}}
    helper.set_model_props(model, {"graphkd": json.dumps(header)})
    onnx.save(model, path)
    return path


def write_models(folder: Path) -> Path:
    """A folder with three models; the layout is one region in the upper left corner."""
    folder.mkdir(parents=True, exist_ok=True)
    write_onnx(folder / "layout.onnx")
    decoder = {"kind": "MapDecoder", "box_thresh": 0.4, "shrink_ratio": 1.0}
    write_line_onnx(folder / "lines.onnx", decoder=decoder)
    write_reader(folder / "text.onnx")
    return folder


def page_of(*lines: tuple[int, int, str], size: tuple[int, int] = (400, 300)) -> np.ndarray:
    """A white page (height, width) with lines (x, y, text)."""
    pixels = np.full((*size, 3), 255, np.uint8)
    for x, y, text in lines:
        for place, character in enumerate(text):
            left = x + place * STEP
            pixels[y : y + HEIGHT, left : left + STEP] = COLOURS[character]
    return pixels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path

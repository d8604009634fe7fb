"""Pages, PDFs and detectors made on the spot, for the tests of prediction."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

CLASSES = ("text", "figure")
BOX = (1.0, 2.0, 30.0, 40.0)  # what the detector of `write_onnx` finds on every page


def picture(path: Path, *, red: int = 204, size: tuple[int, int] = (60, 80)) -> Path:
    """A page (width, height) of one colour: red as given, no green, full blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 0, 255)).save(path)
    return path


def noise(path: Path, *, size: tuple[int, int] = (96, 128), seed: int = 0) -> Path:
    """A page (width, height) of noise."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pdf(
    path: Path,
    *,
    pages: int = 3,
    size: tuple[float, float] = (144, 72),
    password: str | None = None,
) -> Path:
    """A PDF with pages of `size` points; page n is filled with red n / 10 and full blue."""
    encrypt = None if password is None else StandardEncryption(password, canPrint=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=size, encrypt=encrypt)
    for number in range(1, pages + 1):
        canvas.setFillColorRGB(number / 10, 0, 1)
        canvas.rect(0, 0, *size, stroke=0, fill=1)
        canvas.showPage()
    canvas.save()
    return path


def write_onnx(path: Path, *, header: dict | None = None, classes: int = 0) -> Path:
    """A detector of the shared ONNX kind that finds one region a page: BOX, of class number
    `classes`, scored by the red of the top left pixel (1.0 for 255).
    """
    integers = {
        "zero": [0],
        "one": [1],
        "first": [0, 0, 0, 0],
        "corner": [2**31, 1, 1, 1],
        "flat": [-1],
        "class": [classes],
        "start": 0,
        "step": 1,
    }
    constants = [
        helper.make_tensor(
            name,
            TensorProto.INT64,
            [len(value)] if isinstance(value, list) else [],
            value if isinstance(value, list) else [value],
        )
        for name, value in integers.items()
    ]
    constants += [
        helper.make_tensor("box", TensorProto.FLOAT, [1, 4], BOX),
        helper.make_tensor("full", TensorProto.FLOAT, [], [255.0]),
    ]
    node = helper.make_node
    nodes = [
        node("Shape", ["images"], ["count"], start=0, end=1),
        node("Squeeze", ["count"], ["pages"]),
        node("Range", ["start", "pages", "step"], ["image_index"]),
        node("Expand", ["class", "count"], ["classes"]),
        node("Concat", ["count", "one"], ["rows"], axis=0),
        node("Expand", ["box", "rows"], ["boxes"]),
        node("Slice", ["images", "first", "corner"], ["pixel"]),
        node("Reshape", ["pixel", "flat"], ["red"]),
        node("Cast", ["red"], ["level"], to=TensorProto.FLOAT),
        node("Div", ["level", "full"], ["scores"]),
    ]
    page = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3])
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["m", 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["m"]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, ["m"]),
        helper.make_tensor_value_info("image_index", TensorProto.INT64, ["m"]),
    ]
    graph = helper.make_graph(nodes, "detector", [page], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    standard = {
        "format": 1,
        "classes": list(CLASSES),
        "thresholds": {},
        "score_floor": 0.05,
        "precision": "float32",
        "card": {},
    }
    header = standard if header is None else {**standard, **header}
    if header:
        helper.set_model_props(model, {"graphkd": json.dumps(header)})
    onnx.save(model, path)
    return path


def write_line_onnx(path: Path, **settings) -> Path:
    """A text detector whose map is the darkness of the page: 8 for black, -8 for white. It gives
    NaN on a page without any blue.
    """
    node, number = helper.make_node, helper.make_tensor
    constants = [
        number("middle", TensorProto.FLOAT, [], [127.5]),
        number("scale", TensorProto.FLOAT, [], [-16.0]),
        number("nothing", TensorProto.FLOAT, [], [0.0]),
        number("colour", TensorProto.INT64, [1], [3]),
        number("page", TensorProto.INT64, [3], [1, 2, 3]),
        number("blue", TensorProto.INT64, [1], [2]),
        number("end", TensorProto.INT64, [1], [3]),
    ]
    nodes = [
        node("Cast", ["images"], ["levels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["levels", "colour"], ["grey"], keepdims=0),
        node("Sub", ["grey", "middle"], ["centred"]),
        node("Div", ["centred", "scale"], ["dark"]),
        node("Slice", ["levels", "blue", "end", "colour"], ["ink"]),
        node("ReduceMax", ["ink", "page"], ["most"], keepdims=0),
        node("Log", ["most"], ["finite"]),
        node("Mul", ["finite", "nothing"], ["zero"]),
        node("Unsqueeze", ["zero", "page"], ["zeros"]),
        node("Unsqueeze", ["dark", "first"], ["maps"]),
        node("Add", ["maps", "zeros"], ["text"]),
    ]
    constants.append(number("first", TensorProto.INT64, [1], [1]))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "h", "w", 3])
    text = helper.make_tensor_value_info("text", TensorProto.FLOAT, ["n", 1, "h", "w"])
    graph = helper.make_graph(nodes, "lines", [images], [text], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    decoder = {"kind": "MapDecoder", "box_thresh": 0.4, "shrink_ratio": 0.6}
    said = {"resize": "as_is", "size": 0, "decoder": decoder, **settings}
    header = {"format": 2, "classes": ["text"], "task": "text_detection", "settings": said}
    helper.set_model_props(model, {"graphkd": json.dumps(header)})
    onnx.save(model, path)
    return path


def line_page(boxes=((20, 30, 140, 50), (20, 80, 100, 100)), size=(160, 192)) -> np.ndarray:
    """A white page (height, width) with black bars x1 y1 x2 y2."""
    pixels = np.full((*size, 3), 255, np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = 0
    return pixels

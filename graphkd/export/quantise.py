"""Eight-bit ONNX files, calibrated on pages; how good they are is measured elsewhere."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.export.pages import Pages
from graphkd.export.writers import INPUT, set_header
from graphkd.modelfile import Header

# Resizing, and what decides scores and the last pixels of a box, stay float32.
_EXACT = ("cls_score", "bbox_pred", "objectness_logits", "anchor_deltas", "/preprocess/")


def quantise(source: Path, path: Path, header: Header, pages: Pages, *, progress: bool) -> None:
    """Writes `source` with eight-bit convolutions and matrix products (static QDQ, per channel).

    Args:
        source: float32 file of `write_onnx`.
        path: file to write.
        header: of the new file.
        pages: to see the ranges of activations on.
        progress: show a bar.

    Raises:
        UserError: the package onnxruntime is missing.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.calibrate import CalibrationDataReader
    except ModuleNotFoundError as error:
        raise UserError(
            "--int8 needs the packages onnx and onnxruntime: pip install onnx onnxruntime"
        ) from error

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.pages: Iterator[np.ndarray] = iter(
                tqdm(pages, desc="calibrating", unit="page", total=len(pages), disable=not progress)
            )

        def get_next(self) -> dict | None:
            pixels = next(self.pages, None)
            return None if pixels is None else {INPUT: pixels[None]}

    with _without_advice():
        quantize_static(
            str(source),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_exact_nodes(onnx.load(str(source))),
        )
    model = onnx.load(str(path))
    set_header(model, header)
    onnx.save(model, str(path))


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keeps back onnxruntime's advice to prepare the file, which is for whoever calls it."""

    def other(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)


def _exact_nodes(model) -> list[str]:
    return [node.name for node in model.graph.node if any(part in node.name for part in _EXACT)]

"""Exported TorchScript and OpenVINO files as detectors; `graphkd.predict` runs the other kinds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision  # noqa: F401  (a TorchScript file calls its operators)

from graphkd.errors import UserError
from graphkd.modelfile import KEY, Header, read_header
from graphkd.predict.detector import Found, Prepared

Outputs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class ExportedDetector:
    """An exported file behind a function; see `graphkd.predict.detector.Detector`."""

    def __init__(self, name: str, header: Header, call: Callable[[np.ndarray], Outputs]):
        self.name = name
        self.classes = header.classes
        self.thresholds, self.card = header.thresholds, header.card
        self.floor = header.score_floor
        self._call = call

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """The page as it is; only pages of one size can share a batch."""
        return Prepared(pixels.shape[:2], pixels)

    def detect(self, batch: Sequence[Prepared]) -> list[Found]:
        """Finds regions; see `Detector.detect`."""
        boxes, scores, classes, index = self._call(np.stack([page.content for page in batch]))
        return [
            Found(boxes[index == page], scores[index == page], classes[index == page])
            for page in range(len(batch))
        ]


def load_torchscript(path: Path) -> ExportedDetector:
    """Reads a TorchScript file of this project.

    Raises:
        UserError: another kind of file, or a damaged one.
    """
    extra = {KEY: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
        header = read_header(_as_text(extra[KEY]))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a TorchScript file of graphkd") from error

    def call(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return tuple(part.numpy() for part in module(torch.from_numpy(images)))

    return ExportedDetector(path.name, header, call)


def load_openvino(path: Path) -> ExportedDetector:
    """Reads the .xml of an OpenVINO model of this project; its .bin lies beside it.

    Raises:
        UserError: another kind of file, a damaged one, or the package openvino is missing.
    """
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise UserError("this needs the package openvino: pip install openvino") from error
    try:
        model = openvino.Core().read_model(str(path))
        header = read_header(model.get_rt_info([KEY]).astype(str))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not an OpenVINO model of graphkd") from error
    # Its own default may compute in bfloat16 where the processor can.
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call(images: np.ndarray) -> Outputs:
        found = compiled([images])
        return tuple(np.array(found[index]) for index in range(4))

    return ExportedDetector(path.name, header, call)


def _as_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

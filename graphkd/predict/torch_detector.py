"""Detectors in `.pth` and `.safetensors` files, run by Detectron2 as in evaluation."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.evaluation import inference_context
from detectron2.structures import Instances
from PIL import Image
from torch import nn

from graphkd.data.mapper import PageMapper
from graphkd.errors import UserError
from graphkd.modelfile import ModelFile, build_detector
from graphkd.predict.detector import Detections, Detector, Prepared
from graphkd.predict.lines import BoxDecoder, LineDetector


class TorchDetector(Detector):
    """A layout detector of Detectron2 with the page preparation of its config."""

    def __init__(self, stored: ModelFile, *, device: str):
        self._model = build_detector(stored, device=device)
        floor = _floor(self._model, stored.cfg)
        super().__init__(stored.path.name, replace(stored.header, score_floor=floor))
        mapper = PageMapper(stored.cfg, is_train=False)
        self._augmentations, self._format = mapper.augmentations, mapper.image_format
        if self._format not in ("RGB", "BGR", "L"):
            raise UserError(f"{stored.path}: INPUT.FORMAT {self._format!r} is not RGB, BGR or L")
        # Detectron2 pads a batch to multiples of this; equal padding gives equal results.
        backbone = getattr(self._model, "backbone", None)
        self._divisor = max(1, getattr(backbone, "size_divisibility", 0))

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Resizes a page as in evaluation; `shape` is that after padding."""
        augmented = T.AugInput(_in_format(pixels, self._format))
        self._augmentations(augmented)
        height, width = augmented.image.shape[:2]
        content = {
            "image": torch.as_tensor(np.ascontiguousarray(augmented.image.transpose(2, 0, 1))),
            "height": pixels.shape[0],
            "width": pixels.shape[1],
        }
        return Prepared((-(-height // self._divisor), -(-width // self._divisor)), content)

    def detect(self, batch: Sequence[Prepared]) -> list[Detections]:
        """Finds regions on pages of one shape.

        Raises:
            UserError: the GPU's memory does not hold the batch.
        """
        with inference(self._model):
            outputs = self._model([page.content for page in batch])
        return [_found(output["instances"].to("cpu")) for output in outputs]


def torch_lines(stored: ModelFile, *, device: str) -> LineDetector:
    """The text detector of a model file: one with maps, or a one-stage detector of boxes.

    Raises:
        UserError: INPUT.FORMAT is neither RGB nor BGR.
    """
    model = build_detector(stored, device=device)
    if stored.cfg.INPUT.FORMAT not in ("RGB", "BGR"):
        raise UserError(
            f"{stored.path}: INPUT.FORMAT {stored.cfg.INPUT.FORMAT!r} is not RGB or BGR"
        )
    run, decoder = _run_boxes, BoxDecoder(stored.cfg.TEST.TEXT.BOX_THRESH)
    if hasattr(model, "maps"):
        run, decoder = _run_maps, model.decoder
    header = replace(
        stored.header,
        score_floor=_floor(model, stored.cfg),
        settings=line_settings(stored.cfg, decoder),
    )
    flip = stored.cfg.INPUT.FORMAT == "BGR"
    return LineDetector(stored.path.name, header, partial(run, model, flip))


def line_settings(cfg: CfgNode, decoder: Any) -> dict[str, Any]:
    """The `Header.settings` of a text detector: test size and decoder."""
    size = cfg.INPUT.LINES
    said = {"kind": type(decoder).__name__, **asdict(decoder)}
    return {"resize": size.RESIZE, "size": size.SIZE, "decoder": said}


def _run_maps(model: nn.Module, flip: bool, images: np.ndarray) -> Mapping[str, np.ndarray]:
    batch = [{"image": plane} for plane in _planes(images, flip)]
    with inference(model):
        maps = model.maps(model.preprocess_image(batch).tensor)
    return {name: each.float().cpu().numpy() for name, each in maps.items()}


def _run_boxes(model: nn.Module, flip: bool, images: np.ndarray) -> Mapping[str, np.ndarray]:
    height, width = images.shape[1:3]
    batch = [{"image": plane, "height": height, "width": width} for plane in _planes(images, flip)]
    with inference(model):
        outputs = model(batch)
    found = [_found(output["instances"].to("cpu")) for output in outputs]
    return {
        "boxes": np.concatenate([page.boxes for page in found]),
        "scores": np.concatenate([page.scores for page in found]),
        "image_index": np.repeat(np.arange(len(found)), [len(page.scores) for page in found]),
    }


def _planes(images: np.ndarray, flip: bool) -> torch.Tensor:
    """(N, 3, H, W) uint8 of pages (N, H, W, 3) in RGB, `flip` for BGR."""
    images = images[..., ::-1] if flip else images
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@contextlib.contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    try:
        with inference_context(model), torch.no_grad():
            yield
    except torch.cuda.OutOfMemoryError as error:
        raise UserError("the GPU's memory is too small; lower --batch") from error


def _in_format(pixels: np.ndarray, format: str) -> np.ndarray:
    if format == "L":
        return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    return pixels[:, :, ::-1] if format == "BGR" else pixels


def _found(instances: Instances) -> Detections:
    return Detections(
        instances.pred_boxes.tensor.numpy(),
        instances.scores.numpy(),
        instances.pred_classes.numpy(),
    )


def _floor(model: nn.Module, cfg: CfgNode) -> float:
    """The score below which the detector itself drops boxes. One-stage detectors have an attribute
    for it, two-stage ones a config key.
    """
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
        return float(cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
    return float(getattr(model, "test_score_thresh", 0.0))

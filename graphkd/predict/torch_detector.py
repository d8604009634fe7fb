"""Layout detectors in `.pth` and `.safetensors` files, run by Detectron2 as in evaluation."""

from collections.abc import Sequence
from dataclasses import replace

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


class TorchDetector(Detector):
    """A Detectron2 model with the page preparation of its config."""

    def __init__(self, stored: ModelFile, *, device: str):
        self._model = build_detector(stored, device=device)
        floor = _floor(self._model, stored.cfg)
        super().__init__(stored.path.name, replace(stored.header, score_floor=floor))
        mapper = PageMapper(stored.cfg, is_train=False)
        self._augmentations, self._format = mapper.augmentations, mapper.image_format
        if self._format not in ("RGB", "BGR", "L"):
            raise UserError(f"{stored.path}: INPUT.FORMAT {self._format!r} is not RGB, BGR or L")
        # Detectron2 pads a batch to multiples of this; the same pads mean the same results.
        backbone = getattr(self._model, "backbone", None)
        self._divisor = max(1, getattr(backbone, "size_divisibility", 0))

    def prepare(self, pixels: np.ndarray) -> Prepared:
        """Resizes a page as evaluation does; its shape is that after padding."""
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
        try:
            with inference_context(self._model), torch.no_grad():
                outputs = self._model([page.content for page in batch])
        except torch.cuda.OutOfMemoryError as error:
            raise UserError("the GPU's memory is too small; lower --batch") from error
        return [_found(output["instances"].to("cpu")) for output in outputs]


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
    """The detector's own cut of low scores; one-stage detectors of Detectron2 keep it in one place,
    two-stage ones, which have no such attribute, in their config.
    """
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
        return float(cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
    return float(getattr(model, "test_score_thresh", 0.0))

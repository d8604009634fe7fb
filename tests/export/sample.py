"""Tiny detectors with random weights that find something, and pages for them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from graphkd.modelfile import Header, ModelFile
from tests.small import CLASSES, small_cfg, small_model

SIZE = ("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128")
RETINANET = (
    *("MODEL.RETINANET.NUM_CLASSES", "5", "MODEL.FPN.OUT_CHANNELS", "32"),
    *("MODEL.RETINANET.TOPK_CANDIDATES_TEST", "100", "MODEL.RETINANET.NUM_CONVS", "1"),
)
GFL = ("MODEL.GFL.NUM_CLASSES", "5", "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.GFL.NUM_CONVS", "1")
OWN = {"retinanet": RETINANET, "gfl": GFL}
# Random heads say nearly the same everywhere: larger last layers make their scores differ.
LOUDER = {
    "box_predictor.cls_score.weight": 30,
    "box_predictor.bbox_pred.weight": 100,
    "objectness_logits.weight": 20,
    "head.cls_score.weight": 20,
    "head.bbox_pred.weight": 20,
}


@lru_cache
def stored(name: str = "rcnn_tiny_R18", *overrides: str) -> ModelFile:
    """A detector as read from a file; for pages of 96 to 128 px."""
    overrides = (*SIZE, *OWN.get(name.split("_")[0], ()), *overrides)
    state = small_model(name, *overrides).state_dict()
    for key in state:
        for part, factor in LOUDER.items():
            if key.endswith(part):
                state[key] = state[key] * factor
    cfg = small_cfg(name, *overrides)
    calibration = {"thresholds": {"title": 0.25}}
    header = Header(CLASSES, calibration=calibration, card={"seed": "0"})
    return ModelFile(Path("tiny.pth"), cfg, state, header)


def header(floor: float, precision: str = "float32") -> Header:
    """A header with one threshold that is not the usual one."""
    thresholds = {name: 0.25 if name == "title" else 0.5 for name in CLASSES}
    return Header(
        CLASSES,
        calibration={"thresholds": thresholds},
        score_floor=floor,
        precision=precision,
        card={"seed": "0"},
    )


def page(height: int = 128, width: int = 96, *, seed: int = 0) -> np.ndarray:
    """A white page with coloured blocks, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for _ in range(30):
        top, left = random.integers(0, height), random.integers(0, width)
        high, wide = random.integers(3, height // 3), random.integers(3, width // 2)
        pixels[top : top + high, left : left + wide] = random.integers(0, 256, 3)
    return pixels

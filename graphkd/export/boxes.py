"""The export of layout detectors: signature, header, network, pages, limits of the comparison."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from graphkd.errors import UserError
from graphkd.export.box_parity import BoxLimits, compare
from graphkd.export.files import Signature
from graphkd.export.job import Comparison, ExportOptions
from graphkd.export.network import BoxNetwork
from graphkd.export.pages import Pages, generated_pages, named_pages
from graphkd.export.parity import open_exported
from graphkd.modelfile import Header, ModelFile, build_detector
from graphkd.modeling.network import is_untrained
from graphkd.predict.detector import Detector, ExportedDetector
from graphkd.predict.torch_detector import TorchDetector

logger = logging.getLogger(__name__)

SIGNATURE = Signature(
    inputs={"images": {0: "N", 1: "H", 2: "W"}},
    outputs=dict.fromkeys(("boxes", "scores", "classes", "image_index"), {0: "M"}),
    example=(
        torch.randint(
            0, 256, (2, 203, 149, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        ),
    ),
    # Resizing, and the layers that determine scores and the exact edges of boxes.
    exact=(
        "cls_score",
        "bbox_pred",
        "objectness_logits",
        "anchor_deltas",
        "/quality/",
        "/preprocess/",
    ),
)
# docs/export.md has measurements for the less exact formats.
LIMITS = {
    "exact": BoxLimits(ap=0.1, box=0.001, unmatched=0.02),
    "half": BoxLimits(ap=1.0, box=0.001, unmatched=0.02),
    "int8": BoxLimits(ap=1.5, box=0.005, unmatched=0.05),
}
# Seeds of generated pages that no data set uses, and numbers of pages.
_PARITY_SEED, _PARITY_PAGES = 104, 48
_CALIBRATION_SEED, _CALIBRATION_PAGES = 105, 32
# The pages are somewhat larger than the detector's input, so that resizing is compared, too. The
# factor is no simple fraction: at 6 : 5, many values would lie exactly between two grey levels, and
# programs round these differently.
_LARGER = 1.24
_LONGEST_PAGE = 2048


class BoxExporter:
    """The export of one layout detector; see `graphkd.export.job.Exporter`.

    Args:
        stored: the trained detector.
    """

    signature, budget = SIGNATURE, None

    def __init__(self, stored: ModelFile):
        self._stored = without_voting(stored)
        self._trained = TorchDetector(self._stored, device="cpu")

    def header(self, options: ExportOptions) -> Header:
        """The header with the thresholds of the options.

        Raises:
            UserError: an unknown class, or a threshold below the lowest score of the detector.
        """
        said, floor = self._stored.header, self._trained.header.score_floor
        thresholds = self._trained.shown_scores(score=options.score, by_class=options.by_class)
        low = [name for name, score in thresholds.items() if score < floor]
        if low and (options.score is not None or options.by_class):
            raise UserError(
                f"--score: this model gives no scores below {floor:g} (its SCORE_THRESH_TEST), but "
                f"{thresholds[low[0]]:g} was given for {low[0]}"
            )
        return replace(
            said,
            calibration={**said.calibration, "thresholds": thresholds},
            card=card_of(self._stored),
            score_floor=floor,
        )

    def network(self, *, for_openvino: bool) -> nn.Module:
        """See `Exporter.network`."""
        detector = build_detector(self._stored)
        return BoxNetwork(detector, self._stored.cfg, for_openvino=for_openvino).eval()

    def calibration(self, options: ExportOptions, *, progress: bool) -> Iterator[tuple[np.ndarray]]:
        """Pages for the calibration, each (1, H, W, 3) uint8 RGB."""
        count = _CALIBRATION_PAGES
        pages = self._pages(options.calibrate, count=count, most=count, seed=_CALIBRATION_SEED)
        bar = tqdm(pages, "calibrating", unit="page", total=len(pages), disable=not progress)
        return ((pixels[None],) for pixels in bar)

    def samples(self, options: ExportOptions) -> Pages:
        """The pages for the comparison."""
        return self._pages(options.pages, count=_PARITY_PAGES, most=options.most, seed=_PARITY_SEED)

    def compare(
        self, path: Path, samples: Pages, options: ExportOptions, *, progress: bool
    ) -> Comparison:
        """Compares a written file with the trained detector; see `graphkd.export.box_parity`."""
        parity = compare(self._trained, load_exported(path), samples, progress=progress)
        return parity.against(LIMITS[options.precision], tolerance=options.tolerance)

    def _pages(self, name: str | None, *, count: int, most: int, seed: int) -> Pages:
        classes, size = self._stored.classes, self._stored.cfg.INPUT
        if name is not None:
            return named_pages(name, classes=classes, most=most)
        long_side = size.MAX_SIZE_TEST
        if size.MIN_SIZE_TEST:
            long_side = min(_LONGEST_PAGE, max(64, round(_LARGER * long_side)))
        return generated_pages(classes=classes, count=count, seed=seed, long_side=long_side)


def without_voting(stored: ModelFile) -> ModelFile:
    """The model with ordinary suppression of boxes (NMS); warns if this changes it."""
    if not stored.cfg.TEST.get("SCORE_VOTING", False):
        return stored
    logger.warning("TEST.SCORE_VOTING is not exported; the file uses plain NMS")
    stored = replace(stored, cfg=stored.cfg.clone())
    stored.cfg.defrost()
    stored.cfg.TEST.SCORE_VOTING = False
    return stored


def card_of(stored: ModelFile) -> dict[str, str]:
    """The facts of a model file, and whether its weights are untrained."""
    untrained = {"untrained": "yes"} if is_untrained(stored.state) else {}
    return {**stored.header.card, **untrained}


def load_exported(path: Path) -> Detector:
    """Loads an exported file of any format as a detector on the CPU.

    Raises:
        UserError: another kind of file, a damaged one, or a missing package.
    """
    return open_exported(
        path, trained=lambda stored: TorchDetector(stored, device="cpu"), exported=ExportedDetector
    )

"""From a text map to polygons: contours, scores, and undoing DB's shrinking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from graphkd.errors import UserError
from graphkd.text.east import EASTDecoder
from graphkd.text.polygons import (
    exact_distance,
    mean_inside,
    min_rectangle,
    unclip_polygon,
    unclip_rectangle,
)

# Part of a contour's length by which a polygon may differ from it.
_SIMPLIFY = 0.002
_KEYS = {
    "SHAPE": ("box", "polygon"),
    "SCORE": ("fast", "slow"),
    "UNCLIP": ("exact", "ratio"),
}


@dataclass(frozen=True)
class MapDecoder:
    """Finds text in a map of shrunk text regions.

    Attributes:
        shrink_ratio: r with which the regions of the map were shrunk.
        thresh: probability above which a pixel belongs to a text.
        box_thresh: least mean probability of a text.
        shape: "box", rectangles of least area, or "polygon".
        score: "fast", the mean inside the shape, or "slow", inside its contour.
        unclip: "exact", which undoes the shrinking, or "ratio", the published rule.
        unclip_ratio: of the published rule; 1.5 for boxes and 2.0 for polygons there.
        unclip_scale: factor on the exact distance, fitted on validation data.
        candidates: greatest number of contours.
        min_before: least shorter side in pixels of the map before unclipping.
        min_after: the same after it.
    """

    shrink_ratio: float = 0.6
    thresh: float = 0.3
    box_thresh: float = 0.5
    shape: str = "box"
    score: str = "fast"
    unclip: str = "exact"
    unclip_ratio: float = 1.5
    unclip_scale: float = 1.0
    candidates: int = 3000
    min_before: float = 3.0
    min_after: float = 5.0

    def __call__(
        self, maps: Mapping[str, np.ndarray], *, size: tuple[int, int], original: tuple[int, int]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Polygons (P, 2) in pixels of the original image, and their scores (G,).

        Args:
            maps: `text`, (1, H, W) logits; padding may lie at the bottom and on the right.
            size: height and width of the map without padding.
            original: those of the original image.
        """
        return self.grow(self.regions(maps["text"][0], size), size=size, original=original)

    def regions(self, logits: np.ndarray, size: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
        """The shrunk shapes (P, 2) in pixels of the map that pass `box_thresh`, with scores.

        `unclip_scale` has no influence on them, so that it can be fitted afterwards.
        """
        logits = np.ascontiguousarray(logits[: size[0], : size[1]], np.float32)
        text = (logits > np.log(self.thresh / (1 - self.thresh))).astype(np.uint8)
        contours, _ = cv2.findContours(text, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for contour in contours[: self.candidates]:
            # Contours run through the centres of pixels.
            points = contour[:, 0] + 0.5
            corners, short = min_rectangle(points, pixels=True)
            if short < self.min_before:
                continue
            shape = corners
            if self.shape == "polygon":
                length = _SIMPLIFY * cv2.arcLength(contour, True)
                shape = cv2.approxPolyDP(contour, length, True)[:, 0] + 0.5
                if len(shape) < 4:
                    continue
                shape = unclip_polygon(shape, lambda area, length: 0.5)
                if len(shape) < 4:
                    continue
            score = mean_inside(logits, points if self.score == "slow" else shape)
            if score >= self.box_thresh:
                found.append((shape, score))
        return found

    def grow(
        self,
        regions: Sequence[tuple[np.ndarray, float]],
        *,
        size: tuple[int, int],
        original: tuple[int, int],
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Undoes the shrinking of `regions` and brings them to pixels of the original image."""
        if self.unclip == "exact":
            distance, scale = partial(exact_distance, ratio=self.shrink_ratio), self.unclip_scale
        else:
            distance, scale = self._published_distance, 1.0
        factor = np.array([original[1] / size[1], original[0] / size[0]])
        unclipped = unclip_rectangle if self.shape == "box" else unclip_polygon
        polygons, scores = [], []
        for shape, score in regions:
            shape = unclipped(shape, distance, scale)
            if not len(shape) or min_rectangle(shape)[1] < self.min_after:
                continue
            polygons.append(np.clip(shape * factor, 0, [original[1], original[0]]))
            scores.append(score)
        return polygons, np.array(scores, np.float64)

    def _published_distance(self, area: float, perimeter: float) -> float:
        return area * self.unclip_ratio / max(perimeter, 1e-12)


def decoder_for(cfg: Any) -> MapDecoder | EASTDecoder:
    """The decoder of a config's model, DB or EAST.

    Raises:
        UserError: an unknown word in TEST.TEXT, or a wrong SHRINK_RATIO.
    """
    node = cfg.TEST.TEXT
    if cfg.MODEL.META_ARCHITECTURE == "EAST":
        return EASTDecoder(
            geometry=cfg.MODEL.EAST.GEOMETRY,
            thresh=node.EAST_THRESH,
            nms=node.EAST_NMS,
            box_thresh=node.EAST_BOX_THRESH,
        )
    for key, choices in _KEYS.items():
        if node[key] not in choices:
            raise UserError(f"TEST.TEXT.{key} is {node[key]}; choose {' or '.join(choices)}")
    return MapDecoder(
        shrink_ratio=shrink_ratios(cfg)[1],
        **{key.lower(): node[key] for key in node if key.lower() in MapDecoder.__annotations__},
    )


def shrink_ratios(cfg: Any) -> tuple[float, float]:
    """MODEL.DB.SHRINK_RATIO at the beginning and at the end of the training.

    Raises:
        UserError: it has neither one number nor two, or one outside 0..1.
    """
    ratios = cfg.MODEL.DB.SHRINK_RATIO
    if len(ratios) not in (1, 2) or not all(0 < each < 1 for each in ratios):
        raise UserError(
            f"MODEL.DB.SHRINK_RATIO is {list(ratios)}; give one r in 0..1, or the first and last"
        )
    return float(ratios[0]), float(ratios[-1])

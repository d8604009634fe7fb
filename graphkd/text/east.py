"""EAST's boxes: restoring them from the maps, and locality-aware suppression."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from graphkd.text.polygons import mean_inside, ordered, sigmoid

STRIDE = 4
# Channels of the geometry map by kind.
CHANNELS = {"rbox": 5, "quad": 8}
# Greatest distance of a side, and of a corner on each axis, in pixels.
RBOX_REACH = 512.0
QUAD_REACH = 800.0


@dataclass(frozen=True)
class EASTDecoder:
    """Finds text in EAST's maps.

    Attributes:
        geometry: "rbox" or "quad".
        thresh: score above which a cell gives a box.
        nms: IoU above which boxes are merged or suppressed.
        box_thresh: least mean score inside a box.
    """

    geometry: str = "rbox"
    thresh: float = 0.8
    nms: float = 0.2
    box_thresh: float = 0.1

    def __call__(
        self, maps: Mapping[str, np.ndarray], *, size: tuple[int, int], original: tuple[int, int]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Quadrilaterals (4, 2) in pixels of the original image, and their scores (G,).

        Args:
            maps: `text` (1, h, w) and `geometry` (5 or 8, h, w), raw, at stride 4; padding may lie
                at the bottom and on the right.
            size: height and width of the image without padding.
            original: those of the original image.
        """
        rows, columns = (math.ceil(side / STRIDE) for side in size)
        logits = maps["text"][0, :rows, :columns]
        y, x = np.nonzero(logits > math.log(self.thresh / (1 - self.thresh)))
        cells = maps["geometry"][:, y, x].astype(np.float64).T
        points = STRIDE * np.stack([x, y], 1).astype(np.float64)
        boxes = restored(points, cells, self.geometry)
        boxes, _ = locality_nms(boxes, sigmoid(logits[y, x]), self.nms)
        factor = np.array([original[1] / size[1], original[0] / size[0]])
        polygons, scores = [], []
        for box in boxes:
            # Scores add up where boxes are merged, so that they exceed 1: measure again.
            score = mean_inside(logits, box / STRIDE + 0.5)
            if score > self.box_thresh:
                polygons.append(np.clip(ordered(box) * factor, 0, [original[1], original[0]]))
                scores.append(score)
        return polygons, np.array(scores, np.float64)


def restored(points: np.ndarray, cells: np.ndarray, geometry: str) -> np.ndarray:
    """The boxes (R, 4, 2) of raw predictions.

    Args:
        points: (R, 2) x y of the cells in pixels.
        cells: (R, 5) or (R, 8) raw values of the geometry map.
        geometry: "rbox" or "quad".
    """
    shares = sigmoid(cells)
    if geometry == "quad":
        return points[:, None] + (2 * QUAD_REACH * (shares - 0.5)).reshape(-1, 4, 2)
    top, right, bottom, left = RBOX_REACH * shares[:, :4, None].transpose(1, 0, 2)
    angle = (shares[:, 4] - 0.5) * math.pi / 2
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    across = np.stack([-np.sin(angle), np.cos(angle)], 1)
    corners = (
        -left * along - top * across,
        right * along - top * across,
        right * along + bottom * across,
        bottom * across - left * along,
    )
    return points[:, None] + np.stack(corners, 1)


def locality_nms(
    boxes: np.ndarray, scores: np.ndarray, max_overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Merges neighbours and suppresses what is left.

    Args:
        boxes: (R, 4, 2), row by row as the cells lie on the page.
        scores: (R,).
        max_overlap: IoU above which a box joins the one before it, by the mean of both weighted by
            their scores, and above which the lower of two boxes is dropped.

    Returns:
        Boxes (G, 4, 2), best first, and their scores, which add up where boxes joined.
    """
    merged: list[list] = []
    for box, score in zip(boxes, scores, strict=True):
        if merged and iou(box, merged[-1][0]) > max_overlap:
            last, weight = merged[-1]
            total = weight + score
            merged[-1] = [(last * weight + box * score) / total, total]
        else:
            merged.append([box, score])
    merged.sort(key=lambda each: -each[1])
    kept: list[list] = []
    for box, score in merged:
        if all(iou(box, other) <= max_overlap for other, _ in kept):
            kept.append([box, score])
    if not kept:
        return np.zeros((0, 4, 2)), np.zeros(0)
    return np.array([box for box, _ in kept]), np.array([score for _, score in kept])


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two convex quadrilaterals (4, 2)."""
    if (first.max(0) <= second.min(0)).any() or (second.max(0) <= first.min(0)).any():
        return 0.0
    # Near the origin float32 loses less.
    origin = first[0]
    one, other = ((each - origin).astype(np.float32) for each in (first, second))
    both = cv2.intersectConvexConvex(one, other)[0]
    union = cv2.contourArea(one) + cv2.contourArea(other) - both
    return both / union if union > 0 else 0.0

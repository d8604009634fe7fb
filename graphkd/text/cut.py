"""Cutting one text line out of a page: an upright picture from its outline or baseline."""

import cv2
import numpy as np

from graphkd.text.polygons import MITRED, min_rectangle, pieces, valid

MARGIN = 0.05  # of the line's height, on every side
# A line that is higher than this times its width is written from top to bottom and is turned.
TURNED = 1.5
LEAST_SIDE = 3.0  # pixels; what is thinner holds no text
# A rectangle of more pages than this is a mistake in the outline and would fill the memory.
_LARGEST = 4


def cut_line(
    page: np.ndarray,
    polygon: np.ndarray,
    *,
    baseline: np.ndarray | None = None,
    margin: float = MARGIN,
) -> np.ndarray | None:
    """The picture of a line, upright, at the page's resolution.

    The rectangle of least area around the outline, or the rectangle along the baseline if that is
    known, becomes the picture. What is outside of the outline gets the median colour of what is
    inside, so that neighbouring lines are not seen. A line that is much higher than wide is turned
    to the left, unless its baseline says how it runs.

    Args:
        page: uint8 (H, W, 3) or (H, W).
        polygon: (P, 2) outline in pixels of the page; pixel i covers i to i + 1.
        baseline: (B, 2) points in reading direction, if known.
        margin: share of the height that is added on every side.

    Returns:
        uint8 (h, w, 3) or (h, w), or None if the outline is thinner than three pixels, lies off the
        page or is far larger than it.
    """
    polygon = np.asarray(polygon, np.float64).reshape(-1, 2)
    corners = line_corners(polygon, baseline=baseline, margin=margin)
    width, height = _sides(corners)
    grown = margin / (1 + 2 * margin) * min(width, height)
    if min(width, height) - 2 * grown < LEAST_SIDE or _off(polygon, page.shape[:2]):
        return None
    if width * height > _LARGEST * page.shape[0] * page.shape[1]:
        return None
    width, height = max(1, round(width)), max(1, round(height))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    # OpenCV puts integers at the centres of pixels.
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    moved = shift @ matrix @ np.linalg.inv(shift)
    picture = cv2.warpPerspective(
        page, moved, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    outline = valid(cv2.perspectiveTransform(polygon[None], matrix)[0])
    _paint(picture, outline.buffer(grown, **MITRED))
    return picture


def line_corners(
    polygon: np.ndarray, *, baseline: np.ndarray | None = None, margin: float = MARGIN
) -> np.ndarray:
    """The corners (4, 2) of the picture of a line on its page, from the upper left one as it is
    read; see `cut_line`.
    """
    polygon = np.asarray(polygon, np.float64).reshape(-1, 2)
    corners = _rectangle(polygon, baseline)
    width, height = (max(side, 1e-9) for side in _sides(corners))
    grown = margin * min(width, height)
    along, down = (corners[1] - corners[0]) / width, (corners[3] - corners[0]) / height
    steps = np.array([-along - down, along - down, along + down, down - along]) * grown
    turned = baseline is None and height > TURNED * width
    return np.roll(corners + steps, -turned, 0)


def _rectangle(polygon: np.ndarray, baseline: np.ndarray | None) -> np.ndarray:
    """Corners (4, 2) of the rectangle around a line, from the upper left one as it is read."""
    if baseline is None or len(baseline) < 2:
        return min_rectangle(polygon)[0]
    along = np.asarray(baseline[-1], np.float64) - np.asarray(baseline[0], np.float64)
    length = float(np.hypot(*along))
    if length == 0:
        return min_rectangle(polygon)[0]
    axes = np.array([along, [-along[1], along[0]]]) / length
    inside = polygon @ axes.T
    (left, top), (right, low) = inside.min(0), inside.max(0)
    return np.array([[left, top], [right, top], [right, low], [left, low]]) @ axes


def _sides(corners: np.ndarray) -> tuple[float, float]:
    """Width and height of a rectangle given by its corners."""
    return tuple(float(np.hypot(*(corners[i] - corners[0]))) for i in (1, 3))


def _off(polygon: np.ndarray, size: tuple[int, int]) -> bool:
    (left, top), (right, low) = polygon.min(0), polygon.max(0)
    return left >= size[1] or top >= size[0] or right <= 0 or low <= 0


def _paint(picture: np.ndarray, outline) -> None:
    """Gives what is outside of an outline the median colour of the inside, in place."""
    inside = np.zeros(picture.shape[:2], np.uint8)
    for points in pieces(outline):
        cv2.fillPoly(inside, [np.round(points - 0.5).astype(np.int32)], 1)
    if inside.any() and not inside.all():
        picture[inside == 0] = np.median(picture[inside > 0], axis=0).astype(np.uint8)

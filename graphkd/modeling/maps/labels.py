"""Label maps of DB and EAST, drawn with numpy, OpenCV and shapely in the loader's processes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from detectron2.config import CfgNode

from graphkd.text.decode import shrink_ratios
from graphkd.text.east import CHANNELS, STRIDE
from graphkd.text.polygons import fill, min_rectangle, ordered, pieces, shrink_distance, valid

LOWEST, HIGHEST = 0.3, 0.7
# How far EAST moves the ends of an edge, in parts of the shorter edge there.
EAST_SHRINK = 0.3
# (polygons, ignore, height, width, progress) -> name -> (c, h, w) map.
LabelMaker = Callable[[Sequence[np.ndarray], np.ndarray, int, int, float], dict[str, np.ndarray]]


def label_maker(cfg: CfgNode) -> LabelMaker | None:
    """What draws the label maps of a config's model; None for a model that is not trained on maps.

    It is called with polygons (P, 2) in pixels of the image, which of them are ignored (G,), height
    and width of the image, and the finished share of the training. `text` and `mask` are
    (1, height, width) uint8 for every model.
    """
    if cfg.MODEL.META_ARCHITECTURE == "DB":
        return DBLabels(shrink_ratios(cfg), cfg.MODEL.MAPS.MIN_TEXT)
    if cfg.MODEL.META_ARCHITECTURE == "EAST":
        return EASTLabels(cfg.MODEL.EAST.GEOMETRY, cfg.MODEL.MAPS.MIN_TEXT)
    return None


@dataclass(frozen=True)
class DBLabels:
    """Draws `text`, `mask`, `threshold` and `threshold_mask`.

    All pieces of a shrunk polygon are kept. Ignored and too small texts are out of `mask` and have
    no threshold. Distances to the border are those to its segments [ours].

    Attributes:
        ratios: r at the beginning and at the end of the training.
        min_text: least shorter side of the rectangle around a text.
    """

    ratios: tuple[float, float]
    min_text: float

    def __call__(
        self,
        polygons: Sequence[np.ndarray],
        ignore: np.ndarray,
        height: int,
        width: int,
        progress: float,
    ) -> dict[str, np.ndarray]:
        ratio = self.ratios[0] + progress * (self.ratios[1] - self.ratios[0])
        text, inside = (np.zeros((height, width), np.uint8) for _ in range(2))
        mask, near = np.ones_like(text), np.zeros((height, width), np.float32)
        for points, ignored in zip(polygons, ignore, strict=True):
            shape = valid(points)
            distance = shrink_distance(shape.area, shape.length, ratio)
            kernels = pieces(shape.buffer(-distance))
            small = shape.is_empty or min_rectangle(points)[1] < self.min_text
            if ignored or small or not kernels:
                fill(mask, points, 0)
                continue
            for kernel in kernels:
                fill(text, kernel, 1)
            for outline in pieces(shape.buffer(distance)):
                fill(inside, outline, 1)
            for outline in pieces(shape):
                draw_nearness(near, outline, distance)
        threshold = LOWEST + (HIGHEST - LOWEST) * near
        maps = {"text": text, "mask": mask, "threshold": threshold, "threshold_mask": inside}
        return {name: each[None] for name, each in maps.items()}


def draw_nearness(canvas: np.ndarray, points: np.ndarray, reach: float) -> None:
    """Raises `canvas` (H, W) float32 to 1 - distance / reach from the nearest edge, in place.

    Edge by edge, each in its own window, since distances beyond `reach` don't matter.
    """
    height, width = canvas.shape
    corners = np.asarray(points, np.float64).tolist()
    # Plain numbers: numpy's overhead on single points took half of the time.
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        left = max(math.floor(min(x0, x1) - reach), 0)
        top = max(math.floor(min(y0, y1) - reach), 0)
        right = min(math.ceil(max(x0, x1) + reach), width)
        bottom = min(math.ceil(max(y0, y1) + reach), height)
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x0)
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y0)
        edge = x1 - x0, y1 - y0
        square = max(edge[0] ** 2 + edge[1] ** 2, 1e-12)
        along = x * np.float32(edge[0] / square) + y * np.float32(edge[1] / square)
        along = np.minimum(np.maximum(along, 0, out=along), 1, out=along)
        x = x - along * np.float32(edge[0])
        y = y - along * np.float32(edge[1])
        distance = np.sqrt(x * x + y * y)
        window = canvas[top:bottom, left:right]
        np.maximum(window, 1 - distance / np.float32(reach), out=window)


@dataclass(frozen=True)
class EASTLabels:
    """Draws `text`, `mask`, and at stride 4 `geometry`.

    Its channels are those that `graphkd.modeling.maps.map_losses.east_losses` reads. A text of more
    than four corners is its rectangle of least area.

    Attributes:
        geometry: "rbox" or "quad".
        min_text: least shorter side of the rectangle around a text.
    """

    geometry: str
    min_text: float

    def __call__(
        self,
        polygons: Sequence[np.ndarray],
        ignore: np.ndarray,
        height: int,
        width: int,
        progress: float,
    ) -> dict[str, np.ndarray]:
        text, mask = np.zeros((height, width), np.uint8), np.ones((height, width), np.uint8)
        channels = CHANNELS[self.geometry] + (self.geometry == "quad")
        rows, columns = math.ceil(height / STRIDE), math.ceil(width / STRIDE)
        geometry = np.zeros((channels, rows, columns), np.float32)
        for points, ignored in zip(polygons, ignore, strict=True):
            rectangle, short = min_rectangle(points)
            if ignored or short < self.min_text:
                fill(mask, points, 0)
                continue
            box = np.asarray(points, np.float64) if _is_quadrilateral(points) else rectangle
            own = np.zeros_like(text)
            fill(own, shrunk_quad(box), 1)
            y, x = np.nonzero(own[::STRIDE, ::STRIDE])
            text |= own
            cells = STRIDE * np.stack([x, y], 1).astype(np.float64)
            geometry[:, y, x] = encoded(cells, box, rectangle, self.geometry).T
        return {"text": text[None], "mask": mask[None], "geometry": geometry}


def _is_quadrilateral(points: np.ndarray) -> bool:
    return len(points) == 4 and shapely.Polygon(points).is_valid


def shrunk_quad(corners: np.ndarray) -> np.ndarray:
    """EAST's shrunk quadrilateral: both ends of each edge move inwards, longer pair first."""
    corners = corners.copy()
    lengths = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    steps = EAST_SHRINK * np.minimum(lengths, np.roll(lengths, 1))
    first = 0 if lengths[0] + lengths[2] >= lengths[1] + lengths[3] else 1
    for start in (first, first + 2, first + 1, first + 3):
        one, other = start % 4, (start + 1) % 4
        edge = corners[other] - corners[one]
        edge /= max(float(np.linalg.norm(edge)), 1e-12)
        corners[one] += steps[one] * edge
        corners[other] -= steps[other] * edge
    return corners


def encoded(
    points: np.ndarray, box: np.ndarray, rectangle: np.ndarray, geometry: str
) -> np.ndarray:
    """The geometry of cells at `points` (R, 2), (R, 5) for "rbox" and (R, 9) for "quad".

    Args:
        points: x y in pixels.
        box: (4, 2) corners of the text.
        rectangle: (4, 2) corners of the rectangle around it.
        geometry: "rbox" or "quad".
    """
    if geometry == "quad":
        offsets = (ordered(box) - points[:, None]).reshape(-1, 8)
        edges = np.linalg.norm(box - np.roll(box, -1, 0), axis=1)
        weight = 1 / (8 * max(float(edges.min()), 1.0))
        return np.concatenate([offsets, np.full((len(points), 1), weight)], 1)
    start, sides, angle = _upright(rectangle)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-math.sin(angle), math.cos(angle)])
    left, top = (points - start) @ along, (points - start) @ across
    rows = (top, sides[0] - left, sides[1] - top, left, np.full(len(points), angle))
    return np.stack(rows, 1)


def _upright(rectangle: np.ndarray) -> tuple[np.ndarray, tuple[float, float], float]:
    """First corner, (width, height) and angle in [-45, 45] degrees, in radians, of a rectangle."""
    for index in range(4):
        corner, after, before = (rectangle[(index + i) % 4] for i in (0, 1, 3))
        edge = after - corner
        angle = math.atan2(edge[1], edge[0])
        if -math.pi / 4 <= angle <= math.pi / 4:
            break
    width, height = np.linalg.norm(edge), np.linalg.norm(before - corner)
    return corner, (float(width), float(height)), angle

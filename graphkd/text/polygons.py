"""Polygons of text: rectangles around them, corner order, shrinking, and undoing the shrinking.

Coordinates are continuous: pixel (i, j) covers [j, j + 1] x [i, i + 1].
"""

import math

import cv2
import numpy as np
import shapely

# Fractional bits of the coordinates that OpenCV draws with.
_BITS = 4
# A right angle needs 1.41; sharper corners than this are cut off.
_MITRE = 2.0


def ordered(corners: np.ndarray) -> np.ndarray:
    """Four corners clockwise on the page, from the one with the least x + y.

    OpenCV's own order differs between its versions.

    Args:
        corners: (4, 2) of a convex quadrilateral, in any order.
    """
    middle = corners.mean(0)
    corners = corners[np.argsort(np.arctan2(*(corners - middle).T[::-1]), kind="stable")]
    return np.roll(corners, -int(corners.sum(1).argmin()), 0)


def min_rectangle(points: np.ndarray, *, pixels: bool = False) -> tuple[np.ndarray, float]:
    """The rectangle of least area around points, as (4, 2) ordered corners, and its shorter side.

    Args:
        points: (P, 2), P >= 1.
        pixels: the points are centres of pixels, so what they cover is larger: by half a pixel on
            every side of an upright rectangle, by nothing where a side crosses rows of pixels,
            since centres then lie on it; by (1 - D)^2 / 2 on average for a side that moves by D
            pixels against the grid. [ours]
    """
    centre, sides, degrees = cv2.minAreaRect(np.asarray(points, np.float32))
    angle = math.radians(degrees)
    width, height = sides
    if pixels:
        drift = min(abs(math.sin(angle)), abs(math.cos(angle)))
        width, height = (
            width + (1 - min(1.0, height * drift)) ** 2,
            height + (1 - min(1.0, width * drift)) ** 2,
        )
    along = np.array([math.cos(angle), math.sin(angle)]) * width / 2
    across = np.array([-math.sin(angle), math.cos(angle)]) * height / 2
    corners = np.array([-along - across, along - across, along + across, across - along])
    return ordered(corners + centre), min(width, height)


def offset_rectangle(corners: np.ndarray, distance: float) -> np.ndarray:
    """Moves the sides of a rectangle, (4, 2) in order, outwards."""
    steps = []
    for index in range(4):
        edges = corners[index] - corners[[index - 1, (index + 1) % 4]]
        lengths = np.linalg.norm(edges, axis=1, keepdims=True)
        steps.append((edges / np.maximum(lengths, 1e-12)).sum(0))
    return corners + distance * np.array(steps)


def shrink_distance(area: float, perimeter: float, ratio: float) -> float:
    """How far DB moves the edges of a text inwards: A (1 - r^2) / L."""
    return area * (1 - ratio**2) / max(perimeter, 1e-12)


def exact_distance(area: float, perimeter: float, ratio: float, *, corners: float = 4.0) -> float:
    """How far the edges of a shrunk polygon were moved, so that moving them back is exact. [ours]

    With d = A (1 - r^2) / L, A = A' + L' d + c d^2 and L = L' + 2 c d, it is the positive root of
    c (2 - a) d^2 + (1 - a) L' d - a A' = 0 for a = 1 - r^2.

    Args:
        area: A' of the shrunk polygon.
        perimeter: L' of it.
        ratio: r with which it was shrunk.
        corners: c, 4 for mitred rectangles, pi for round corners.
    """
    a = 1 - ratio**2
    linear, square = (1 - a) * perimeter, corners * (2 - a)
    return (math.sqrt(linear**2 + 4 * square * a * area) - linear) / (2 * square)


def unclip_rectangle(corners: np.ndarray, distance_of, scale: float = 1.0) -> np.ndarray:
    """A rectangle moved out by `scale * distance_of(area, perimeter)`."""
    width, height = (
        np.linalg.norm(corners[1] - corners[0]),
        np.linalg.norm(corners[2] - corners[1]),
    )
    return offset_rectangle(corners, scale * distance_of(width * height, 2 * (width + height)))


def unclip_polygon(points: np.ndarray, distance_of, scale: float = 1.0) -> np.ndarray:
    """A polygon moved out by `scale * distance_of(area, perimeter)`; (P, 2), the largest piece.

    Empty if nothing is left.
    """
    shape = valid(points)
    return largest(shape.buffer(scale * distance_of(shape.area, shape.length), **MITRED))


MITRED = {"join_style": "mitre", "mitre_limit": _MITRE}


def valid(points: np.ndarray) -> shapely.Geometry:
    """A polygon as shapely's; one that crosses itself is repaired. Empty below three points."""
    if len(points) < 3:
        return shapely.Polygon()
    shape = shapely.Polygon(points)
    return shape if shape.is_valid else shapely.make_valid(shape)


def pieces(shape: shapely.Geometry) -> list[np.ndarray]:
    """The outlines (P, 2) of all polygons in a shape, without the repeated last point."""
    parts = shapely.get_parts(shapely.get_parts(shape))  # a part may be a collection, too
    return [
        np.asarray(part.exterior.coords)[:-1]
        for part in parts
        if part.geom_type == "Polygon" and not part.is_empty
    ]


def largest(shape: shapely.Geometry) -> np.ndarray:
    """The outline of the largest polygon in a shape; (0, 2) without one."""
    outlines = pieces(shape)
    if not outlines:
        return np.zeros((0, 2))
    return max(outlines, key=lambda each: cv2.contourArea(each.astype(np.float32)))


def signed_area(points: np.ndarray) -> float:
    """Area of a polygon (P, 2); positive if it runs clockwise on a page whose y points down."""
    (x, y), (u, v) = points.T, points[[*range(1, len(points)), 0]].T
    return float(x @ v - y @ u) / 2


def clockwise(points: np.ndarray) -> np.ndarray:
    """The same polygon (P, 2) with the same first point, running clockwise on the page."""
    return np.roll(points[::-1], 1, axis=0) if signed_area(points) < 0 else points


def fill(canvas: np.ndarray, points: np.ndarray, value: float) -> None:
    """Sets the pixels whose centres lie inside a polygon, in place; a thin one sets its outline.

    OpenCV draws the outline, too, so polygons are made half a pixel smaller before.
    """
    inset = pieces(valid(points).buffer(-0.5, **MITRED))
    for outline in inset or [points]:
        fixed = np.round((outline - 0.5) * 2**_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], value, shift=_BITS)


def mean_inside(values: np.ndarray, points: np.ndarray) -> float:
    """The mean of a map (H, W) of logits over a polygon (P, 2), as probability; 0 outside."""
    height, width = values.shape
    low = np.clip(np.floor(points.min(0)).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(points.max(0)).astype(int), low + 1, [width, height])
    window = values[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points - low - 0.5).astype(np.int32)], 1)
    inside = window[mask > 0]
    return float(sigmoid(inside).mean()) if len(inside) else 0.0


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))

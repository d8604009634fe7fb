"""Lines and regions brought together: duplicates, lines across columns, regions around the rest."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import shapely

from graphkd.document import Line, Region, text_region
from graphkd.read.order import line_height
from graphkd.text.polygons import clockwise, largest, valid

# Lines that overlap more than this are the same line, found twice.
_SAME = 0.7
# A line belongs to a region that covers this part of it.
_INSIDE = 0.5
# A line lies across two columns if both cover this part of it.
_ACROSS = 0.2
# Grey values between ink and paper below which a picture is blank.
_CONTRAST = 25


def ink_of(picture: np.ndarray) -> np.ndarray:
    """Where a picture (h, w, 3) uint8 of text has ink: (h, w) bool, nothing on a blank one.

    Otsu's threshold; the rarer side is the ink, so that white text on black is found too.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    level, _ = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = grey <= level
    if dark.all() or not dark.any() or grey[~dark].mean() - grey[dark].mean() < _CONTRAST:
        return np.zeros(grey.shape, bool)
    return dark if dark.mean() <= 0.5 else ~dark


def without_duplicates(lines: Sequence[Line]) -> list[Line]:
    """The lines in their order without those that overlap a better scored one by IoU > 0.7."""
    shapes = np.array([valid(np.asarray(line.polygon)) for line in lines], object)
    scores = [line.score or 0.0 for line in lines]
    rank = sorted(range(len(lines)), key=lambda i: (-scores[i], lines[i].polygon))
    tree, kept = shapely.STRtree(shapes), set()
    for i in rank:
        near = [j for j in tree.query(shapes[i]) if j in kept]
        common = shapely.area(shapely.intersection(shapes[near], shapes[i]))
        union = shapely.area(shapes[near]) + shapes[i].area - common
        if not (common > _SAME * union).any():
            kept.add(i)
    return [line for i, line in enumerate(lines) if i in kept]


def split_across(lines: Sequence[Line], regions: Sequence[Region], page: np.ndarray) -> list[Line]:
    """The lines, those across two columns in two, if a white gap lies on the border.

    A line is split where two regions side by side both hold a fifth of it and its picture has no
    ink over one line height around the border between them.

    Args:
        lines: of the page.
        regions: of the page.
        page: uint8 (H, W, 3).
    """
    height = line_height(lines)
    boxes = np.array([region.box for region in regions], np.float64).reshape(-1, 4)
    parts = []
    for line in lines:
        x1, y1, x2, y2 = line.box
        wide = np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1)
        high = np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1)
        held = boxes[(wide > _ACROSS * (x2 - x1)) & (high > 0.5 * (y2 - y1))]
        held = held[np.argsort(held[:, 0], kind="stable")]
        borders = [
            (left[2], right[0])
            for left, right in zip(held, held[1:], strict=False)
            if left[2] <= right[0] + height
        ]
        for low, high in borders:
            cut = _gap_at(line, (low, high), page, least=height)
            if cut is not None:
                parts.append(_piece(line, -np.inf, cut))
                line = _piece(line, cut, np.inf)
        parts.append(line)
    return parts


def assign(lines: Sequence[Line], regions: Sequence[Region]) -> list[Region]:
    """The regions with their lines, then new regions `text` around lines outside of all others.

    A line belongs to the region that covers most of it, at least half; of regions that cover it
    equally, to the smallest. Lines outside that stand close below each other share a region.
    """
    shapes = np.array([valid(np.asarray(region.polygon)) for region in regions], object)
    areas = shapely.area(shapes)
    own: list[list[Line]] = [[] for _ in regions]
    outside = []
    for line in lines:
        shape = valid(np.asarray(line.polygon))
        shares = shapely.area(shapely.intersection(shapes, shape)) / max(shape.area, 1e-9)
        best = min(
            range(len(regions)), key=lambda i: (-round(shares[i], 3), areas[i]), default=None
        )
        if best is not None and shares[best] >= _INSIDE:
            own[best].append(line)
        else:
            outside.append(line)
    held = [replace(region, lines=tuple(own[i])) for i, region in enumerate(regions)]
    return [*held, *(text_region(group, score=_mean(group)) for group in _blocks(outside))]


def _mean(lines: Sequence[Line]) -> float:
    return sum(line.score or 0.0 for line in lines) / len(lines)


def _blocks(lines: Sequence[Line]) -> list[list[Line]]:
    """Groups of lines that overlap sideways and are less than one line apart."""
    height = line_height(lines) or 0.0
    boxes = [line.box for line in lines]
    group = list(range(len(lines)))
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        for j, (u1, v1, u2, v2) in enumerate(boxes[:i]):
            beside = min(x2, u2) - max(x1, u1) > 0.5 * min(x2 - x1, u2 - u1)
            if beside and max(y1, v1) - min(y2, v2) < height and group[i] != group[j]:
                old, new = group[i], group[j]
                group = [new if each == old else each for each in group]
    return [[lines[i] for i in range(len(lines)) if group[i] == each] for each in sorted({*group})]


def _gap_at(
    line: Line, border: tuple[float, float], page: np.ndarray, *, least: float
) -> float | None:
    """The middle of a gap without ink, `least` wide, that touches a border; None without."""
    x1, y1, x2, y2 = (max(0, round(value)) for value in line.box)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return None
    columns = ink_of(page[y1:y2, x1:x2]).any(0)
    filled = np.flatnonzero(np.concatenate([[True], columns, [True]])) - 1
    for start, end in zip(filled + 1, filled[1:], strict=False):
        inside = start > 0 and end < len(columns)
        if inside and end - start >= least and x1 + start <= max(border) + 1:
            if x1 + end >= min(border) - 1:
                return x1 + (start + end) / 2
    return None


def _piece(line: Line, low: float, high: float) -> Line:
    """The part of a line between two x."""
    x1, y1, x2, y2 = line.box
    window = shapely.box(max(x1, low), y1, min(x2, high), y2)
    part = largest(valid(np.asarray(line.polygon)).intersection(window))
    return replace(line, polygon=tuple((float(x), float(y)) for x, y in clockwise(part)))

"""Reading order of regions by recursive cuts along white gaps (XY-cut), and of lines in a region.

Equal pages give equal orders, whatever the order of the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphkd.document import Line, Region
from graphkd.formats.page_xml import region_type

ORDERS = ("xycut", "none")
DIRECTIONS = ("ltr", "rtl", "ttb")
# Boxes of detectors overlap a little; they are made smaller by this part of their sides.
_SHRUNK = 0.02
# A region wider than this part of the frame may span a gutter.
_WIDE = 0.6
# A vertical cut needs a gap of this many line heights and this many lines on both sides.
_GAP = 1.0
_LINES = 2
_FIGURES = ("ImageRegion", "GraphicRegion", "ChartRegion", "TableRegion")


@dataclass(frozen=True)
class _Boxes:
    """Boxes of regions (n, 4) in reading direction (x along a line), with their number of lines."""

    boxes: np.ndarray
    lines: np.ndarray
    height: float  # of a line


def region_order(
    regions: Sequence[Region], *, size: tuple[int, int], direction: str = "ltr"
) -> list[int]:
    """The places of regions in reading order.

    Headers and page numbers at the top come first, footers and page numbers at the bottom last. Of
    the others, side notes follow the region beside them, footnotes end their column, and captions
    stand beside the nearest figure or table.

    Args:
        regions: of one page, with the lines that were found in them.
        size: (height, width) of the page.
        direction: "ltr", "rtl", or "ttb" for lines from top to bottom, columns from the right.
    """
    # A total order of the input, on which every tie falls back.
    places = sorted(range(len(regions)), key=lambda i: (_upper(regions[i]), regions[i].label, i))
    kinds = {i: _kind(regions[i].label) for i in places}
    first = [i for i in places if _outer(kinds[i], regions[i], size) < 0]
    last = [i for i in places if _outer(kinds[i], regions[i], size) > 0]
    found = _found(regions, size, direction)
    notes = [i for i in places if kinds[i] in ("marginalia", "footnote", "caption")]
    outside = {*first, *last, *notes}
    body = _cut([i for i in places if i not in outside], found)
    for kind, insert in (
        ("caption", _insert_caption),
        ("footnote", _insert_footnote),
        ("marginalia", _insert_note),
    ):
        own = [i for i in notes if kinds[i] == kind]
        for i in sorted(own, key=lambda i: tuple(found.boxes[i, [1, 0]])):
            insert(body, i, found.boxes, kinds)
    return [*_cut(first, found), *body, *_cut(last, found)]


def line_order(lines: Sequence[Line], *, direction: str = "ltr") -> list[int]:
    """The places of the lines of one region in reading order.

    Lines that share half of the height of the lower one stand in one row; rows go downwards, and
    lines of a row in reading direction. Skew is measured from the baselines.
    """
    if not lines:
        return []
    slope = 0.0
    slopes = [
        (line.baseline[-1][1] - line.baseline[0][1]) / (line.baseline[-1][0] - line.baseline[0][0])
        for line in lines
        if len(line.baseline) > 1 and line.baseline[-1][0] > line.baseline[0][0]
    ]
    if slopes and direction != "ttb":
        slope = float(np.median(slopes))
    points = [np.asarray(line.polygon) @ [[1, -slope], [0, 1]] for line in lines]
    boxes = np.array([[*own.min(0), *own.max(0)] for own in points])
    boxes = _turned(boxes, direction)
    left = sorted(range(len(lines)), key=lambda i: (*boxes[i, [1, 0, 3, 2]], i))
    order: list[int] = []
    while left:
        row = [left[0]]
        top, low = boxes[left[0], [1, 3]]
        for i in left[1:]:
            common = min(low, boxes[i, 3]) - max(top, boxes[i, 1])
            if common > 0.5 * min(low - top, boxes[i, 3] - boxes[i, 1]):
                row.append(i)
        left = [i for i in left if i not in row]
        order += sorted(row, key=lambda i: (*boxes[i, [0, 1, 2, 3]], i))
    return order


def line_height(lines: Sequence[Line]) -> float | None:
    """The median height of lines in pixels: the area by the longer side of the box; None without.

    Boxes of skewed lines are higher than the lines, so the area of the polygon is used.
    """
    heights = []
    for line in lines:
        x, y = np.asarray(line.polygon).T
        area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        heights.append(area / max(float(np.hypot(np.ptp(x), np.ptp(y))), 1.0))
    return float(np.median(heights)) if heights else None


def _kind(label: str) -> str:
    element, attributes = region_type(label)
    return attributes.get("type", element) if element == "TextRegion" else element


def _outer(kind: str, region: Region, size: tuple[int, int]) -> int:
    """-1 for what stands before the text of the page, 1 for what stands after it, else 0."""
    if kind == "page-number":
        return -1 if sum(region.box[1::2]) < size[0] else 1
    return {"header": -1, "footer": 1, "signature-mark": 1}.get(kind, 0)


def _upper(region: Region) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = region.box
    return y1, x1, y2, x2


def _turned(boxes: np.ndarray, direction: str) -> np.ndarray:
    """Boxes as if the page were read from left to right, rows downwards."""
    if direction == "rtl":
        return np.stack([-boxes[:, 2], boxes[:, 1], -boxes[:, 0], boxes[:, 3]], 1)
    if direction == "ttb":
        return np.stack([boxes[:, 1], -boxes[:, 2], boxes[:, 3], -boxes[:, 0]], 1)
    return boxes


def _found(regions: Sequence[Region], size: tuple[int, int], direction: str) -> _Boxes:
    boxes = np.array([region.box for region in regions], np.float64).reshape(-1, 4)
    boxes = _turned(boxes, direction)
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes + _SHRUNK / 2 * np.concatenate([sides, -sides], 1)
    # Without lines, a page is assumed to hold about 70.
    lines = [line for region in regions for line in region.lines]
    height = line_height(lines) or max(size) / 70
    counts = [len(region.lines) for region in regions]
    rough = np.maximum(1, sides[:, 1] // height)
    return _Boxes(boxes, np.where(np.array(counts) > 0, counts, rough), height)


def _cut(places: list[int], found: _Boxes) -> list[int]:
    """The places in reading order: bands between wide regions, else the wider white gap."""
    if len(places) < 2:
        return places
    boxes = found.boxes[places]
    frame = boxes[:, 2].max() - boxes[:, 0].min()
    wide = boxes[:, 2] - boxes[:, 0] > _WIDE * frame
    column = _gap(boxes, places, found, axis=0)
    if column is None and wide.any() and not wide.all():
        narrow = [i for i, spans in zip(places, wide, strict=True) if not spans]
        gutter = _gap(found.boxes[narrow], narrow, found, axis=0)
        if gutter is not None:
            spanning = [
                i
                for i, box, spans in zip(places, boxes, wide, strict=True)
                if spans and box[0] < gutter[1] < box[2]
            ]
            return _bands(places, spanning, found)
    row = _gap(boxes, places, found, axis=1)
    chosen = max((gap for gap in (row, column) if gap), key=lambda gap: gap[0], default=None)
    if chosen is None:
        return sorted(places, key=lambda i: (*found.boxes[i, [1, 0, 3, 2]],))
    axis = 0 if chosen is column else 1
    before = [i for i in places if found.boxes[i, axis] < chosen[1]]
    after = [i for i in places if i not in before]
    return [*_cut(before, found), *_cut(after, found)]


def _bands(places: list[int], spanning: list[int], found: _Boxes) -> list[int]:
    """Each region that spans the columns, after what lies above it."""
    middle = (found.boxes[:, 1] + found.boxes[:, 3]) / 2
    left, order = [i for i in places if i not in spanning], []
    for own in sorted(spanning, key=lambda i: (*found.boxes[i, [1, 0, 3, 2]],)):
        above = [i for i in left if middle[i] < middle[own]]
        left = [i for i in left if i not in above]
        order += [*_cut(above, found), own]
    return [*order, *_cut(left, found)]


def _gap(
    boxes: np.ndarray, places: Sequence[int], found: _Boxes, *, axis: int
) -> tuple[float, float] | None:
    """The widest white gap across the whole frame, in line heights, and its middle; or None.

    Axis 0 are gaps between columns, axis 1 gaps between rows. Of equal gaps the first counts.
    """
    order = np.argsort(boxes[:, axis], kind="stable")
    starts, ends = boxes[order, axis], np.maximum.accumulate(boxes[order, axis + 2])
    widths = starts[1:] - ends[:-1]
    if axis == 0:
        counts = np.cumsum(found.lines[np.asarray(places)][order])
        enough = (counts[:-1] >= _LINES) & (counts[-1] - counts[:-1] >= _LINES)
        widths = np.where(enough & (widths >= _GAP * found.height), widths, 0)
    if not widths.size or widths.max() <= 0:
        return None
    best = int(widths.argmax())
    return float(widths[best] / found.height), float(ends[best] + starts[best + 1]) / 2


def _insert_caption(body: list[int], own: int, boxes: np.ndarray, kinds: dict[int, str]) -> None:
    """After the nearest figure or table; before it if the caption stands above."""
    figures = [i for i in body if kinds[i] in _FIGURES] or body
    if not figures:
        body.append(own)
        return
    near = min(figures, key=lambda i: (_distance(boxes[own], boxes[i]), body.index(i)))
    above = boxes[own, 1] + boxes[own, 3] < boxes[near, 1] + boxes[near, 3]
    body.insert(body.index(near) + (not above), own)


def _insert_footnote(body: list[int], own: int, boxes: np.ndarray, kinds: dict[int, str]) -> None:
    """After the last region of its column, or after everything if it lies under no column."""
    column = [i for i in body if _common(boxes[own], boxes[i], 0) > 0]
    wide = boxes[own, 2] - boxes[own, 0]
    narrow = [i for i in column if wide <= 1.5 * (boxes[i, 2] - boxes[i, 0])]
    body.insert(max((body.index(i) for i in narrow), default=len(body) - 1) + 1, own)


def _insert_note(body: list[int], own: int, boxes: np.ndarray, kinds: dict[int, str]) -> None:
    """After the region that it shares most of its height with, or else the nearest."""
    if not body:
        body.append(own)
        return
    beside = min(
        body,
        key=lambda i: (
            -_common(boxes[own], boxes[i], 1),
            _distance(boxes[own], boxes[i]),
            body.index(i),
        ),
    )
    body.insert(body.index(beside) + 1, own)


def _common(first: np.ndarray, second: np.ndarray, axis: int) -> float:
    """The length that two boxes share along an axis; 0 if they do not."""
    return max(0.0, min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis]))


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of two boxes; 0 where they touch."""
    apart = np.maximum(0, np.maximum(first[:2], second[:2]) - np.minimum(first[2:], second[2:]))
    return float(np.hypot(*apart))

"""Finds out which pixels the numbers of a json mean, and fits boxes and masks to their page."""

import math
from dataclasses import dataclass
from typing import Any

from graphkd.data.images import PageHeader

MIN_SIDE = 0.5  # shortest side of a box in pixels; nothing can be learned from smaller ones
NEARLY_ALL = 0.95  # share of a set's boxes that must agree before all are read differently
ROUNDING = 1.0  # a box may reach this many pixels over the page because of rounding
_Polygons = list[list[float]]


@dataclass(frozen=True)
class PageFrame:
    """Size of the page in pixels, and the factors by which the json's numbers are multiplied."""

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0

    @property
    def scaled(self) -> bool:
        """Whether a factor is not 1."""
        return self.scale_x != 1.0 or self.scale_y != 1.0


def as_int(value: Any) -> tuple[int | None, bool]:
    """(whole number, whether it was a string); (None, False) if the value is no whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, False
    if isinstance(value, float) and value.is_integer():
        return int(value), False
    try:
        return (int(value), True) if isinstance(value, str) else (None, False)
    except ValueError:
        return None, False


def as_box(value: Any) -> tuple[list[float] | None, bool, str | None]:
    """Reads four numbers.

    Returns:
        (numbers, whether one was a string, None), or (None, False, kind of problem).
    """
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None, False, "box_malformed"
    if {type(item) for item in value} <= {int, float} and _finite(value):  # nearly every box
        return list(value), False, None
    if None in value:
        return None, False, "box_not_finite"
    if any(isinstance(item, bool) for item in value):
        return None, False, "box_malformed"
    try:
        numbers = [float(item) for item in value]
    except (TypeError, ValueError, OverflowError):
        return None, False, "box_malformed"
    if not all(map(math.isfinite, numbers)):
        return None, False, "box_not_finite"
    return numbers, any(isinstance(item, str) for item in value), None


def fit_box(box: list[float], frame: PageFrame) -> tuple[list[float] | None, str | None]:
    """Scales a box (x, y, width, height) to the page and clips it to the page.

    Returns:
        (box, None) if nothing but rounding was cut off, (box, "box_clipped"), or (None, kind of
        problem) for an unusable box.
    """
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return None, "box_degenerate"
    x0, x1 = x * frame.scale_x, (x + width) * frame.scale_x
    y0, y1 = y * frame.scale_y, (y + height) * frame.scale_y
    if not all(map(math.isfinite, (x0, x1, y0, y1))):
        return None, "box_not_finite"
    if min(x1 - x0, y1 - y0) < MIN_SIDE:
        return None, "box_degenerate"
    if x1 <= 0 or y1 <= 0 or x0 >= frame.width or y0 >= frame.height:
        return None, "box_outside"
    cut = [max(x0, 0.0), max(y0, 0.0), min(x1, frame.width), min(y1, frame.height)]
    over = max(-x0, -y0, x1 - frame.width, y1 - frame.height)
    if over <= 0:
        if frame.scaled:
            return [x0, y0, x1 - x0, y1 - y0], None
        return box, None
    if min(cut[2] - cut[0], cut[3] - cut[1]) < MIN_SIDE:
        return None, "box_outside"
    fitted = [cut[0], cut[1], cut[2] - cut[0], cut[3] - cut[1]]
    return fitted, "box_clipped" if over > ROUNDING else None


def fit_mask(mask: Any, frame: PageFrame) -> tuple[_Polygons | dict | None, bool]:
    """Scales and clips polygons; a run-length mask is kept if it has the size of the page.

    Returns:
        (usable mask or None, whether a part was unusable).
    """
    if mask is None or mask == []:
        return None, False
    if isinstance(mask, dict):
        good = mask.get("size") == [frame.height, frame.width] and _counts(
            mask.get("counts"), frame.height * frame.width
        )
        return (mask, False) if good and not frame.scaled else (None, True)
    if not isinstance(mask, list):
        return None, True
    polygons = [_fit_polygon(polygon, frame) for polygon in mask]
    kept = [polygon for polygon in polygons if polygon is not None]
    return kept or None, len(kept) < len(polygons)


def _counts(counts: Any, pixels: int) -> bool:
    if isinstance(counts, list):
        return all(isinstance(c, int) and c >= 0 for c in counts) and sum(counts) == pixels
    return isinstance(counts, (str, bytes)) and len(counts) > 0


def _finite(values: list[float]) -> bool:
    try:
        return math.isfinite(sum(values))
    except OverflowError:  # a whole number that is too large for a float
        return False


def _fit_polygon(polygon: Any, frame: PageFrame) -> list[float] | None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return None
    if not frame.scaled and _lies_on_page(polygon, frame):
        return polygon
    try:
        numbers = [float(value) for value in polygon]
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(map(math.isfinite, numbers)):
        return None
    xs = [min(max(x * frame.scale_x, 0.0), frame.width) for x in numbers[0::2]]
    ys = [min(max(y * frame.scale_y, 0.0), frame.height) for y in numbers[1::2]]
    if max(xs) - min(xs) < MIN_SIDE or max(ys) - min(ys) < MIN_SIDE:
        return None
    return [value for point in zip(xs, ys, strict=True) for value in point]


def _lies_on_page(polygon: list[Any], frame: PageFrame) -> bool:
    """A quick test for the usual polygons; one that fails it may still lie on the page."""
    if not {type(item) for item in polygon} <= {int, float} or not _finite(polygon):
        return False
    left, right = min(polygon[0::2]), max(polygon[0::2])
    upper, lower = min(polygon[1::2]), max(polygon[1::2])
    inside = left >= 0 and upper >= 0 and right <= frame.width and lower <= frame.height
    return inside and right - left >= MIN_SIDE and lower - upper >= MIN_SIDE


def reach(box: list[float]) -> tuple[float, float]:
    """The right and the lower edge of a box (x, y, width, height)."""
    return box[0] + box[2], box[1] + box[3]


def look_normalised(boxes: list[list[float]]) -> bool:
    """Whether the boxes are fractions: nearly all boxes with an area lie in the unit square."""
    sized = [box for box in boxes if box[2] > 0 and box[3] > 0]
    over = 0.05  # as with pixels, some boxes reach over the page a little
    inside = sum(max(reach(box)) <= 1.0 + over and min(box) >= -over for box in sized)
    return bool(sized) and inside >= NEARLY_ALL * len(sized)


def look_like_corners(boxes: list[tuple[list[float], int, int]]) -> bool:
    """Whether boxes were probably written as x1, y1, x2, y2.

    This is the case if, read as corners, nearly all boxes lie on their page, but read as x, y,
    width, height many do not. It is only a guess, so the caller warns and changes nothing.

    Args:
        boxes: (box, width of the page, height of the page).
    """
    if len(boxes) < 3:
        return False
    over = corners = 0
    for box, width, height in boxes:
        right, lower = reach(box)
        over += right > width + ROUNDING or lower > height + ROUNDING
        corners += box[0] < box[2] <= width + ROUNDING and box[1] < box[3] <= height + ROUNDING
    return over >= 0.2 * len(boxes) and corners >= NEARLY_ALL * len(boxes)


def mask_or_box(mask: _Polygons | dict | None, box: list[float]) -> _Polygons | dict:
    """The mask, or the box as a polygon if there is no mask."""
    if mask is not None:
        return mask
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


# A problem with the size of a page: a key of `graphkd.data.check.problems.KINDS`, and a message.
Finding = tuple[str, str]


def decide_frame(
    declared: tuple[Any, Any], header: PageHeader, boxes: list[list[float]]
) -> tuple[PageFrame | None, Finding | None]:
    """Compares the size in the json with the size of the image, and decides which to use.

    Args:
        declared: "width" and "height" in the json, of any type.
        header: the header of the image file.
        boxes: the readable boxes (x, y, width, height) of the page in the json.

    Returns:
        (frame, finding or None); the frame is None if the page cannot be used.
    """
    width, wide_string = as_int(declared[0])
    height, high_string = as_int(declared[1])
    if width is None or height is None or width < 1 or height < 1:
        return _absent(declared, header, boxes)
    size, upright = (width, height), header.upright
    if size in (upright, header.stored):
        strings = ("numbers_as_strings", "width or height is written as a string")
        return PageFrame(*size), strings if wide_string or high_string else None
    if size == (1, 1):
        return _fractions(upright, boxes)
    said = f"the json gives {width} x {height}, the picture has {upright[0]} x {upright[1]}"
    if size == upright[::-1]:
        if _fit(boxes, upright):
            return PageFrame(*upright), ("size_swapped", f"{said}; the picture's size is used")
        return None, ("size_unclear", f"{said} and the boxes fit only the json's size")
    frame = _same_shape(size, header)
    if frame is None:
        return None, ("size_unclear", f"{said}: the shapes differ")
    if _fit_scaled(boxes, frame):
        return frame, ("size_scaled", f"{said}; boxes are scaled by {frame.scale_x:.4g}")
    return None, ("size_unclear", f"{said}: the boxes do not fit the json's size")


def _absent(
    declared: tuple[Any, Any], header: PageHeader, boxes: list[list[float]]
) -> tuple[PageFrame | None, Finding]:
    width, height = header.upright
    if _fit(boxes, header.upright):
        text = f"width {declared[0]!r}, height {declared[1]!r}; {width} x {height} is used"
        return PageFrame(width, height), ("size_absent", text)
    text = "no usable size in the json, and the boxes do not fit the picture"
    return None, ("size_unclear", text)


def _fractions(size: tuple[int, int], boxes: list[list[float]]) -> tuple[PageFrame | None, Finding]:
    if look_normalised(boxes) or all(min(box[2:]) <= 0 for box in boxes):
        text = f"the json gives 1 x 1 and fractions; scaled to {size[0]} x {size[1]}"
        return PageFrame(*size, *size), ("normalised_boxes", text)
    text = f"the json gives 1 x 1, the picture has {size[0]} x {size[1]}"
    return None, ("size_unclear", text)


def _same_shape(size: tuple[int, int], header: PageHeader) -> PageFrame | None:
    """The frame of the image, upright or as stored, with the aspect ratio of `size`."""
    for real in (header.upright, header.stored):
        scale_x, scale_y = real[0] / size[0], real[1] / size[1]
        if scale_x and scale_y and abs(scale_x / scale_y - 1.0) <= 0.01 + 1.0 / min(*size, *real):
            return PageFrame(*real, scale_x, scale_y)
    return None


def _fit_scaled(boxes: list[list[float]], frame: PageFrame) -> bool:
    scales = (frame.scale_x, frame.scale_y) * 2
    scaled = [[value * scale for value, scale in zip(box, scales, strict=True)] for box in boxes]
    return _fit(scaled, (frame.width, frame.height))


def _fit(boxes: list[list[float]], size: tuple[int, int]) -> bool:
    """Whether at least 90 % of the boxes lie on a page of this size; True without boxes."""
    inside = sum(
        reach(box)[0] <= size[0] * 1.02 + 1 and reach(box)[1] <= size[1] * 1.02 + 1 for box in boxes
    )
    return inside >= 0.9 * len(boxes)

"""Deciding which frame (resolution, turn) the json's numbers of a page are in; reads no file."""

from typing import Any

from graphkd.data.check.boxes import PageFrame, as_int, reach
from graphkd.data.check.problems import Problem
from graphkd.data.images import PageHeader


def decide_frame(
    declared: tuple[Any, Any], header: PageHeader, boxes: list[list[float]], name: str
) -> tuple[PageFrame | None, Problem | None]:
    """Reconcile the size in the json with the size of the picture.

    Args:
        declared: "width" and "height" of the json, of any type.
        header: what the picture says.
        boxes: the page's readable boxes (x, y, width, height) as the json gives them.
        name: file name for messages.

    Returns:
        (frame, problem or None); the frame is None where the page has to be left out.

    """
    width, wide_string = as_int(declared[0])
    height, high_string = as_int(declared[1])
    if width is None or height is None or width < 1 or height < 1:
        return _absent(declared, header, boxes, name)
    size, stored, upright = (width, height), header.stored, header.upright
    if size in (upright, stored):
        strings = wide_string or high_string
        text = "width or height is written as a string"
        problem = Problem("numbers_as_strings", text, file=name) if strings else None
        return PageFrame(*size), problem
    if size == (1, 1):
        return _fractions(upright, boxes, name)
    if size == upright[::-1]:
        return _swapped(size, upright, boxes, name)
    return _scaled(size, header, boxes, name)


def _absent(
    declared: tuple[Any, Any], header: PageHeader, boxes: list[list[float]], name: str
) -> tuple[PageFrame | None, Problem | None]:
    width, height = header.upright
    if _fit(boxes, header.upright):
        text = f"width {declared[0]!r}, height {declared[1]!r}; {width} x {height} is used"
        return PageFrame(width, height), Problem("size_absent", text, file=name)
    text = "no usable size in the json, and the boxes do not fit the picture; left out"
    return None, Problem("size_unclear", text, file=name)


def _fractions(
    size: tuple[int, int], boxes: list[list[float]], name: str
) -> tuple[PageFrame | None, Problem | None]:
    if all(max(reach(box)) <= 1.001 for box in boxes):
        text = f"the json gives 1 x 1 and fractions; scaled to {size[0]} x {size[1]}"
        return PageFrame(*size, *size), Problem("normalised_boxes", text, file=name)
    text = f"the json gives 1 x 1, the picture has {size[0]} x {size[1]}; left out"
    return None, Problem("size_unclear", text, file=name)


def _swapped(
    size: tuple[int, int], upright: tuple[int, int], boxes: list[list[float]], name: str
) -> tuple[PageFrame | None, Problem | None]:
    said = f"the json gives {size[0]} x {size[1]}, the picture has {upright[0]} x {upright[1]}"
    if _fit(boxes, upright):
        return PageFrame(*upright), Problem("size_swapped", f"{said}; the picture's", file=name)
    text = f"{said} and the boxes fit only the json's; left out"
    return None, Problem("size_unclear", text, file=name)


def _scaled(
    size: tuple[int, int], header: PageHeader, boxes: list[list[float]], name: str
) -> tuple[PageFrame | None, Problem | None]:
    for real in (header.upright, header.stored):
        scale_x, scale_y = real[0] / size[0], real[1] / size[1]
        if scale_x and scale_y and abs(scale_x / scale_y - 1.0) <= 0.01 + 1.0 / min(*size, *real):
            said = f"the json gives {size[0]} x {size[1]}, the picture has {real[0]} x {real[1]}"
            text = f"{said}; boxes are scaled by {scale_x:.4g}"
            return PageFrame(*real, scale_x, scale_y), Problem("size_scaled", text, file=name)
    real = header.upright
    text = (
        f"the json gives {size[0]} x {size[1]}, the picture has {real[0]} x {real[1]}: "
        "another shape; left out"
    )
    return None, Problem("size_unclear", text, file=name)


def _fit(boxes: list[list[float]], size: tuple[int, int]) -> bool:
    """Whether nearly all boxes lie on a page of this size; True without boxes."""
    inside = sum(
        reach(box)[0] <= size[0] * 1.02 + 1 and reach(box)[1] <= size[1] * 1.02 + 1 for box in boxes
    )
    return inside >= 0.9 * len(boxes)

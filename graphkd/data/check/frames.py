"""Deciding which frame (resolution, turn) the json's numbers of a page are in; reads no file."""

from collections.abc import Iterable
from typing import Any

from graphkd.data.check.boxes import PageFrame, as_int, look_normalised, reach
from graphkd.data.check.problems import Problem
from graphkd.data.images import PageHeader


def sizes_are_wrong(
    pages: Iterable[tuple[tuple[Any, Any], PageHeader, list[list[float]]]],
) -> bool:
    """Whether a set gives sizes of another resolution, but boxes in the pictures' own pixels.

    True where the boxes of most pages concerned fit the picture only. A page of few boxes does
    not tell: those of its upper left part fit both.

    Args:
        pages: the first three arguments of `decide_frame`, page by page.

    """
    concerned = only_picture = 0
    for declared, header, boxes in pages:
        size = as_int(declared[0])[0] or 0, as_int(declared[1])[0] or 0
        if min(size) < 1 or size in ((1, 1), header.upright, header.stored) or not boxes:
            continue
        frame = _same_shape(size, header)
        if frame is not None:
            concerned += 1
            fits = _fit(boxes, (frame.width, frame.height))
            only_picture += fits and not _fit_scaled(boxes, frame)
    return 2 * only_picture > concerned


def decide_frame(
    declared: tuple[Any, Any],
    header: PageHeader,
    boxes: list[list[float]],
    name: str,
    *,
    sizes_wrong: bool = False,
) -> tuple[PageFrame | None, Problem | None]:
    """Reconcile the size in the json with the size of the picture.

    Args:
        declared: "width" and "height" of the json, of any type.
        header: what the picture says.
        boxes: the page's readable boxes (x, y, width, height) as the json gives them.
        name: file name for messages.
        sizes_wrong: what `sizes_are_wrong` says of the set.

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
    return _scaled(size, header, boxes, name, sizes_wrong)


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
    if look_normalised(boxes) or all(min(box[2:]) <= 0 for box in boxes):
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
    size: tuple[int, int],
    header: PageHeader,
    boxes: list[list[float]],
    name: str,
    sizes_wrong: bool,
) -> tuple[PageFrame | None, Problem | None]:
    frame = _same_shape(size, header)
    width, height = header.upright if frame is None else (frame.width, frame.height)
    said = f"the json gives {size[0]} x {size[1]}, the picture has {width} x {height}"
    if frame is None:
        return None, Problem("size_unclear", f"{said}: another shape; left out", file=name)
    fits, fits_scaled = _fit(boxes, (width, height)), _fit_scaled(boxes, frame)
    if fits_scaled and not (fits and sizes_wrong):
        text = f"{said}; boxes are scaled by {frame.scale_x:.4g}"
        return frame, Problem("size_scaled", text, file=name)
    if fits:
        text = f"{said}; the boxes are in the picture's pixels and stay as they are"
        return PageFrame(width, height), Problem("size_wrong", text, file=name)
    return None, Problem("size_unclear", f"{said}: the boxes fit neither; left out", file=name)


def _same_shape(size: tuple[int, int], header: PageHeader) -> PageFrame | None:
    """The picture's frame, upright or as stored, that has the aspect of `size`."""
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
    """Whether nearly all boxes lie on a page of this size; True without boxes."""
    inside = sum(
        reach(box)[0] <= size[0] * 1.02 + 1 and reach(box)[1] <= size[1] * 1.02 + 1 for box in boxes
    )
    return inside >= 0.9 * len(boxes)

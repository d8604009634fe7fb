"""The size at which text is looked for on a page, and resizing to it."""

import cv2
import numpy as np

STRIDE = 32  # sides of an input are multiples of it


def input_size(height: int, width: int, resize: str, size: int) -> tuple[int, int]:
    """(height, width) of a page for testing, multiples of 32 and at least 32.

    Args:
        height: of the page, in pixels.
        width: of the page, in pixels.
        resize: "long" or "short": this side gets `size` pixels; "as_is": the page keeps its size.
        size: in pixels.

    Raises:
        ValueError: another word in `resize`.
    """
    scale = input_scale(height, width, resize, size)
    # Halves are rounded up: 720 rows become 736, as in DB's tests on ICDAR2015.
    sides = (max(1, int(side * scale / STRIDE + 0.5)) * STRIDE for side in (height, width))
    return tuple(sides)


def input_scale(height: int, width: int, resize: str, size: int) -> float:
    """The factor of `input_size` before sides are rounded to multiples of 32."""
    if resize == "as_is":
        return 1.0
    if resize not in ("long", "short"):
        raise ValueError(f"INPUT.LINES.RESIZE {resize!r} is none of long, short, as_is")
    return size / (max(height, width) if resize == "long" else min(height, width))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A page (H, W, C) at another size (height, width).

    A page that becomes smaller is first shrunk by area means, so that thin strokes stay visible.
    """
    scale = np.sqrt(size[0] / image.shape[0] * size[1] / image.shape[1])
    if scale < 1:
        small = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    if image.shape[:2] == tuple(size):
        return image
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)

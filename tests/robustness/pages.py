"""A drawn page for tests of corruption: lines of print, a grey picture and paper round them."""

import cv2
import numpy as np

# Corners of the picture, as shares of the page's sides.
PICTURE = (0.3, 0.55, 0.75, 0.8)


def drawn_page(height: int = 400, width: int = 300) -> np.ndarray:
    """uint8 (H, W, 3); every length is relative to the page, so other sizes show the same."""
    fine = 4
    page = np.full((height * fine, width * fine, 3), (246, 240, 228), np.uint8)
    rows, columns = page.shape[:2]
    rng = np.random.default_rng(3)
    for line in np.arange(0.1, 0.5, 0.02):
        x = 0.12
        while x < 0.85:
            wide = rng.uniform(0.015, 0.06)
            box = (x * columns, line * rows, (x + wide) * columns, (line + 0.009) * rows)
            _fill(page, box, 30)
            x += wide + 0.012
    _fill(page, picture_box(rows, columns), 110)
    return cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA)


def picture_box(height: int, width: int) -> tuple[float, float, float, float]:
    """The picture's x0, y0, x1, y1 in pixels."""
    return PICTURE[0] * width, PICTURE[1] * height, PICTURE[2] * width, PICTURE[3] * height


def corners(box) -> np.ndarray:
    """(4, 2) corners of x0, y0, x1, y1."""
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def _fill(page: np.ndarray, box, tone: int) -> None:
    x0, y0, x1, y1 = (round(value) for value in box)
    page[y0:y1, x0:x1] = tone

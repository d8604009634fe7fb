"""Random fields and small helpers that the painting damages share; no damage of its own.

A field is drawn on a grid of fixed size and then resized to the page: a page scanned at another
resolution gets the same spots at the same places.
"""

import cv2
import numpy as np

GRID = 1024


def grid_of(image: np.ndarray, *, longest: int = GRID) -> tuple[int, int]:
    """(rows, columns) of the grid for a page: `longest` along its longer side, at least 1."""
    factor = longest / max(image.shape[:2])
    return max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))


def noise(
    rng: np.random.Generator, shape: tuple[int, int], *, sigma: float, grid: int = GRID
) -> np.ndarray:
    """Smooth noise with mean 0 and variance 1: float32 of `shape`, at most (grid, grid).

    Args:
        rng: the page's generator; it always gives a whole square of numbers, so that pages whose
            shape differs by a rounded pixel get the same field.
        shape: rows and columns.
        sigma: of the smoothing, in cells.
        grid: rows and columns of the square.
    """
    square = rng.standard_normal((grid, grid), dtype=np.float32)
    smooth = cv2.GaussianBlur(square, (0, 0), sigma)
    return smooth[: shape[0], : shape[1]] / max(float(smooth.std()), 1e-6)


def fit(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A field (h, w) or (h, w, C) resized to the page's height and width, float32."""
    height, width = image.shape[:2]
    shrinks = height * width < field.shape[0] * field.shape[1]
    return cv2.resize(
        field.astype(np.float32, copy=False),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )


def per_mille(image: np.ndarray, thousandths: float) -> float:
    """A length in thousandths of the page's longer side, in pixels."""
    return thousandths / 1000 * max(image.shape[:2])


def to_bytes(page: np.ndarray) -> np.ndarray:
    """Values on the scale 0..255, cut and rounded to uint8."""
    return np.clip(page + 0.5, 0, 255).astype(np.uint8)

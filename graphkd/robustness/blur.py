"""Damage by the camera: out of focus, or moved during the exposure; nothing that adds content."""

import cv2
import numpy as np

from graphkd.robustness.fields import per_mille

_RADIUS = (1.6, 3.2, 6.0)  # of the circle of confusion, in thousandths of the longer side
_TRAVEL = (4.0, 9.0, 18.0)  # of the camera, in the same unit
_FINE = 9  # samples a pixel along each axis; odd, so that a kernel is symmetric


def defocus(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Each point spreads over a disc of 1.6, 3.2 or 6 thousandths of the page's longer side; the
    generator is not used.
    """
    radius = per_mille(image, _RADIUS[strength - 1])
    reach = int(np.ceil(radius)) + 1
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5
    disc = (np.hypot(fine[:, None], fine[None, :]) <= radius + 1e-9).astype(np.float64)
    # A pixel is a square of light, so that a disc smaller than it still blurs a little.
    return _convolve(image, _pool(cv2.blur(disc, (_FINE, _FINE), borderType=cv2.BORDER_CONSTANT)))


def vibration(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Each point smears along a line of 4, 9 or 18 thousandths of the page's longer side, in a
    random direction.
    """
    travel = per_mille(image, _TRAVEL[strength - 1])
    angle = rng.uniform(0, np.pi)
    reach = int(np.ceil(travel / 2)) + 1
    along = np.linspace(-travel / 2, travel / 2, 8 * reach + 1)
    x, y = reach + along * np.cos(angle), reach + along * np.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))
    for right in (0, 1):
        for below in (0, 1):
            weight = np.abs(1 - right - (x - left)) * np.abs(1 - below - (y - top))
            np.add.at(kernel, (top + below, left + right), weight)
    return _convolve(image, kernel[: 2 * reach + 1, : 2 * reach + 1])


def _pool(fine: np.ndarray) -> np.ndarray:
    """Sums of blocks of `_FINE` x `_FINE` samples."""
    cells = fine.shape[0] // _FINE
    return fine.reshape(cells, _FINE, cells, _FINE).sum(axis=(1, 3))


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    weights = (kernel / kernel.sum()).astype(np.float32)
    return cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REPLICATE)

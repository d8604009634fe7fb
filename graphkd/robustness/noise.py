"""Damage by dirt and paper: specks over the page, fibres and grain in it; nothing moves."""

from statistics import NormalDist

import cv2
import numpy as np

from graphkd.robustness.fields import fit, grid_of, noise, to_bytes

_COVER = (0.006, 0.02, 0.055)  # share of the page under dark specks; half as much under light ones
_FIBRES = (500, 1400, 3200)
_FIBRE_DEPTH = (0.40, 0.50, 0.60)  # darkness of a fibre, 0..1
_GRAIN = (0.015, 0.035, 0.07)  # standard deviation of the paper's grain, 0..1
_JOINTS = 12


def speckle(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Dark specks of dirt and light ones where ink has come off, small and large mixed."""
    shape = grid_of(image)
    cover = _COVER[strength - 1]
    small, large = noise(rng, shape, sigma=1.0), noise(rng, shape, sigma=2.6)
    dark = np.maximum(_spots(small, cover / 2), _spots(large, cover / 2))
    light = np.maximum(_spots(-small, cover / 4), _spots(-large, cover / 4))
    dark, light = fit(dark, image)[..., None], fit(light, image)[..., None]
    page = image.astype(np.float32)
    page += (235 - page) * light
    page += (25 - page) * dark
    return to_bytes(page)


def texture(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Coarse paper: curled fibres, dark ones and light ones, and a cloudy grain."""
    shape = grid_of(image)
    grain = 0.6 * noise(rng, shape, sigma=1.5) + 0.8 * noise(rng, shape, sigma=12.0)
    paths = _fibres(rng, _FIBRES[-1])[: _FIBRES[strength - 1]]
    half = len(paths) // 2
    dark, light = _drawn(paths[:half], shape), _drawn(paths[half:], shape)
    depth = _FIBRE_DEPTH[strength - 1]
    page = image.astype(np.float32)
    page += (255 - page) * fit(depth * light, image)[..., None]
    page *= 1 - fit(depth * dark, image)[..., None]
    page += 255 * _GRAIN[strength - 1] * fit(grain, image)[..., None]
    return to_bytes(page)


def _spots(field: np.ndarray, cover: float) -> np.ndarray:
    """Where a field of unit variance is high: 0..1, with soft rims, about `cover` of the area."""
    return np.clip((field - NormalDist().inv_cdf(1 - cover)) / 0.15 + 0.5, 0, 1)


def _fibres(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random curled paths (count, joints, 2) on the unit square, 1 to 6 % of it long."""
    start = rng.uniform(0, 1, (count, 1, 2))
    length = rng.uniform(0.01, 0.06, (count, 1)) / _JOINTS
    turns = rng.normal(0, 0.35, (count, _JOINTS)).cumsum(axis=1)
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + turns
    steps = np.stack([length * np.cos(heading), length * np.sin(heading)], axis=2)
    return start + steps.cumsum(axis=1)


def _drawn(paths: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The paths as lines on a grid of `shape` cut from a square of its longer side, 0..1."""
    canvas = np.zeros(shape, np.uint8)
    sixteenths = np.round(paths * max(shape) * 16).astype(np.int32)
    cv2.polylines(canvas, list(sixteenths), False, 255, 1, cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) / 255

"""Corrupts a page with one kind of corruption at one severity, and moves its boxes along."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from graphkd.robustness import paint
from graphkd.robustness.geometry import Move, Scaling, keystoning, rotation, warping

SEVERITIES = (1, 2, 3)
LONGEST = 3000  # larger pages are shrunk first to save time; detectors use 1,333 pixels or less
VERSION = 1  # to be increased when a change gives other pixels for the same seed

Moving = Callable[[tuple[int, int], np.random.Generator, int], Move]
Painting = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]

_MOVES: Mapping[str, Moving] = {
    "rotation": rotation,
    "warping": warping,
    "keystoning": keystoning,
}
_PAINTS: Mapping[str, Painting] = {
    "watermark": paint.watermark,
    "background": paint.background,
    "ink-holdout": paint.ink_holdout,
    "ink-bleeding": paint.ink_bleeding,
    "illumination": paint.illumination,
    "defocus": paint.defocus,
    "vibration": paint.vibration,
    "speckle": paint.speckle,
    "texture": paint.texture,
}
KINDS = (*_MOVES, *_PAINTS)


@dataclass(frozen=True)
class Corrupted:
    """A corrupted page.

    Attributes:
        image: uint8, (H', W', 3), or grey with as many axes as the page.
        moves: the geometric changes, in this order; empty if nothing moved.
    """

    image: np.ndarray
    moves: tuple[Move, ...]

    def points(self, points: np.ndarray) -> np.ndarray:
        """Maps points (N, 2) (x, y) of the page to pixels of the corrupted page."""
        for move in self.moves:
            points = move.points(points)
        return points


def corrupt(image: np.ndarray, *, kind: str, severity: int, seed: int = 0) -> Corrupted:
    """Corrupts one page; the same page, kind, severity and seed give the same result.

    The random draws of a kind do not depend on the severity, so a higher severity is a stronger
    form of the same corruption. Lengths are relative to the page, so the resolution of a scan makes
    no difference. Pages with a side of more than 3,000 pixels are shrunk to that.

    Source of the kinds: Chen et al., "RoDLA: Benchmarking the Robustness of Document Layout
    Analysis Models", CVPR 2024.
    Differs from the paper: how each kind is made, and how strong it is.

    Args:
        image: uint8 (H, W, 3) in RGB, or grey as (H, W) or (H, W, 1); H and W at least 1.
        kind: one of `KINDS`.
        severity: 1 (legible), 2 or 3 (severe).
        seed: seed of the random draws.

    Raises:
        ValueError: an unknown kind or severity, or the array is no page.
    """
    if kind not in KINDS or severity not in SEVERITIES:
        raise ValueError(f"no corruption {kind!r} of severity {severity!r}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"a page is uint8 (H, W, 3) or grey, not {image.dtype} {image.shape}")
    image = np.ascontiguousarray(image)
    rng = _generator(image, kind, seed)
    grey = image.ndim == 2 or image.shape[2] == 1
    page = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if grey else image
    moves: list[Move] = []
    if max(page.shape[:2]) > LONGEST:
        shrinking = Scaling.to_longest(page.shape[:2], LONGEST)
        page = shrinking.image(page)
        moves.append(shrinking)
    if kind in _MOVES:
        move = _MOVES[kind](page.shape[:2], rng, severity)
        page = move.image(page)
        moves.append(move)
    else:
        page = _PAINTS[kind](page, rng, severity)
    if grey:
        page = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
        page = page if image.ndim == 2 else page[..., None]
    return Corrupted(page, tuple(moves))


def moved_box(
    corrupted: Corrupted, outline: np.ndarray
) -> tuple[float, float, float, float] | None:
    """The upright box of an outline on the corrupted page, clipped to the page.

    Args:
        corrupted: the page.
        outline: (N, 2) corners (x, y) of a polygon in pixels of the clean page, N at least 1.

    Returns:
        x0, y0, x1, y1 in pixels of the corrupted page; None if it lies outside the page.
    """
    height, width = corrupted.image.shape[:2]
    points = corrupted.points(_dense(np.asarray(outline, dtype=np.float64)))
    low = np.clip(points.min(axis=0), 0, (width, height))
    high = np.clip(points.max(axis=0), 0, (width, height))
    if (high <= low).any():
        return None
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _generator(image: np.ndarray, kind: str, seed: int) -> np.random.Generator:
    """The random generator of one kind of corruption on one page."""
    # With the page's content, so that pages of a set differ although they share the seed.
    facts = [seed, zlib.crc32(image), *image.shape[:2], KINDS.index(kind)]
    return np.random.default_rng(facts)


def _dense(corners: np.ndarray, *, steps: int = 32) -> np.ndarray:
    """The closed polygon with `steps` points per edge, because warping bends straight edges."""
    share = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    following = np.roll(corners, -1, axis=0)
    return (corners[:, None] * (1 - share) + following[:, None] * share).reshape(-1, 2)

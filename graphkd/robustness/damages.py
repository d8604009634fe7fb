"""One door to all kinds of damage: their names, the random state of a page, and where boxes go; how
a damage is made stands in the files beside this one.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from graphkd.robustness.blur import defocus, vibration
from graphkd.robustness.content import background, watermark
from graphkd.robustness.geometry import Move, Scaling, keystoning, rotation, warping
from graphkd.robustness.ink import illumination, ink_bleeding, ink_holdout
from graphkd.robustness.noise import speckle, texture

STRENGTHS = (1, 2, 3)
LONGEST = 3000  # a larger page is shrunk before it is damaged; detectors see 1,333 pixels or less
VERSION = 1  # goes up when the same seed gives another damage

Moving = Callable[[tuple[int, int], np.random.Generator, int], Move]
Painting = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]

_MOVES: Mapping[str, Moving] = {
    "rotation": rotation,
    "warping": warping,
    "keystoning": keystoning,
}
_PAINTS: Mapping[str, Painting] = {
    "watermark": watermark,
    "background": background,
    "ink-holdout": ink_holdout,
    "ink-bleeding": ink_bleeding,
    "illumination": illumination,
    "defocus": defocus,
    "vibration": vibration,
    "speckle": speckle,
    "texture": texture,
}
KINDS = (*_MOVES, *_PAINTS)


@dataclass(frozen=True)
class Damaged:
    """A damaged page.

    Attributes:
        image: uint8, (H', W', 3) or as many axes as the page had.
        moves: applied in this order to points of the page; none where nothing moved.
    """

    image: np.ndarray
    moves: tuple[Move, ...]

    def points(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 2) (x, y) of the page lie on the damaged page, in its pixels."""
        for move in self.moves:
            points = move.points(points)
        return points


def damage(image: np.ndarray, *, kind: str, strength: int, seed: int = 0) -> Damaged:
    """Damages one page; the same page, kind, strength and seed give the same result.

    The random draws of a kind do not depend on the strength: a stronger damage is the weaker one
    grown. Lengths are relative to the page, so a scan of any resolution is damaged alike. A page
    of more than 3,000 pixels on a side comes back shrunk to that.

    Kinds after Chen et al., "RoDLA: Benchmarking the Robustness of Document Layout Analysis
    Models", CVPR 2024.
    Differs from the paper: how each kind is made, and how strong it is.

    Args:
        image: uint8 (H, W, 3) in RGB, or grey as (H, W) or (H, W, 1); H and W at least 1.
        kind: one of `KINDS`.
        strength: 1 (legible), 2 or 3 (severe).
        seed: of the random draws.

    Raises:
        ValueError: an unknown kind or strength, or an array that is no page.
    """
    if kind not in KINDS or strength not in STRENGTHS:
        raise ValueError(f"no damage {kind!r} of strength {strength!r}")
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
        move = _MOVES[kind](page.shape[:2], rng, strength)
        page = move.image(page)
        moves.append(move)
    else:
        page = _PAINTS[kind](page, rng, strength)
    if grey:
        page = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
        page = page if image.ndim == 2 else page[..., None]
    return Damaged(page, tuple(moves))


def moved_box(damaged: Damaged, outline: np.ndarray) -> tuple[float, float, float, float] | None:
    """The upright rectangle round an outline after the damage, cut at the page's edge.

    Args:
        damaged: the page.
        outline: (N, 2) corners (x, y) of a polygon in pixels of the undamaged page, N at least 1.

    Returns:
        x0, y0, x1, y1 in pixels of the damaged page; None if nothing of it is left there.
    """
    height, width = damaged.image.shape[:2]
    points = damaged.points(_dense(np.asarray(outline, dtype=np.float64)))
    low = np.clip(points.min(axis=0), 0, (width, height))
    high = np.clip(points.max(axis=0), 0, (width, height))
    if (high <= low).any():
        return None
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _generator(image: np.ndarray, kind: str, seed: int) -> np.random.Generator:
    """The random state of one kind of damage on one page."""
    facts = [seed, zlib.crc32(image), *image.shape[:2], KINDS.index(kind)]
    return np.random.default_rng(facts)


def _dense(corners: np.ndarray, *, steps: int = 32) -> np.ndarray:
    """The closed polygon with `steps` points an edge: a warped edge bulges between its ends."""
    share = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    following = np.roll(corners, -1, axis=0)
    return (corners[:, None] * (1 - share) + following[:, None] * share).reshape(-1, 2)

"""Corruptions that move pixels and points: rotation, warping, keystoning. All parts of a page stay
visible.

Coordinates are continuous: pixel i covers i to i + 1, so its centre is at i + 0.5.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

_DEGREES = (4.0, 8.0, 14.0)
_WARP = (0.012, 0.024, 0.042)  # largest shift, as a share of the shorter side
_WAVES = 4
_KEYSTONE = (0.05, 0.11, 0.19)  # inward shift of the corners of the far side, as a share of it


class Move(Protocol):
    """A change of a page's geometry."""

    def points(self, points: np.ndarray) -> np.ndarray:
        """Maps points (N, 2) (x, y) of the page to the changed page."""
        ...

    def image(self, image: np.ndarray) -> np.ndarray:
        """The changed page, uint8 (H', W', 3)."""
        ...


@dataclass(frozen=True)
class Scaling:
    """Resizing from `before` to `after`, both (H, W)."""

    before: tuple[int, int]
    after: tuple[int, int]

    @classmethod
    def to_longest(cls, size: tuple[int, int], longest: int) -> "Scaling":
        """Shrinks a page (H, W) so that its longer side has `longest` pixels."""
        factor = longest / max(size)
        return cls(tuple(size), tuple(max(1, round(side * factor)) for side in size))

    def points(self, points: np.ndarray) -> np.ndarray:
        """See `Move`."""
        return points * (self.after[1] / self.before[1], self.after[0] / self.before[0])

    def image(self, image: np.ndarray) -> np.ndarray:
        """See `Move`."""
        return cv2.resize(image, self.after[::-1], interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Projection:
    """A projective map: `matrix` (3, 3) maps page coordinates to a page of `size` (H, W)."""

    matrix: np.ndarray
    size: tuple[int, int]

    def points(self, points: np.ndarray) -> np.ndarray:
        """See `Move`."""
        mapped = np.column_stack([points, np.ones(len(points))]) @ self.matrix.T
        return mapped[:, :2] / mapped[:, 2:]

    def image(self, image: np.ndarray) -> np.ndarray:
        """See `Move`."""
        # In OpenCV, the centre of the first pixel is at 0.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        return cv2.warpPerspective(
            image,
            np.linalg.inv(half) @ self.matrix @ half,
            self.size[::-1],
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border_colour(image),
        )


@dataclass(frozen=True)
class Waves:
    """A bent sheet. With the page's centre c, the changed page shows at the point q the page's
    point c + zoom (q - c) + sum over k of amplitude_k sin(2 pi (frequency_k . q) + phase_k).

    Attributes:
        size: (H, W) of the page, before and after.
        zoom: above 1, so that the waves push nothing out of the page.
        frequency: (K, 2) waves per pixel.
        phase: (K, 2), for the two directions of the shift.
        amplitude: (K, 2) in pixels.
    """

    size: tuple[int, int]
    zoom: float
    frequency: np.ndarray
    phase: np.ndarray
    amplitude: np.ndarray

    def source(self, points: np.ndarray) -> np.ndarray:
        """The points (N, 2) of the page that the changed page shows at `points` (N, 2)."""
        angle = 2 * np.pi * points @ self.frequency.T
        shift = (self.amplitude * np.sin(angle[..., None] + self.phase)).sum(axis=1)
        return self._middle + self.zoom * (points - self._middle) + shift

    def points(self, points: np.ndarray) -> np.ndarray:
        """See `Move`. This inverts `source` by fixed-point iteration."""
        seen = points
        for _ in range(40):  # every step removes at least a third of the error
            seen = seen + (points - self.source(seen)) / self.zoom
        return seen

    def image(self, image: np.ndarray) -> np.ndarray:
        """See `Move`."""
        height, width = self.size
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        maps = []
        for axis, (along, middle) in enumerate(
            zip((x[None], y[:, None]), self._middle, strict=True)
        ):
            # With sin(a + b) = sin a cos b + cos a sin b, the sum over waves is a matrix product.
            across = 2 * np.pi * np.outer(x, self.frequency[:, 0]) + self.phase[:, axis]
            down = 2 * np.pi * np.outer(y, self.frequency[:, 1])
            left = np.hstack([np.cos(down), np.sin(down)]) * np.tile(self.amplitude[:, axis], 2)
            right = np.hstack([np.sin(across), np.cos(across)])
            shift = left.astype(np.float32) @ right.T.astype(np.float32)
            maps.append(shift + (middle + self.zoom * (along - middle) - 0.5).astype(np.float32))
        return cv2.remap(
            image,
            *maps,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border_colour(image),
        )

    @property
    def _middle(self) -> np.ndarray:
        return np.array([self.size[1] / 2, self.size[0] / 2])


def rotation(size: tuple[int, int], rng: np.random.Generator, severity: int) -> Projection:
    """Rotates by up to 4, 8 or 14 degrees; the image grows so that the whole page stays visible."""
    height, width = size
    degrees = _DEGREES[severity - 1] * rng.choice((-1, 1)) * rng.uniform(0.8, 1.0)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    new_width = int(np.ceil(width * abs(cos) + height * abs(sin)))
    new_height = int(np.ceil(width * abs(sin) + height * abs(cos)))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    to_middle = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    back = np.array([[1, 0, new_width / 2], [0, 1, new_height / 2], [0, 0, 1]])
    return Projection(back @ turn @ to_middle, (new_height, new_width))


def warping(size: tuple[int, int], rng: np.random.Generator, severity: int) -> Waves:
    """Warps the page by smooth waves that shift points by up to 1.2, 2.4 or 4.2 % of the shorter
    side.
    """
    share = rng.uniform(0.5, 1.0, (_WAVES, 2))
    heading = rng.uniform(0, 2 * np.pi, _WAVES)
    waves = rng.uniform(0.7, 1.8, _WAVES) / max(size)
    furthest = _WARP[severity - 1] * min(size)
    return Waves(
        size=tuple(size),
        zoom=1 + 2 * _WARP[severity - 1],
        frequency=np.column_stack([np.cos(heading), np.sin(heading)]) * waves[:, None],
        phase=rng.uniform(0, 2 * np.pi, (_WAVES, 2)),
        amplitude=furthest * share / share.sum(axis=0),
    )


def keystoning(size: tuple[int, int], rng: np.random.Generator, severity: int) -> Projection:
    """Tilts the page: the corners of one side move inwards by up to 5, 11 or 19 %."""
    height, width = size
    amount = _KEYSTONE[severity - 1]
    # Corners of the unit square, clockwise from the top left. The first two are the far side, and
    # the result is turned by a random number of quarter turns below.
    inward = amount * rng.uniform((0.8, 0.8, 0.0, 0.0), (1.0, 1.0, 0.25, 0.25))
    depth = amount * rng.uniform((0.4, 0.4, 0.0, 0.0), (0.7, 0.7, 0.1, 0.1))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    towards = 1 - 2 * corners
    moved = corners + towards * np.column_stack([inward, depth])
    turns = int(rng.integers(4))
    for _ in range(turns):
        corners = np.column_stack([1 - corners[:, 1], corners[:, 0]])
        moved = np.column_stack([1 - moved[:, 1], moved[:, 0]])
    sides = np.array([width, height])
    matrix = cv2.getPerspectiveTransform(
        (corners * sides).astype(np.float32), (moved * sides).astype(np.float32)
    )
    return Projection(matrix, (height, width))


def border_colour(image: np.ndarray) -> tuple[float, ...]:
    """The median colour of a page's outermost pixels, uint8 (H, W, 3)."""
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return tuple(float(value) for value in np.median(rim, axis=0))

"""What paper, copier and scanner do to a clean page image (turning, light, stains, noise ...);
boxes follow elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from graphkd.synthesis.photos import smooth_noise
from graphkd.synthesis.styles import between, chance


@dataclass(frozen=True)
class Skew:
    """A turn by `degrees` about the middle of a page of the given size (pixels)."""

    degrees: float
    width: int
    height: int

    def points(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 2) of the straight page lie on the turned page."""
        middle = np.array([self.width / 2, self.height / 2])
        angle = np.deg2rad(self.degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        return (points - middle) @ np.array([[cos, -sin], [sin, cos]]) + middle

    def image(self, pixels: np.ndarray, *, fill: tuple[int, int, int]) -> np.ndarray:
        """The turned page, its corners filled with one colour."""
        turned = Image.fromarray(pixels).rotate(
            self.degrees, resample=Image.BILINEAR, fillcolor=fill
        )
        return np.asarray(turned)


def spoil(rng: np.random.Generator, pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Apply a random choice of scan effects that leave every box where it is.

    Args:
        rng: the page's generator.
        pixels: uint8 (H, W, 3).

    Returns:
        The changed page, uint8 (H, W, 3), and the JPEG quality (35 to 85) to store it at.
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    size = max(height, width) / 1024
    if chance(rng, 0.4):
        image = image.filter(ImageFilter.BoxBlur(between(rng, 0.25, 0.75) * size))
    if chance(rng, 0.45):
        image = image.convert("L").convert("RGB")
    light = np.ones((height, width, 1), np.float32)
    if chance(rng, 0.5):
        light = light * _uneven_light(rng, height, width)[..., None]
    if chance(rng, 0.3):
        light = light * _stains(rng, height, width)
    page = np.asarray(image).astype(np.float32)
    if chance(rng, 0.2):
        page = np.minimum(page, 255 - (255 - page[:, ::-1]) * between(rng, 0.04, 0.12))
    if chance(rng, 0.4):
        tint = np.array([1.0, between(rng, 0.93, 0.99), between(rng, 0.8, 0.96)], np.float32)
        light = light * tint
    page = page * light
    if chance(rng, 0.3):
        lift = between(rng, 10, 50)
        page = lift + page * (1 - lift / 255)
    if chance(rng, 0.6):
        noise = rng.standard_normal((height, width, 1), dtype=np.float32)
        page = page + noise * between(rng, 2, 9)
    quality = int(rng.integers(35, 86))
    return np.clip(page, 0, 255).astype(np.uint8), quality


def _uneven_light(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A slow gradient, and now and then the shadow of a book's spine: (H, W), 0.5 to 1."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle, depth = between(rng, 0, 6.28), between(rng, 0.04, 0.16)
    light = 1 - depth * (0.5 + 0.5 * (np.cos(angle) * x + np.sin(angle) * y))
    if chance(rng, 0.35):
        side = 1 if chance(rng, 0.5) else -1
        light = light * (
            1 - between(rng, 0.2, 0.5) * np.exp(-(1 - side * x) / between(rng, 0.03, 0.1))
        )
    return np.clip(light, 0.4, 1)


def _stains(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One to three brownish spots with ragged rims: (H, W, 3), 0.7 to 1."""
    small_h, small_w = max(height // 4, 8), max(width // 4, 8)
    ragged = 0.15 * smooth_noise(rng, small_h, small_w, cells=5, octaves=3)
    y, x = np.mgrid[0 : 1 : small_h * 1j, 0 : 1 : small_w * 1j]
    cover = np.zeros((small_h, small_w), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        cx, cy, radius = rng.random(), rng.random(), between(rng, 0.04, 0.2)
        away = np.hypot(x - cx, y - cy) / radius + ragged
        rim = np.exp(-(((away - 1) / 0.08) ** 2))
        cover = np.maximum(cover, np.clip((1.05 - away) * 3, 0, 0.5) + 0.3 * rim)
    grown = np.asarray(
        Image.fromarray(cover.astype(np.float32)).resize((width, height), Image.BILINEAR)
    )
    depth = np.array([0.12, 0.2, 0.34], np.float32) * between(rng, 0.4, 1.0)
    return 1 - grown[..., None] * depth

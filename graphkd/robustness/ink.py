"""Damage by ink and light: print too thin, print too thick, a page lit unevenly; nothing moves and
no foreign content. Ink is what is darker than the paper round it.
"""

import cv2
import numpy as np

from graphkd.robustness.fields import fit, grid_of, noise, per_mille, to_bytes

_HOLDOUT = (0.5, 0.8, 1.2)  # how far the paper grows into the ink, thousandths of the longer side
_FADED = (0.5, 0.72, 0.92)  # share of that ink which is lost where the print is worst
_BLEEDING = (0.6, 1.4, 3.0)  # how far the ink grows into the paper, same unit
_SHADE = (0.35, 0.6, 0.82)  # light that the shadow takes away
_GLARE = (0.35, 0.65, 0.95)  # how close to white the reflection comes
_LIGHT_GRID = 128


def ink_holdout(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Paper that does not take the ink: strokes get thin and pale, more so in patches."""
    shape = grid_of(image, longest=_LIGHT_GRID)
    patches = fit(_share(noise(rng, shape, sigma=4.0, grid=_LIGHT_GRID)), image)[..., None]
    thin = _grow(image, per_mille(image, _HOLDOUT[strength - 1]), cv2.dilate).astype(np.float32)
    lost = _FADED[strength - 1] * (0.6 + 0.4 * patches)
    return to_bytes(image + (thin - image) * lost)


def ink_bleeding(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """Paper that soaks the ink up: strokes swell, with soft rims, more in some places."""
    shape = grid_of(image, longest=_LIGHT_GRID)
    patches = fit(_share(noise(rng, shape, sigma=4.0, grid=_LIGHT_GRID)), image)[..., None]
    radius = per_mille(image, _BLEEDING[strength - 1])
    thick = _grow(image, radius * 0.7, cv2.erode).astype(np.float32)
    thicker = _grow(image, radius, cv2.erode).astype(np.float32)
    soaked = thick + (thicker - thick) * patches
    soft = cv2.GaussianBlur(soaked, (0, 0), max(radius * 0.35, 0.1))
    return np.minimum(to_bytes(soft), image)


def illumination(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """A shadow with a soft edge over one part of the page and a reflection on another."""
    rows, columns = grid_of(image, longest=_LIGHT_GRID)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    heading, where, soft = (
        rng.uniform(0, 2 * np.pi),
        rng.uniform(-0.1, 0.15),
        rng.uniform(0.04, 0.1),
    )
    towards = np.array([np.cos(heading), np.sin(heading)])
    away = (x - 0.5) * towards[0] + (y - 0.5) * towards[1] - where
    shade = _SHADE[strength - 1] / (1 + np.exp(-away / soft))
    middle = 0.5 - towards * rng.uniform(0.1, 0.25)
    wide, high = rng.uniform(0.14, 0.22, 2) * rng.uniform(0.9, 1.3)
    reflection = np.exp(-(((x - middle[0]) / wide) ** 2) - ((y - middle[1]) / high) ** 2)
    glare = fit(_GLARE[strength - 1] * np.sqrt(reflection), image)[..., None]
    page = image.astype(np.float32)
    page += (255 - page) * glare
    return to_bytes(page * (1 - fit(shade, image)[..., None]))


def _share(field: np.ndarray) -> np.ndarray:
    """A field of unit variance as weights in 0..1."""
    return np.clip(0.5 + 0.5 * field, 0, 1)


def _grow(image: np.ndarray, radius: float, filtering) -> np.ndarray:
    """Minimum (`cv2.erode`) or maximum (`cv2.dilate`) over a disc whose radius may be a fraction:
    between two whole radii, the mean of both by share.
    """
    whole = int(radius)
    rest = radius - whole
    inner = filtering(image, _disc(whole))
    outer = filtering(image, _disc(whole + 1))
    return cv2.addWeighted(inner, 1 - rest, outer, rest, 0)


def _disc(radius: int) -> np.ndarray:
    away = np.arange(-radius, radius + 1)
    return (np.hypot(away[:, None], away[None, :]) <= radius + 0.5).astype(np.uint8)

"""Paper and ink of generated lines: worn type, bleeding ink, thermal print, dirt, scan and photo.

Every function takes coverage of ink or grey values as float32 (H, W), 0 to 1. Lengths are for a
line of 40 pixels and grow with the height.
"""

import cv2
import numpy as np

from graphkd.synthesis.styles import between, chance, pick


def field(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """A smooth random field whose hills are about `cell` pixels wide: float32 (H, W), spread 1."""
    few = [max(2, int(side / cell) + 1) for side in shape]
    grid = rng.standard_normal(few, dtype=np.float32)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)


def dots(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """The print of a needle printer: uint8 ink (H, W) as a grid of dots."""
    pitch = int(rng.integers(3, 6))
    height, width = (side // pitch for side in ink.shape)
    few = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA)
    on = (few > few.max() * between(rng, 0.28, 0.5)).astype(np.uint8) * 255
    grown = cv2.resize(on, (width * pitch, height * pitch), interpolation=cv2.INTER_NEAREST)
    y, x = np.mgrid[:pitch, :pitch] - (pitch - 1) / 2
    dot = (np.hypot(x, y) <= pitch * between(rng, 0.42, 0.75)).astype(np.uint8)
    made = np.zeros_like(ink)
    made[: height * pitch, : width * pitch] = grown * np.tile(dot, (height, width))
    return made


def press(rng: np.random.Generator, ink: np.ndarray, *, wear: float) -> np.ndarray:
    """Ink as it comes onto the paper: thick and thin places, ragged rims, holes.

    Args:
        rng: the line's generator.
        ink: what the type covers.
        wear: 0 for a laser printer, 1 for bad old print.
    """
    size, type_ = ink.shape[0] / 40, ink
    ink = cv2.GaussianBlur(ink, (0, 0), size * between(rng, 0.25, 0.45 + 0.6 * wear))
    level = between(rng, 0.5 - 0.27 * wear, 0.5 + 0.03 * wear)
    uneven = level + 0.1 * wear * field(rng, ink.shape, 18 * size)
    if wear > 0.2:
        uneven += 0.1 * wear * field(rng, ink.shape, 1.8 * size)
    # The narrower the step, the sharper the rim: paper that soaks up ink has a wide one.
    step = between(rng, 0.25, 1.0)
    ink = np.clip((ink - uneven) / step + 0.5, 0, 1)
    if wear > 0.4 and chance(rng, 0.4):
        holes = field(rng, ink.shape, 2.2 * size) > between(rng, 1.5, 2.4)
        ink = ink * (1 - between(rng, 0.3, 0.9) * holes)
    # Hairlines may vanish below the threshold: such a line is printed as it was set.
    return ink.astype(np.float32) if ink.sum() > 0.5 * type_.sum() else type_


def thermal(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """Thermal print: rows or columns of weak elements, faded patches, a coarse grain."""
    height, width = ink.shape
    kind = pick(rng, "rows", "columns", "patches", "grain", "none")
    if kind == "rows":
        strength = 1 - between(rng, 0.2, 0.6) * (rng.random((height, 1), dtype=np.float32) < 0.3)
    elif kind == "columns":
        strength = 1 - between(rng, 0.3, 0.9) * (rng.random((1, width), dtype=np.float32) < 0.03)
    elif kind == "patches":
        strength = 1 - between(rng, 0.2, 0.5) * (field(rng, ink.shape, 0.8 * height) > 0.3)
    elif kind == "grain":
        strength = 1 - between(rng, 0.2, 0.5) * rng.random(ink.shape, dtype=np.float32)
    else:
        return ink
    return (ink * strength).astype(np.float32)


def paper(rng: np.random.Generator, shape: tuple[int, int], *, old: bool) -> np.ndarray:
    """The brightness of a piece of paper: its tone, clouds, fibres, shade and specks."""
    size = shape[0] / 40
    if chance(rng, 0.4 if old else 0.5):  # cleaned by the scanner
        sheet = np.full(shape, between(rng, 0.94, 1.03), np.float32)
    else:
        tone = between(rng, 0.66, 0.95) if old else between(rng, 0.75, 1.0)
        sheet = tone + rng.random() ** 2 * 0.03 * field(rng, shape, 14 * size)
        sheet += rng.random() ** 2 * 0.025 * field(rng, shape, 2.0 * size)
        if chance(rng, 0.3):
            shade = np.linspace(-1, 1, shape[1], dtype=np.float32)
            sheet += between(rng, -0.12, 0.12) * shade[None]
        if chance(rng, 0.2):
            shade = np.linspace(-1, 1, shape[0], dtype=np.float32)
            sheet += between(rng, -0.08, 0.08) * shade[:, None]
    if chance(rng, 0.25 if old else 0.12):
        specks = field(rng, shape, between(rng, 1.0, 2.0) * size) > between(rng, 2.3, 3.2)
        sheet = sheet - between(rng, 0.1, 0.7) * specks
    return sheet.astype(np.float32)


def scan(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Blur, small size, sharpening and noise of a scanner or camera; grey values, 0 to 1."""
    height, width = image.shape
    size = height / 40
    if chance(rng, 0.3):
        image = cv2.GaussianBlur(image, (0, 0), size * between(rng, 0.3, 1.1))
    if chance(rng, 0.06):
        reach = 2 * max(1, round(size * between(rng, 0.6, 1.6))) + 1
        image = cv2.blur(image, (reach, 1) if chance(rng, 0.6) else (1, reach))
    if chance(rng, 0.2):
        share = between(rng, 0.45, 0.85)
        small = max(4, int(width * share)), max(4, int(height * share))
        small = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        way = pick(rng, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)
        image = cv2.resize(small, (width, height), interpolation=way)
    if chance(rng, 0.2):
        image = image + between(rng, 0.3, 1.2) * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    if chance(rng, 0.5):
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + (0.004 + rng.random() ** 2 * 0.04) * grain
    return image


def tinted(rng: np.random.Generator, grey: np.ndarray) -> np.ndarray:
    """Grey values as colours: yellowed or coloured paper, and ink of a colour now and then."""
    bright = np.array([1.0, between(rng, 0.9, 1.0), between(rng, 0.72, 1.0)], np.float32)
    if chance(rng, 0.25):
        bright = (0.85 + 0.15 * rng.random(3)).astype(np.float32)
    dark = np.zeros(3, np.float32)
    if chance(rng, 0.35):
        dark = pick(rng, (0.0, 0.0, 0.45), (0.5, 0.0, 0.0), (0.0, 0.3, 0.1), (0.2, 0.1, 0.0))
    return np.clip(np.asarray(dark) + (bright - dark) * grey[..., None], 0, 1)

"""Changes pictures of single lines for training; none of them cuts off a part of the text.

Every function takes uint8 (H, W, 3) and a generator and returns a new picture. `MOVES` change where
the ink is, `PAINTS` only what colour it has. The list is that of the training of PaddleOCR
recognisers, and the marks of printed and scanned documents.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from graphkd.synthesis.wear import field

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_TOGETHER = 4  # the most changes of one line: more of them leave little to read
_LONG = 6.0  # a line this many times as wide as high is turned less, the longer the less


def augment_crop(
    picture: np.ndarray, rng: np.random.Generator, *, probability: float = 0.5
) -> np.ndarray:
    """Changes a line in one to four of the ways of `CHANGES`, drawn at random.

    Args:
        picture: uint8 (H, W, 3), in RGB or BGR.
        rng: the only source of chance.
        probability: that the line is changed at all, 0 to 1.
    """
    if rng.random() >= probability:
        return picture
    count = int(rng.integers(1, _TOGETHER + 1))
    for name in rng.choice(list(CHANGES), count, replace=False, p=_SHARES):
        picture = CHANGES[name](picture, rng)
    return picture


def stretch(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes the line up to a fifth narrower or wider."""
    height, width = picture.shape[:2]
    wide = max(1, round(width * rng.uniform(0.8, 1.2)))
    return cv2.resize(picture, (wide, height), interpolation=cv2.INTER_LINEAR)


def waves(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretches some parts of the line and squeezes others, as an uneven scanner does."""
    height, width = picture.shape[:2]
    parts = max(2, round(width / (2 * height)))
    steps = rng.uniform(0.75, 1.25, parts)
    ends = np.concatenate([[0.0], np.cumsum(steps) / steps.sum()]) * (width - 1)
    at = np.interp(np.arange(width), np.linspace(0, width - 1, parts + 1), ends)
    x = np.broadcast_to(at.astype(np.float32), (height, width))
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width))
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def perspective(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves the corners by up to a sixteenth of the height; the picture grows to hold all of it."""
    height, width = picture.shape[:2]
    return _warped(picture, rng.uniform(-1, 1, (4, 2)) * height / 16)


def turn(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns the line by up to 2 degrees, long lines by less; the picture grows to hold it all."""
    height, width = picture.shape[:2]
    most = np.deg2rad(2.0) * min(1.0, _LONG * height / width)
    drop = np.tan(rng.uniform(-most, most)) * width / 2
    return _warped(picture, np.array([(0, -drop), (0, drop), (0, drop), (0, -drop)]))


def slant(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leans upright letters over, or italic ones back, by up to 15 degrees."""
    lean = rng.uniform(-0.27, 0.27) * picture.shape[0] / 2
    return _warped(picture, np.array([(lean, 0), (lean, 0), (-lean, 0), (-lean, 0)]))


def _warped(picture: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Moves the corners (top left, top right, bottom right, bottom left) by (x, y) pixels each."""
    height, width = picture.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    moved = (corners + moves).astype(np.float32)
    moved -= moved.min(axis=0)
    wide, high = np.ceil(moved.max(axis=0)).astype(int)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    size = max(int(wide), 1), max(int(high), 1)
    return cv2.warpPerspective(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def margins(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cuts or adds a few pixels at every side; a side is never cut within 1 pixel of ink."""
    height, width = picture.shape[:2]
    room = np.maximum(np.array(ink_margins(picture)) - 1, 0)
    most = max(1, round(height * 0.08))
    cut = np.minimum(rng.integers(-most, most + 1, 4), room)
    left, top, right, bottom = (int(side) for side in cut)
    inner = picture[max(top, 0) : height - max(bottom, 0), max(left, 0) : width - max(right, 0)]
    sides = [max(-side, 0) for side in (top, bottom, left, right)]
    return cv2.copyMakeBorder(inner, *sides, cv2.BORDER_REPLICATE)


def ink_margins(picture: np.ndarray) -> tuple[int, int, int, int]:
    """How many columns and rows at the left, top, right and bottom are free of ink.

    A row or column is free where no pixel differs by an eighth of the picture's contrast from the
    ground, which is the median. Parts of neighbouring lines count as ink.
    """
    grey = picture.min(axis=2) if picture.ndim == 3 else picture
    grey = grey.astype(np.int16)
    off = np.abs(grey - int(np.median(grey)))
    ink = off > max(int(off.max()) // 8, 4)
    columns, rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    height, width = ink.shape
    ends = columns[0], rows[0], width - 1 - columns[-1], height - 1 - rows[-1]
    return tuple(int(end) for end in ends)


def blur(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurs as a lens does, or along one direction; at most as much as letters can bear."""
    size = picture.shape[0] / 32
    if rng.random() < 0.7:
        return cv2.GaussianBlur(picture, (0, 0), max(size * rng.uniform(0.3, 0.9), 0.1))
    reach = 2 * round(size * rng.uniform(0.5, 1.5)) + 1
    return cv2.blur(picture, (reach, 1) if rng.random() < 0.6 else (1, reach))


def small(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reduces the line to at least 14 rows and enlarges it again."""
    height, width = picture.shape[:2]
    rows = rng.uniform(14, 26)
    if rows >= height:
        return picture.copy()
    size = max(1, round(width * rows / height)), round(rows)
    fewer = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.integers(3))]
    return cv2.resize(fewer, (width, height), interpolation=how)


def light(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and gamma; with a shade from one end to the other now and then."""
    line = picture.astype(np.float32) / 255
    line = np.clip(0.5 + (line - 0.5) * rng.uniform(0.6, 1.3), 0, 1) ** rng.uniform(0.6, 1.7)
    line *= rng.uniform(0.75, 1.1)
    if rng.random() < 0.3:
        low = rng.uniform(0.6, 1.0)
        shade = np.linspace(low, 1, picture.shape[1], dtype=np.float32)[None, :, None]
        line *= shade if rng.random() < 0.5 else shade[:, ::-1]
    return _bytes(line)


def color(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Changes each channel on its own: coloured paper, light or ink."""
    scale, offset = rng.uniform(0.75, 1.05, 3), rng.uniform(-0.05, 0.1, 3)
    return _bytes(picture.astype(np.float32) / 255 * scale + offset)


def noise(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The noise of a camera, the same in all channels or in each its own."""
    channels = 1 if rng.random() < 0.7 else 3
    grain = rng.standard_normal((*picture.shape[:2], channels), dtype=np.float32)
    return _bytes(picture.astype(np.float32) / 255 + grain * np.float32(rng.uniform(0.01, 0.08)))


def inversion(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light text on a dark ground; `rng` is not used."""
    return 255 - picture


def jpeg(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stores the line as a JPEG of quality 15 to 60."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))]
    return cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)


def ink(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes strokes thicker or thinner, in some places more: ink that bleeds or is missing."""
    shape, size = picture.shape[:2], picture.shape[0] / 32
    reach = np.ones((3, 3), np.uint8)
    grown = cv2.erode(picture, reach) if rng.random() < 0.5 else cv2.dilate(picture, reach)
    share = 0.5 + 0.5 * field(rng, shape, 12 * size)
    # Thin strokes would vanish if the whole of a 3 x 3 window were taken at 32 rows.
    share = np.clip(share, 0, 1)[..., None] * min(rng.uniform(0.2, 0.6) * size, 1.0)
    return _bytes((picture + (grown.astype(np.float32) - picture) * share) / 255)


def texture(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clouds, fibres and specks of paper."""
    shape, size = picture.shape[:2], picture.shape[0] / 32
    paper = rng.uniform(0.01, 0.06) * field(rng, shape, 10 * size)
    paper += rng.uniform(0.01, 0.05) * field(rng, shape, 1.8 * size)
    if rng.random() < 0.4:
        paper -= rng.uniform(0.2, 0.6) * (field(rng, shape, 1.3 * size) > 2.6)
    return _bytes(picture.astype(np.float32) / 255 * (1 + paper[..., None]))


def show_through(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The print of the other side of the leaf: the line itself, mirrored, moved and faint."""
    line = picture.astype(np.float32) / 255
    behind = np.roll(line[:, ::-1], int(rng.integers(line.shape[1])), axis=1)
    behind = cv2.GaussianBlur(behind, (0, 0), max(line.shape[0] / 24, 0.5))
    ground = np.median(behind, axis=(0, 1))
    return _bytes(line + rng.uniform(0.1, 0.35) * np.minimum(behind - ground, 0))


def _bytes(line: np.ndarray) -> np.ndarray:
    return (np.clip(line, 0, 1) * 255 + 0.5).astype(np.uint8)


MOVES: Mapping[str, Change] = {
    "stretch": stretch,
    "waves": waves,
    "perspective": perspective,
    "turn": turn,
    "slant": slant,
    "margins": margins,
}
PAINTS: Mapping[str, Change] = {
    "ink": ink,
    "show_through": show_through,
    "texture": texture,
    "light": light,
    "color": color,
    "blur": blur,
    "small": small,
    "noise": noise,
    "inversion": inversion,
    "jpeg": jpeg,
}
CHANGES: Mapping[str, Change] = {**MOVES, **PAINTS}
# Stretching is what helps most, and few lines are light on dark.
_WEIGHTS = np.array([{"stretch": 4.0, "inversion": 0.4}.get(name, 1.0) for name in CHANGES])
_SHARES = _WEIGHTS / _WEIGHTS.sum()

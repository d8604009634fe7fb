"""Damage by foreign content: a watermark over the page, pictures behind it; nothing moves."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.robustness.fields import GRID, fit, grid_of, to_bytes
from graphkd.synthesis.photos import photograph

_WORDS = ("CONFIDENTIAL", "DRAFT", "COPY", "SAMPLE", "DO NOT COPY", "ARCHIVE")
_OPACITY = (0.22, 0.40, 0.62)
_WIDTH = (0.55, 0.75, 0.95)  # of the word, as a share of the page's diagonal
_SHOWS = (0.35, 0.6, 0.85)  # how strongly the pictures show
_PICTURES = (1, 2, 4)
_PLACES = ((0.30, 0.28), (0.70, 0.72), (0.70, 0.28), (0.30, 0.72))


def watermark(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """A word in large grey letters along a diagonal, denser and larger with strength."""
    rows, columns = grid_of(image)
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    up = rng.choice((-1, 1))
    tone = rng.uniform(60, 120)
    degrees = up * np.degrees(np.arctan2(rows, columns)) * rng.uniform(0.8, 1.0)
    letters = _written(word, round(_WIDTH[strength - 1] * np.hypot(rows, columns)))
    turned = letters.rotate(degrees, expand=True, resample=Image.Resampling.BILINEAR)
    mask = Image.new("L", (columns, rows))
    mask.paste(turned, ((columns - turned.width) // 2, (rows - turned.height) // 2))
    cover = fit(np.asarray(mask, dtype=np.float32) / 255, image)[..., None]
    page = image.astype(np.float32)
    return to_bytes(page + (tone - page) * cover * _OPACITY[strength - 1])


def background(image: np.ndarray, rng: np.random.Generator, strength: int) -> np.ndarray:
    """One, two or four pictures behind the print, as on a page that shows through or a leaflet."""
    rows, columns = grid_of(image)
    behind = np.full((rows, columns, 3), 255, np.uint8)
    order = rng.permutation(len(_PLACES))
    # All are made, so that one picture is the same at every strength.
    pictures = [(photograph(rng, aspect=rng.uniform(0.75, 1.35)), place) for place in order]
    for picture, place in pictures[: _PICTURES[strength - 1]]:
        _lay(behind, picture, _PLACES[place])
    light = 1 - _SHOWS[strength - 1] * (1 - fit(behind, image) / 255)
    return to_bytes(image * light)


def _written(word: str, width: int) -> Image.Image:
    """A word as a mask, `width` pixels wide."""
    font = ImageFont.load_default(size=GRID // 8)
    left, top, right, bottom = font.getbbox(word)
    letters = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2))
    ImageDraw.Draw(letters).text((1 - left, 1 - top), word, fill=255, font=font)
    height = max(1, round(width * letters.height / letters.width))
    return letters.resize((max(1, width), height), Image.Resampling.BILINEAR)


def _lay(sheet: np.ndarray, picture: np.ndarray, place: tuple[float, float]) -> None:
    """Puts a picture on the sheet, 45 % of its sides, its middle at `place` (x, y as shares)."""
    rows, columns = sheet.shape[:2]
    factor = 0.5 * max(rows, columns) / max(picture.shape[:2])
    factor = min(factor, 0.55 * columns / picture.shape[1], 0.55 * rows / picture.shape[0])
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    grown = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    left = int(np.clip(round(place[0] * columns - size[0] / 2), 0, columns - size[0]))
    top = int(np.clip(round(place[1] * rows - size[1] / 2), 0, rows - size[1]))
    sheet[top : top + size[1], left : left + size[0]] = grown

"""Corruptions that change colours only: ink, light, dirt, paper, blur and added content.

Random fields are drawn on a grid of fixed size and resized to the page, so that scans of one page
at different resolutions get the same spots in the same places.
"""

from statistics import NormalDist

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from graphkd.synthesis.photos import photograph

# Each triple holds the values of severity 1, 2 and 3.
_HOLDOUT = (0.5, 0.8, 1.2)  # loss at the rim of strokes, in thousandths of the longer side
_FADED = (0.5, 0.72, 0.92)  # share of this ink that is lost where the print is worst
_BLEEDING = (0.6, 1.4, 3.0)  # growth of strokes, in the same unit
_SHADE = (0.35, 0.6, 0.82)  # share of the light that the shadow takes away
_GLARE = (0.35, 0.65, 0.95)  # strength of the reflection; 1 is white
_COVER = (0.006, 0.02, 0.055)  # share of the page under dark specks; half of it under light ones
_FIBRES = (500, 1400, 3200)
_FIBRE_DEPTH = (0.40, 0.50, 0.60)  # darkness of a fibre, 0..1
_GRAIN = (0.015, 0.035, 0.07)  # standard deviation of the paper's grain, 0..1
_RADIUS = (1.6, 3.2, 6.0)  # of the circle of confusion, in thousandths of the longer side
_TRAVEL = (4.0, 9.0, 18.0)  # movement of the camera, in the same unit
_OPACITY = (0.22, 0.40, 0.62)  # of the watermark
_WIDTH = (0.55, 0.75, 0.95)  # of the watermark, as a share of the page's diagonal
_SHOWS = (0.35, 0.6, 0.85)  # opacity of the pictures behind the print
_PICTURES = (1, 2, 4)  # number of these pictures

GRID = 1024  # cells along the longer side of the grid on which random fields are drawn
_LIGHT_GRID = 128  # a coarse grid is enough for light and patches of ink, which change slowly
_JOINTS = 12  # points of a fibre
_FINE = 9  # samples per pixel along each axis; odd, so that a kernel is symmetric
_WORDS = ("CONFIDENTIAL", "DRAFT", "COPY", "SAMPLE", "DO NOT COPY", "ARCHIVE")
_PLACES = ((0.30, 0.28), (0.70, 0.72), (0.70, 0.28), (0.30, 0.72))


def ink_holdout(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Paper that does not take the ink well: strokes get thin and pale, in some places more."""
    shape = grid_of(image, longest=_LIGHT_GRID)
    patches = fit(_share(noise(rng, shape, sigma=4.0, grid=_LIGHT_GRID)), image)[..., None]
    thin = _grow(image, per_mille(image, _HOLDOUT[severity - 1]), cv2.dilate).astype(np.float32)
    lost = _FADED[severity - 1] * (0.6 + 0.4 * patches)
    return to_bytes(image + (thin - image) * lost)


def ink_bleeding(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Paper that soaks up the ink: strokes grow and get soft rims, in some places more."""
    shape = grid_of(image, longest=_LIGHT_GRID)
    patches = fit(_share(noise(rng, shape, sigma=4.0, grid=_LIGHT_GRID)), image)[..., None]
    radius = per_mille(image, _BLEEDING[severity - 1])
    thick = _grow(image, radius * 0.7, cv2.erode).astype(np.float32)
    thicker = _grow(image, radius, cv2.erode).astype(np.float32)
    soaked = thick + (thicker - thick) * patches
    soft = cv2.GaussianBlur(soaked, (0, 0), max(radius * 0.35, 0.1))
    return np.minimum(to_bytes(soft), image)


def illumination(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
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
    shade = _SHADE[severity - 1] / (1 + np.exp(-away / soft))
    middle = 0.5 - towards * rng.uniform(0.1, 0.25)
    wide, high = rng.uniform(0.14, 0.22, 2) * rng.uniform(0.9, 1.3)
    reflection = np.exp(-(((x - middle[0]) / wide) ** 2) - ((y - middle[1]) / high) ** 2)
    glare = fit(_GLARE[severity - 1] * np.sqrt(reflection), image)[..., None]
    page = image.astype(np.float32)
    page += (255 - page) * glare
    return to_bytes(page * (1 - fit(shade, image)[..., None]))


def speckle(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Dark specks of dirt, and light specks where ink has come off, small and large."""
    shape = grid_of(image)
    cover = _COVER[severity - 1]
    small, large = noise(rng, shape, sigma=1.0), noise(rng, shape, sigma=2.6)
    dark = np.maximum(_spots(small, cover / 2), _spots(large, cover / 2))
    light = np.maximum(_spots(-small, cover / 4), _spots(-large, cover / 4))
    dark, light = fit(dark, image)[..., None], fit(light, image)[..., None]
    page = image.astype(np.float32)
    page += (235 - page) * light
    page += (25 - page) * dark
    return to_bytes(page)


def texture(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Coarse paper: curled dark and light fibres, and a cloudy grain."""
    shape = grid_of(image)
    grain = 0.6 * noise(rng, shape, sigma=1.5) + 0.8 * noise(rng, shape, sigma=12.0)
    paths = _fibres(rng, _FIBRES[-1])[: _FIBRES[severity - 1]]
    half = len(paths) // 2
    dark, light = _drawn(paths[:half], shape), _drawn(paths[half:], shape)
    depth = _FIBRE_DEPTH[severity - 1]
    page = image.astype(np.float32)
    page += (255 - page) * fit(depth * light, image)[..., None]
    page *= 1 - fit(depth * dark, image)[..., None]
    page += 255 * _GRAIN[severity - 1] * fit(grain, image)[..., None]
    return to_bytes(page)


def defocus(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Blurs with a disc whose radius is 1.6, 3.2 or 6 thousandths of the page's longer side; `rng`
    is not used.
    """
    radius = per_mille(image, _RADIUS[severity - 1])
    reach = int(np.ceil(radius)) + 1
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5
    disc = (np.hypot(fine[:, None], fine[None, :]) <= radius + 1e-9).astype(np.float64)
    # The disc is averaged over the area of a pixel, so a disc smaller than a pixel blurs a little.
    return _convolve(image, _pool(cv2.blur(disc, (_FINE, _FINE), borderType=cv2.BORDER_CONSTANT)))


def vibration(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """Blurs along a line of 4, 9 or 18 thousandths of the page's longer side, in a random
    direction.
    """
    travel = per_mille(image, _TRAVEL[severity - 1])
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


def watermark(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """A word in large grey letters along a diagonal."""
    rows, columns = grid_of(image)
    word = _WORDS[int(rng.integers(len(_WORDS)))]
    up = rng.choice((-1, 1))
    tone = rng.uniform(60, 120)
    degrees = up * np.degrees(np.arctan2(rows, columns)) * rng.uniform(0.8, 1.0)
    letters = _written(word, round(_WIDTH[severity - 1] * np.hypot(rows, columns)))
    turned = letters.rotate(degrees, expand=True, resample=Image.Resampling.BILINEAR)
    mask = Image.new("L", (columns, rows))
    mask.paste(turned, ((columns - turned.width) // 2, (rows - turned.height) // 2))
    cover = fit(np.asarray(mask, dtype=np.float32) / 255, image)[..., None]
    page = image.astype(np.float32)
    return to_bytes(page + (tone - page) * cover * _OPACITY[severity - 1])


def background(image: np.ndarray, rng: np.random.Generator, severity: int) -> np.ndarray:
    """One, two or four pictures behind the print, as on a leaflet."""
    rows, columns = grid_of(image)
    behind = np.full((rows, columns, 3), 255, np.uint8)
    order = rng.permutation(len(_PLACES))
    # All four are made, so that the first picture is the same at every severity.
    pictures = [(photograph(rng, aspect=rng.uniform(0.75, 1.35)), place) for place in order]
    for picture, place in pictures[: _PICTURES[severity - 1]]:
        _lay(behind, picture, _PLACES[place])
    light = 1 - _SHOWS[severity - 1] * (1 - fit(behind, image) / 255)
    return to_bytes(image * light)


def grid_of(image: np.ndarray, *, longest: int = GRID) -> tuple[int, int]:
    """(rows, columns) of the grid of a page; the longer side has `longest` cells."""
    factor = longest / max(image.shape[:2])
    return max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))


def noise(
    rng: np.random.Generator, shape: tuple[int, int], *, sigma: float, grid: int = GRID
) -> np.ndarray:
    """Smooth noise with mean 0 and variance 1: float32 of `shape`, at most (grid, grid).

    Args:
        rng: the page's generator. A whole square of numbers is always drawn, so that pages whose
            shapes differ by a rounded pixel get the same field.
        shape: rows and columns.
        sigma: standard deviation of the smoothing, in cells.
        grid: rows and columns of the square.
    """
    square = rng.standard_normal((grid, grid), dtype=np.float32)
    smooth = cv2.GaussianBlur(square, (0, 0), sigma)
    return smooth[: shape[0], : shape[1]] / max(float(smooth.std()), 1e-6)


def fit(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Resizes a field (h, w) or (h, w, C) to the page's height and width; float32."""
    height, width = image.shape[:2]
    shrinks = height * width < field.shape[0] * field.shape[1]
    return cv2.resize(
        field.astype(np.float32, copy=False),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )


def per_mille(image: np.ndarray, thousandths: float) -> float:
    """Converts a length in thousandths of the page's longer side to pixels."""
    return thousandths / 1000 * max(image.shape[:2])


def to_bytes(page: np.ndarray) -> np.ndarray:
    """Rounds values in 0..255 to uint8 and clips the others."""
    return np.clip(page + 0.5, 0, 255).astype(np.uint8)


def _share(field: np.ndarray) -> np.ndarray:
    """Converts a field of unit variance to weights in 0..1."""
    return np.clip(0.5 + 0.5 * field, 0, 1)


def _grow(image: np.ndarray, radius: float, filtering) -> np.ndarray:
    """The minimum (`cv2.erode`) or maximum (`cv2.dilate`) over a disc. For a fractional radius, the
    results of the two whole radii are interpolated.
    """
    whole = int(radius)
    rest = radius - whole
    inner = filtering(image, _disc(whole))
    outer = filtering(image, _disc(whole + 1))
    return cv2.addWeighted(inner, 1 - rest, outer, rest, 0)


def _disc(radius: int) -> np.ndarray:
    away = np.arange(-radius, radius + 1)
    return (np.hypot(away[:, None], away[None, :]) <= radius + 0.5).astype(np.uint8)


def _spots(field: np.ndarray, cover: float) -> np.ndarray:
    """Marks the highest places of a field of unit variance, about `cover` of its area, with soft
    rims; 0..1.
    """
    return np.clip((field - NormalDist().inv_cdf(1 - cover)) / 0.15 + 0.5, 0, 1)


def _fibres(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random curled paths (count, points, 2) on the unit square, 0.01 to 0.06 long."""
    start = rng.uniform(0, 1, (count, 1, 2))
    length = rng.uniform(0.01, 0.06, (count, 1)) / _JOINTS
    turns = rng.normal(0, 0.35, (count, _JOINTS)).cumsum(axis=1)
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + turns
    steps = np.stack([length * np.cos(heading), length * np.sin(heading)], axis=2)
    return start + steps.cumsum(axis=1)


def _drawn(paths: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draws paths as lines on a grid of `shape`, 0..1; its longer side is 1 in the paths' units."""
    canvas = np.zeros(shape, np.uint8)
    sixteenths = np.round(paths * max(shape) * 16).astype(np.int32)
    cv2.polylines(canvas, list(sixteenths), False, 255, 1, cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) / 255


def _pool(fine: np.ndarray) -> np.ndarray:
    """Sums of blocks of `_FINE` x `_FINE` samples."""
    cells = fine.shape[0] // _FINE
    return fine.reshape(cells, _FINE, cells, _FINE).sum(axis=(1, 3))


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    weights = (kernel / kernel.sum()).astype(np.float32)
    return cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REPLICATE)


def _written(word: str, width: int) -> Image.Image:
    """A word as a mask, `width` pixels wide."""
    font = ImageFont.load_default(size=GRID // 8)
    left, top, right, bottom = font.getbbox(word)
    letters = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2))
    ImageDraw.Draw(letters).text((1 - left, 1 - top), word, fill=255, font=font)
    height = max(1, round(width * letters.height / letters.width))
    return letters.resize((max(1, width), height), Image.Resampling.BILINEAR)


def _lay(sheet: np.ndarray, picture: np.ndarray, place: tuple[float, float]) -> None:
    """Puts a picture, about half as long as the sheet, with its centre at `place` (x, y, 0..1)."""
    rows, columns = sheet.shape[:2]
    factor = 0.5 * max(rows, columns) / max(picture.shape[:2])
    factor = min(factor, 0.55 * columns / picture.shape[1], 0.55 * rows / picture.shape[0])
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    grown = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    left = int(np.clip(round(place[0] * columns - size[0] / 2), 0, columns - size[0]))
    top = int(np.clip(round(place[1] * rows - size[1] / 2), 0, rows - size[1]))
    sheet[top : top + size[1], left : left + size[0]] = grown

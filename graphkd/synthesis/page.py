"""Makes one page from a seed and an index: layout, pixels, exact boxes and lines, scan effects."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from graphkd.data.layouts import DOCLAYNET_CLASSES, PUBLAYNET_CLASSES
from graphkd.synthesis.kinds import lay_out
from graphkd.synthesis.photos import smooth_noise
from graphkd.synthesis.sheet import Box, SheetMark, union
from graphkd.synthesis.styles import between, chance, register_fonts

CLASSES_11 = DOCLAYNET_CLASSES
CLASSES_5 = PUBLAYNET_CLASSES

TO_5 = {
    "Caption": "text",
    "Footnote": "text",
    "Formula": "text",
    "List-item": "list",
    "Page-footer": None,
    "Page-header": None,
    "Picture": "figure",
    "Section-header": "title",
    "Table": "table",
    "Text": "text",
    "Title": "title",
}

INK = 28  # a pixel is ink where a colour channel is this far (of 255) from the ground
SMALLEST = 2.0  # shorter boxes than this many pixels are dropped


@dataclass(frozen=True)
class MadeRegion:
    """One annotated region: a class name, a box (x0, y0, x1, y1) in pixels, and its list, if any.

    `group` numbers the list an item belongs to (unique in a page); None for everything else.
    """

    name: str
    box: Box
    group: int | None = None


@dataclass(frozen=True)
class MadeLine:
    """One text line: its corners in pixels, clockwise from the top left, and its words.

    `ignore` marks lines that no score counts: formulas.
    """

    polygon: tuple[tuple[float, float], ...]
    text: str
    ignore: bool = False


@dataclass(frozen=True)
class MadePage:
    """One page: the RGB image, its regions and lines in drawing order, and the JPEG quality."""

    image: Image.Image
    regions: tuple[MadeRegion, ...]
    quality: int = 90
    lines: tuple[MadeLine, ...] = ()


def five_classes(regions: Iterable[MadeRegion]) -> tuple[MadeRegion, ...]:
    """Translate regions of the 11 classes into the 5 classes of PubLayNet (see the package).

    All List-items of one group become one list box, at the place of the first item.

    Args:
        regions: regions of the 11 classes; may be empty.

    Returns:
        Regions of the 5 classes, in the same order; empty for a page without objects.
    """
    regions = tuple(regions)
    lists: dict[int | None, list[Box]] = {}
    for region in regions:
        if region.name == "List-item":
            lists.setdefault(region.group, []).append(region.box)
    translated = []
    for region in regions:
        name = TO_5[region.name]
        if name == "list":
            if region.group in lists:
                box = union(lists.pop(region.group))
                translated.append(MadeRegion("list", box, region.group))
        elif name is not None:
            translated.append(MadeRegion(name, region.box))
    return tuple(translated)


def make_page(seed: int, index: int, *, long_side: int = 1024, scan: float = 0.3) -> MadePage:
    """Makes page `index` of the endless series `seed`; the same arguments give the same page.

    Args:
        seed: names the series; splits use different ones.
        index: number of the page in the series, from 0.
        long_side: pixels of the longer side. The layout does not depend on it.
        scan: probability (0 to 1) that the page looks scanned.

    Returns:
        The page. Boxes (x0, y0, x1, y1) in pixels touch the outermost ink of their region (for
        photographs and ruled tables: the outer edge), lie inside the image and are at least two
        pixels wide and high. `lines` are all lines of text that can be read, those in tables and
        figures too; a table cell is a line of its own, a list item's marker is part of its line,
        and formulas are ignored lines. Their polygons touch the ink. About one page in a hundred is
        blank and has no regions.
    """
    register_fonts()
    rng = np.random.default_rng([seed, index])
    sheet = lay_out(rng)
    pixels = sheet.raster(long_side)
    height, width = pixels.shape[:2]
    scale = np.array([width / sheet.width, height / sheet.height])
    outlines = [outline(pixels, mark, scale) for mark in sheet.marks]
    polygons = [corners(line.box) * scale for line in sheet.lines]
    quality = 90
    # The draw happens in any case, so `scan` changes no page layout.
    scanned = chance(rng, scan)
    if scanned:
        if chance(rng, 0.55):
            skew = Skew(float(rng.normal(0, 1.1)), width, height)
            outlines = [skew.points(points) if len(points) else points for points in outlines]
            polygons = [skew.points(points) for points in polygons]
            fill = tuple(int(255 * channel) for channel in sheet.ground)
            pixels = skew.image(pixels, fill=fill)
        pixels, quality = spoil(rng, pixels)
    regions = []
    for mark, points in zip(sheet.marks, outlines, strict=True):
        if len(points):
            low = np.clip(points.min(axis=0), 0, (width, height))
            high = np.clip(points.max(axis=0), 0, (width, height))
            if (high - low >= SMALLEST).all():
                box = tuple(round(float(v), 2) for v in (*low, *high))
                regions.append(MadeRegion(mark.name, box, mark.group))
    lines = []
    for line, points in zip(sheet.lines, polygons, strict=True):
        points = np.clip(points, 0, (width, height)).round(2)
        if (np.ptp(points, axis=0) >= 1).all():
            lines.append(MadeLine(tuple(map(tuple, points.tolist())), line.text, line.ignore))
    return MadePage(Image.fromarray(pixels), tuple(regions), quality, tuple(lines))


def corners(box: Box) -> np.ndarray:
    """The four corners (4, 2) of a box, clockwise from the top left."""
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def outline(pixels: np.ndarray, mark: SheetMark, scale: np.ndarray) -> np.ndarray:
    """Points (N, 2) on the rim of a mark: the corners of an exact box, else the outer corners of
    its ink.

    The ink of every pixel row and column is followed from both sides, so the box stays tight after
    a turn. A mark without ink has no points.
    """
    box = np.array(mark.box).reshape(2, 2) * scale
    if mark.exact:
        return corners(mark.box) * scale
    height, width = pixels.shape[:2]
    x0, y0 = np.clip(np.floor(box[0]).astype(int), 0, (width, height))
    x1, y1 = np.clip(np.ceil(box[1]).astype(int), 0, (width, height))
    crop = pixels[y0:y1, x0:x1].astype(np.int16)
    ground = np.round(np.array(mark.ground) * 255).astype(np.int16)
    ink = (np.abs(crop - ground) >= INK).any(axis=2)
    rows, cols = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return np.zeros((0, 2))
    first_row, last_row = ink.argmax(axis=0)[cols], ink.shape[0] - ink[::-1].argmax(axis=0)[cols]
    first_col, last_col = ink.argmax(axis=1)[rows], ink.shape[1] - ink[:, ::-1].argmax(axis=1)[rows]
    sides = [(cols, first_row), (cols + 1, first_row), (cols, last_row), (cols + 1, last_row)]
    sides += [(first_col, rows), (first_col, rows + 1), (last_col, rows), (last_col, rows + 1)]
    return np.concatenate([np.stack(side, axis=1) for side in sides]) + np.array([x0, y0], float)


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
        page = Image.fromarray(pixels)
        return np.asarray(page.rotate(self.degrees, resample=Image.BILINEAR, fillcolor=fill))


def spoil(rng: np.random.Generator, pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Applies a random choice of scan effects that move no box.

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
    if chance(rng, 0.2):  # the back of the sheet shows through
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
    """A slow gradient, and now and then the shadow of a book's spine: (H, W), 0.4 to 1."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle, depth = between(rng, 0, 6.28), between(rng, 0.04, 0.16)
    light = 1 - depth * (0.5 + 0.5 * (np.cos(angle) * x + np.sin(angle) * y))
    if chance(rng, 0.35):
        side = 1 if chance(rng, 0.5) else -1
        dark = between(rng, 0.2, 0.5)
        light = light * (1 - dark * np.exp(-(1 - side * x) / between(rng, 0.03, 0.1)))
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
    small = Image.fromarray(cover.astype(np.float32))
    grown = np.asarray(small.resize((width, height), Image.BILINEAR))
    depth = np.array([0.12, 0.2, 0.34], np.float32) * between(rng, 0.4, 1.0)
    return 1 - grown[..., None] * depth

"""From a seed and an index to one finished page: layout, raster, exact boxes, scan effects; no
files.
"""

import numpy as np
from PIL import Image

from graphkd.synthesis.layouts import lay_out
from graphkd.synthesis.regions import Page, Region
from graphkd.synthesis.scan import Skew, spoil
from graphkd.synthesis.sheet import Mark
from graphkd.synthesis.styles import chance, register_fonts

INK = 28  # a pixel is ink where a colour channel is this far (of 255) from the ground
SMALLEST = 2.0  # shorter boxes than this many pixels are dropped


def make_page(seed: int, index: int, *, long_side: int = 1024, scan: float = 0.3) -> Page:
    """Make page `index` of the endless series `seed`; the same arguments give the same page.

    Args:
        seed: names the series; splits use different ones.
        index: number of the page in the series, from 0.
        long_side: pixels of the longer side. The layout does not depend on it.
        scan: probability (0 to 1) that the page looks scanned.

    Returns:
        The page. Boxes (x0, y0, x1, y1) in pixels touch the outermost ink of their region (for
        photographs and
        ruled tables: the outer edge), lie inside the image and are at least two pixels wide and
        high.
        About one page in a hundred is blank and has no regions.
    """
    register_fonts()
    rng = np.random.default_rng([seed, index])
    sheet = lay_out(rng)
    pixels = sheet.raster(long_side)
    height, width = pixels.shape[:2]
    scale = np.array([width / sheet.width, height / sheet.height])
    outlines = [outline(pixels, mark, scale) for mark in sheet.marks]
    quality = 90
    # The draw happens in any case, so `scan` changes no page layout.
    scanned = chance(rng, scan)
    if scanned:
        if chance(rng, 0.55):
            skew = Skew(float(rng.normal(0, 1.1)), width, height)
            outlines = [skew.points(points) if len(points) else points for points in outlines]
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
                regions.append(Region(mark.name, box, mark.group))
    return Page(Image.fromarray(pixels), tuple(regions), quality)


def outline(pixels: np.ndarray, mark: Mark, scale: np.ndarray) -> np.ndarray:
    """Points (N, 2) on the rim of a mark: the corners of an exact box, else the outer corners of
    its ink.

    The ink of every pixel row and column is followed from both sides, so the box stays tight after
    a turn.
    A mark without ink has no points.
    """
    box = np.array(mark.box).reshape(2, 2) * scale
    if mark.exact:
        (x0, y0), (x1, y1) = box
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
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

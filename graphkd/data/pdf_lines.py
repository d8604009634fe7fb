"""The text lines of a PDF page with their polygons, from its text layer.

Characters are grouped to lines by their baselines and gaps, at any angle. A line that cannot be
seen on the rendered page is dropped.
"""

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from graphkd.data.images import MAX_PIXELS

_INK = 40  # of 255: the least contrast of a character with its surroundings
_HIDDEN = (pdfium.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium.FPDF_TEXTRENDERMODE_CLIP)
# Type sizes: words that are further apart are different lines (columns, table cells). A single
# space that the file draws is part of the line in any case, as justified lines stretch them.
_GAP, _WIDEST_SPACE = 0.8, 2.5
_MOST_RUNS = 5000  # all pairs of them are compared; a map or a plan may have more
# Bullets and numbers of list items belong to the line that they stand before.
_MARKER = re.compile(r"[\u2022\u25e6\u25aa\u25a0\u25cf\u2023*]|\(?[0-9a-zA-Z]{1,3}[.)]|\[[0-9]+\]")


@dataclass
class _Letters:
    """The visible characters of a page, in the order of the file.

    `origin` is the pen position on the baseline, `along` the reading direction and `up` its normal;
    all in points of the page, y upwards. `box` is left, bottom, right, top. `spaced` counts the
    spaces before the character: those that the file draws, or 0.5 for a gap that reads as a space.
    """

    text: list[str]
    origin: np.ndarray
    box: np.ndarray
    along: np.ndarray
    up: np.ndarray
    size: np.ndarray
    spaced: np.ndarray

    def only(self, chosen: np.ndarray) -> "_Letters":
        """The chosen characters (indices or a mask)."""
        numbers = np.arange(len(self.text))[chosen]
        arrays = (self.origin, self.box, self.along, self.up, self.size, self.spaced)
        return _Letters([self.text[n] for n in numbers], *(array[numbers] for array in arrays))


def read_page(
    page: pypdfium2.PdfPage, *, dpi: int, counts: Counter
) -> tuple[np.ndarray, list[dict[str, Any]]] | None:
    """Renders a page and reads its lines.

    Args:
        page: an open page.
        dpi: pixels per inch.
        counts: gets what was dropped or changed -> how often.

    Returns:
        Pixels (H, W, 3), uint8, and the lines: polygon (4 corners in pixels, clockwise from the top
        left of the text), text and ignore. Raster images are ignored regions. None for a scanned
        page and for a page without text.

    Raises:
        ValueError: the page has no size, too many pixels or too many pieces of text.
    """
    width, height = page.get_size()
    if not 0 < width * height * (dpi / 72) ** 2 <= MAX_PIXELS:
        raise ValueError(f"{width:.0f} x {height:.0f} points at {dpi} dpi; choose another --dpi")
    # Notes and form fields are no part of the text layer, so they are not drawn either.
    bitmap = page.render(
        scale=dpi / 72, rev_byteorder=True, draw_annots=False, may_draw_forms=False
    )
    pixels = bitmap.to_numpy()[..., :3].copy()
    bitmap.close()
    to_pixels = _device(page, pixels.shape)
    letters = _letters(page, counts)
    lines, grey = [], pixels.mean(axis=2)
    for line in _group(letters):
        found = _line(letters.only(line), grey, to_pixels, counts)
        if found is not None:
            lines.append(found)
    area = pixels.shape[0] * pixels.shape[1]
    for corners in _pictures(page):
        points = _apply(to_pixels, corners)
        low, high = np.clip([points.min(axis=0), points.max(axis=0)], 0, pixels.shape[1::-1])
        share = float((high - low).prod()) / area
        if share > 0.5 and len(lines) < 5:
            counts["scanned pages"] += 1
            return None
        if 1e-4 < share <= 0.5:  # a larger one is the ground of the page
            lines.append({"polygon": _box(*low, *high).tolist(), "text": "", "ignore": True})
    if all(line["ignore"] for line in lines):
        counts["pages without text"] += 1
        return None
    return pixels, lines


def _device(page: pypdfium2.PdfPage, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix (3, 2) from points of the page to pixels; the page may be turned and cropped."""
    height, width = shape[:2]
    fine, x, y = 1000, ctypes.c_int(), ctypes.c_int()  # the function gives whole numbers only
    found = []
    for point in ((0.0, 0.0), (100.0, 0.0), (0.0, 100.0)):
        size = (0, 0, width * fine, height * fine, 0)
        pdfium.FPDF_PageToDevice(page, *size, *point, x, y)
        found.append(np.array([x.value, y.value]) / fine)
    return np.stack([(found[1] - found[0]) / 100, (found[2] - found[0]) / 100, found[0]])


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2] + matrix[2]


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def _pictures(page: pypdfium2.PdfPage) -> Iterator[np.ndarray]:
    """Corners (4, 2) of the raster images of a page, in points."""
    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]):
        corners, item = _box(0, 0, 1, 1), image
        while item is not None:  # the image, and the forms that it is part of
            m = item.get_matrix()
            corners = corners @ np.array([[m.a, m.b], [m.c, m.d]]) + (m.e, m.f)
            item = item.container
        yield corners


def _letters(page: pypdfium2.PdfPage, counts: Counter) -> _Letters:
    """The visible characters of a page; hidden ones and those that are drawn twice are counted."""
    layer = page.get_textpage()
    try:
        rows, texts, spaced, hidden = [], [], 0.0, 0
        x, y, m = ctypes.c_double(), ctypes.c_double(), pdfium.FS_MATRIX()
        for index in range(layer.count_chars()):
            text = _character(layer, index)
            if not text.strip():
                drawn = pdfium.FPDFText_IsGenerated(layer, index) == 0
                spaced = spaced + 1 if drawn and text else max(spaced, 0.5 * len(text))
                continue
            box = layer.get_charbox(index)
            item = pdfium.FPDFText_GetTextObject(layer, index)
            mode = pdfium.FPDFTextObj_GetTextRenderMode(item)
            known = pdfium.FPDFText_GetMatrix(layer, index, m)
            across = math.hypot(m.a, m.b)
            if mode in _HIDDEN or not (known and across and box[2] > box[0] and box[3] > box[1]):
                hidden += mode in _HIDDEN
                continue
            pdfium.FPDFText_GetCharOrigin(layer, index, x, y)
            along, flip = (m.a / across, m.b / across), 1 if m.a * m.d >= m.b * m.c else -1
            size = pdfium.FPDFText_GetFontSize(layer, index) * math.hypot(m.c, m.d)
            up = (-along[1] * flip, along[0] * flip)
            address = ctypes.cast(item, ctypes.c_void_p).value or 0
            rows.append((x.value, y.value, *box, *along, *up, size, spaced, address))
            texts.append(text)
            spaced = 0.0
    finally:
        layer.close()
    counts["hidden characters"] += hidden
    table = np.array(rows, float).reshape(-1, 13)
    numbers = np.array([row[12] for row in rows], np.int64)  # too large for exact floats
    parts = np.split(table, [2, 6, 8, 10, 11, 12], axis=1)
    letters = _Letters(texts, *parts[:4], parts[4][:, 0], parts[5][:, 0])
    return _without_copies(letters, numbers, counts)


def _character(layer: pypdfium2.PdfTextPage, index: int) -> str:
    """A character as text; a space for white space, empty for one that is not drawn."""
    code = pdfium.FPDFText_GetUnicode(layer, index)
    if pdfium.FPDFText_IsHyphen(layer, index) == 1 or code in (2, 0xFFFE, 0xAD):
        return "-"  # at the end of a line, where a word goes on
    if code in (9, 10, 13, 32, 0xA0) or pdfium.FPDFText_IsGenerated(layer, index) == 1:
        return " "
    if code == 0 or pdfium.FPDFText_HasUnicodeMapError(layer, index) == 1:
        return "\ufffd"
    text = chr(code)
    if 0xFB00 <= code <= 0xFB06:
        return unicodedata.normalize("NFKC", text)  # the ligatures fi, fl, ff ...
    category = unicodedata.category(text)
    if category in ("Co", "Cn", "Cs"):
        return "\ufffd"  # a glyph whose meaning the file does not tell
    return "" if category in ("Cc", "Cf") else text


def _without_copies(letters: _Letters, objects: np.ndarray, counts: Counter) -> _Letters:
    """Leaves out characters that other text repeats at nearly the same place, to look bold."""
    if not len(letters.text):
        return letters
    pairs = cKDTree(letters.origin).query_pairs(0.15 * letters.size.max(), output_type="ndarray")
    texts = np.array(letters.text)
    one, two = pairs.min(axis=1), pairs.max(axis=1)
    near = np.linalg.norm(letters.origin[one] - letters.origin[two], axis=1)
    # The letters of one ligature share a place, too, but they are of the same text.
    same = (texts[one] == texts[two]) & (objects[one] != objects[two])
    same &= near < 0.15 * letters.size[one]
    one, two = one[same], two[same]
    np.minimum.at(letters.box[:, :2], one, letters.box[two, :2])
    np.maximum.at(letters.box[:, 2:], one, letters.box[two, 2:])
    kept = np.ones(len(texts), bool)
    kept[two] = False
    counts["characters drawn twice"] += int((~kept).sum())
    return letters.only(kept)


def _group(letters: _Letters) -> Iterator[np.ndarray]:
    """Indices of the characters of each line, in reading order.

    Characters that follow each other in the file and on the page make a run; runs side by side on
    one baseline make a line.
    """
    if not len(letters.text):
        return
    along, up, size = letters.along, letters.up, letters.size
    step = letters.origin[1:] - letters.origin[:-1]
    scale = np.minimum(size[1:], size[:-1])
    # From the middle of a character to the pen position of the next: about its advance.
    ahead = (step * along[:-1]).sum(axis=1)
    wide = np.abs((letters.box[:, 2:] - letters.box[:, :2]) * along).sum(axis=1)
    gap = (ahead - wide[:-1]) / scale
    breaks = (along[1:] * along[:-1]).sum(axis=1) < 0.999
    breaks |= np.abs((step * up[:-1]).sum(axis=1)) > 0.5 * scale
    breaks |= (gap > np.where(letters.spaced[1:] == 1, _WIDEST_SPACE, _GAP)) | (gap < -1.2)
    breaks |= np.maximum(size[1:], size[:-1]) > 2.2 * scale
    runs = np.split(np.arange(len(size)), np.flatnonzero(breaks) + 1)
    if len(runs) > _MOST_RUNS:
        raise ValueError(f"{len(runs)} pieces of text, the limit is {_MOST_RUNS}")
    # Compare all runs by their place along and across the direction of each.
    mean = np.array([along[run[0]] for run in runs])
    tall = np.array([size[run].max() for run in runs])
    first = np.array([letters.origin[run[0]] for run in runs])
    last = np.array([letters.origin[run[-1]] + along[run[-1]] * wide[run[-1]] for run in runs])
    parallel = mean @ mean.T > 0.999
    normal = np.array([up[run[0]] for run in runs])
    base = np.abs(((first[None] - first[:, None]) * normal[:, None]).sum(axis=2))
    between = ((first[None] - last[:, None]) * mean[:, None]).sum(axis=2)  # end of i, start of j
    least, most = np.minimum.outer(tall, tall), np.maximum.outer(tall, tall)
    joined = parallel & (base < 0.45 * least) & (most < 2.2 * least)
    marks = ["".join(letters.text[n] for n in run) for run in runs]
    reach = np.array([_WIDEST_SPACE if _MARKER.fullmatch(mark) else _GAP for mark in marks])
    joined &= (between > -0.5 * least) & (between < reach[:, None] * least)
    parts, labels = connected_components(coo_array(joined), directed=False)
    for part in range(parts):
        chosen = np.flatnonzero(labels == part)
        order = np.argsort((first[chosen] * mean[chosen[0]]).sum(axis=1), kind="stable")
        for number in chosen[order[1:]]:
            letters.spaced[runs[number][0]] = 1
        yield np.concatenate([runs[number] for number in chosen[order]])


def _line(
    letters: _Letters, grey: np.ndarray, to_pixels: np.ndarray, counts: Counter
) -> dict[str, Any] | None:
    """The polygon and text of one line; None (counted) where it is not seen on the page."""
    height, width = grey.shape
    seen = np.array([_has_ink(grey, _apply(to_pixels, box.reshape(2, 2))) for box in letters.box])
    if seen.mean() < 0.5:
        counts["lines without ink"] += 1
        return None
    along = letters.along[0] @ to_pixels[:2]
    along /= np.linalg.norm(along)
    up = letters.up[0] @ to_pixels[:2]
    up /= np.linalg.norm(up)
    if (
        np.abs(along).max() > 0.9998
    ):  # upright or turned by 90 degrees: boxes of characters are exact
        points = np.concatenate([_box(*box) for box in letters.box])
        points = _apply(to_pixels, points)
        us, vs = points @ along, points @ up
    else:
        us, vs = _ink_extent(letters, grey, to_pixels, along, up)
        if not len(us):
            counts["lines without ink"] += 1
            return None
    u0, u1, v0, v1 = us.min(), us.max(), vs.min(), vs.max()
    frame = np.stack([along, up])
    # `along` and `up` are at right angles, so points follow from their two coordinates.
    polygon = np.array([(u0, v1), (u1, v1), (u1, v0), (u0, v0)]) @ frame
    middle = polygon.mean(axis=0)
    if not ((middle > 0) & (middle < (width, height))).all():
        counts["lines outside the page"] += 1
        return None
    polygon = np.clip(polygon, 0, (width, height))
    text = _text(letters)
    unknown = text.count("\ufffd")
    if unknown:
        counts["lines with characters of unknown meaning"] += 1
        text = "" if unknown > 0.1 * len(text) else text
    mirrored = along[0] * up[1] > along[1] * up[0]
    ignore = mirrored or not (any(map(str.isalnum, text)) or unknown)
    if mirrored:
        polygon = polygon[::-1]  # clockwise, as all others
    return {"polygon": polygon.tolist(), "text": text, "ignore": ignore}


def _text(letters: _Letters) -> str:
    """The characters of a line with spaces between its words."""
    pieces = zip(letters.spaced, letters.text, strict=True)
    text = "".join((" " if space else "") + text for space, text in pieces)
    return unicodedata.normalize("NFC", text.strip())


def _has_ink(grey: np.ndarray, corners: np.ndarray) -> bool:
    """Whether the pixels in a box (2, 2) are not all alike."""
    x0, y0 = np.maximum(np.floor(corners.min(axis=0) - 0.5), 0).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0) + 0.5).astype(int)
    part = grey[y0:y1, x0:x1]
    return bool(part.size and np.ptp(part) >= _INK)


def _ink_extent(
    letters: _Letters, grey: np.ndarray, to_pixels: np.ndarray, along: np.ndarray, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ink of a slanting line along and across it; the corners of its pixels.

    PDFium gives upright boxes around slanting characters, which are too large. Their middles are
    exact, so the ink near them is measured.
    """
    scale = math.sqrt(abs(np.linalg.det(to_pixels[:2])))
    size = float(np.median(letters.size)) * scale
    middles = _apply(to_pixels, (letters.box[:, :2] + letters.box[:, 2:]) / 2)
    base = float(np.median(_apply(to_pixels, letters.origin) @ up))
    u0, u1 = (middles @ along).min() - 0.5 * size, (middles @ along).max() + 0.5 * size
    v0, v1 = base - 0.28 * size, base + 0.85 * size
    corners = np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)]) @ np.stack([along, up])
    x0, y0 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
    part = grey[y0:y1, x0:x1]
    y, x = np.mgrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] + 0.5
    places = np.stack([x, y], axis=-1)
    u, v = places @ along, places @ up
    inside = (u > u0) & (u < u1) & (v > v0) & (v < v1)
    if not inside.any():
        return np.zeros(0), np.zeros(0)
    ink = inside & (np.abs(part - np.median(part[inside])) >= _INK)
    half = 0.5 * np.array([[-1], [1]])
    return (u[ink] + half).ravel(), (v[ink] + half).ravel()

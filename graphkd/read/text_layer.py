"""Takes the text of lines from a PDF's own text layer, where it can be trusted."""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pypdfium2
import shapely
from rapidfuzz.distance import Levenshtein

from graphkd.document import Line, Word, box_polygon
from graphkd.formats.pdf_page import Character, characters, pixel_matrix
from graphkd.read.assign import ink_of

SOURCES = ("auto", "pdf", "ocr")
# Of the characters of a line: U+FFFD, private use and control characters.
_UNKNOWN = 0.02
# Of a line's ink under characters, and of its characters with ink under them.
_COVERED, _INKED = 0.8, 0.8
# Of a line's height: a wider gap between characters is a space.
_GAP = 0.25
# Lines that are read to check the text of a page, and the disagreement up to which it is taken.
_PROBES = 8
MOST_APART = 0.3


def with_pdf_text(
    lines: Sequence[Line],
    sheet: pypdfium2.PdfPage,
    pixels: np.ndarray,
    *,
    rotation: float = 0,
    source: str = "auto",
    chars: bool = False,
) -> list[Line]:
    """The lines, those with text in the PDF with that text, its words and the origin "pdf".

    A line is taken if nearly all its characters are known and they lie on the line's ink. Invisible
    text, which is the work of somebody's OCR, is taken with `source` "pdf" alone, then without
    looking at the ink.

    Args:
        lines: of the page, in pixels.
        sheet: the page in its PDF.
        pixels: (H, W, 3) uint8, the page upright.
        rotation: degrees by which the drawn page was turned clockwise to stand upright.
        source: "auto", "pdf", or "ocr" for lines as they are.
        chars: give words their characters with places.
    """
    if source == "ocr" or not lines:
        return list(lines)
    height, width = pixels.shape[:2]
    matrix = pixel_matrix(sheet, width=width, height=height, rotation=rotation)
    found = characters(sheet, matrix)
    places = [i for i, each in enumerate(found) if each.box and (each.visible or source == "pdf")]
    boxes = np.array([found[i].box for i in places]).reshape(-1, 4)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    free = np.ones(len(places), bool)
    result = []
    for line in lines:
        inside = free & _inside(line, middles)
        own = [places[i] for i in np.flatnonzero(inside)]
        letters = [found[i] for i in own if not found[i].text.isspace()]
        good = sum(each.known for each in letters) > (1 - _UNKNOWN) * len(letters)
        if good and (source == "pdf" or _on_ink(line, letters, pixels)):
            free &= ~inside  # lines may overlap, and a character belongs to one
            line = _with_words(line, _words(found, own, line), chars=chars)
        result.append(line)
    return result


def disagreement(
    lines: Sequence[Line], recognise: Callable[[list[Line]], Sequence[Line]]
) -> float | None:
    """How far the text of a PDF is from what is to be seen: see `MOST_APART`.

    A text layer with a wrong table of characters lies on the ink and is made of letters, but of
    other ones; only reading shows it.

    Args:
        lines: of one page.
        recognise: reads lines anew, in the same order.

    Returns:
        The median character error rate between both texts, without spaces, of eight lines spread
        over the page; None if no line has text of the PDF.
    """
    known = [line for line in lines if line.origin == "pdf"]
    if not known:
        return None
    steps = np.linspace(0, len(known) - 1, min(_PROBES, len(known))).round().astype(int)
    probes = [known[step] for step in steps]
    rates = []
    for line, again in zip(probes, recognise(list(probes)), strict=True):
        said, seen = ("".join(each.text.split()) for each in (line, again))
        rates.append(Levenshtein.distance(said, seen) / max(len(said), 1))
    return float(np.median(rates))


def _inside(line: Line, middles: np.ndarray) -> np.ndarray:
    """Which points (N, 2) lie in a line: (N,) bool."""
    x1, y1, x2, y2 = line.box
    inside = ((middles >= (x1, y1)) & (middles <= (x2, y2))).all(1)
    if not line.is_box and inside.any():
        inside[inside] = shapely.intersects_xy(shapely.Polygon(line.polygon), middles[inside])
    return inside


def _on_ink(line: Line, letters: Sequence[Character], pixels: np.ndarray) -> bool:
    """Whether the characters cover the ink of a line, and have ink under them."""
    x1, y1 = (max(int(np.floor(value)), 0) for value in line.box[:2])
    x2, y2 = (int(np.ceil(value)) for value in line.box[2:])
    crop = pixels[y1:y2, x1:x2]
    if not crop.size:
        return False
    mask = np.zeros(crop.shape[:2], np.uint8)
    outline = np.round(np.array(line.polygon) - (x1, y1)).astype(np.int32)
    ink = ink_of(crop) & (cv2.fillPoly(mask, [outline], 1) > 0)
    covered, inked = np.zeros_like(ink), 0
    for letter in letters:
        # A pixel of room for the smoothing of edges.
        left, top, right, bottom = np.subtract(letter.box, (x1 + 1, y1 + 1, x1 - 1, y1 - 1))
        rows = slice(max(int(top), 0), max(int(np.ceil(bottom)), 0))
        columns = slice(max(int(left), 0), max(int(np.ceil(right)), 0))
        covered[rows, columns] = True
        inked += bool(ink[rows, columns].any())
    return bool(
        ink.any()
        and (ink & covered).sum() >= _COVERED * ink.sum()
        and inked >= _INKED * len(letters)
    )


def _words(found: Sequence[Character], own: Sequence[int], line: Line) -> list[list[Character]]:
    """The characters of a line, divided at spaces and gaps.

    They run along the line, whatever the order of the file; text from right to left keeps it.
    """
    leftwards = any(unicodedata.bidirectional(found[i].text) in ("R", "AL") for i in own)
    if not leftwards:
        start, end = np.array(line.polygon[0]), np.array(line.polygon[1])
        along = end - start if np.hypot(*(end - start)) > 1e-9 else np.array([1.0, 0.0])
        own = sorted(own, key=lambda i: float(np.dot(found[i].box[:2], along)))
    height = min(line.box[2] - line.box[0], line.box[3] - line.box[1])
    words: list[list[Character]] = [[]]
    for index in own:
        letter = found[index]
        apart = index > 0 and found[index - 1].text.isspace()
        if words[-1] and not leftwards:
            last, this = words[-1][-1].box, letter.box
            gaps = (this[0] - last[2], this[1] - last[3], last[1] - this[3])
            apart = apart or max(gaps) > _GAP * height
        if (apart or letter.text.isspace()) and words[-1]:
            words.append([])
        if not letter.text.isspace():
            words[-1].append(letter)
    return [word for word in words if word]


def _with_words(line: Line, words: Sequence[Sequence[Character]], *, chars: bool) -> Line:
    parts = []
    for word in words:
        edges = np.array([letter.box for letter in word])
        box = (*edges[:, :2].min(0).tolist(), *edges[:, 2:].max(0).tolist())
        said = tuple((c.text, c.box[0], c.box[2], None) for c in word) if chars else ()
        text = "".join(letter.text for letter in word)
        parts.append(Word(box_polygon(box), text, None, said))
    text = " ".join(part.text for part in parts)
    return replace(line, text=text, confidence=None, words=tuple(parts), origin="pdf")

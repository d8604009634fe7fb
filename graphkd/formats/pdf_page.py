"""Pages of PDFs in pixels of the drawn page: where a pixel is on the page, and the page's text."""

import ctypes
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import pypdfium2
from pypdfium2 import raw as pdfium

from graphkd.document import Box, Point

# X = a x + c y + e, Y = b x + d y + f.
Matrix = tuple[float, float, float, float, float, float]
_INVISIBLE = 3  # text render mode
_HYPHENS = (0x02, 0xAD, 0xFFFE)  # what pdfium makes of hyphens that divide words


class Character(NamedTuple):
    """A character of a PDF page.

    Attributes:
        text: one character, also of two UTF-16 units.
        box: in pixels; None for spaces and line ends that pdfium adds between words.
        visible: False for text that is not drawn, such as that over a scan.
    """

    text: str
    box: Box | None
    visible: bool

    @property
    def known(self) -> bool:
        """Whether it is a character of a script, and not U+FFFD, private, control or unknown."""
        unknown = unicodedata.category(self.text) in ("Cc", "Cn", "Co")
        return self.text != "\ufffd" and not unknown


def pixel_matrix(
    page: pypdfium2.PdfPage, *, width: float, height: float, rotation: float = 0
) -> Matrix:
    """The matrix from pixels of the drawn page to the page's own points.

    It respects the page's rotation and its CropBox.

    Args:
        page: of a PDF.
        width: of the upright page in pixels.
        height: likewise.
        rotation: degrees by which the drawn page was turned clockwise to stand upright, a multiple
            of 90.
    """
    left, bottom, right, top = page.get_bbox()
    shown, turned = page.get_rotation(), round(rotation / 90) % 4

    def place(x: float, y: float) -> Point:
        # Back to the page as it is shown: shares of its width and height from the upper left.
        u, v = x / width, y / height
        u, v = ((u, v), (v, 1 - u), (1 - u, 1 - v), (1 - v, u))[turned]
        if shown == 0:
            return left + u * (right - left), top - v * (top - bottom)
        if shown == 90:
            return left + v * (right - left), bottom + u * (top - bottom)
        if shown == 180:
            return right - u * (right - left), bottom + v * (top - bottom)
        return right - v * (right - left), top - u * (top - bottom)

    (e, f), (ae, bf), (ce, df) = place(0, 0), place(1, 0), place(0, 1)
    return ae - e, bf - f, ce - e, df - f, e, f


def moved(matrix: Matrix, point: Point) -> Point:
    """The place of a point after a matrix."""
    a, b, c, d, e, f = matrix
    return a * point[0] + c * point[1] + e, b * point[0] + d * point[1] + f


def inverse(matrix: Matrix) -> Matrix:
    """The matrix that undoes another."""
    a, b, c, d, e, f = matrix
    by = a * d - b * c
    return d / by, -b / by, -c / by, a / by, (c * f - d * e) / by, (b * e - a * f) / by


def characters(page: pypdfium2.PdfPage, matrix: Matrix) -> list[Character]:
    """The characters of a page in the order of the file; `matrix` as from `pixel_matrix`."""
    back, text = inverse(matrix), page.get_textpage()
    try:
        return list(_characters(text, back))
    finally:
        text.close()


def _characters(text: pypdfium2.PdfTextPage, back: Matrix) -> Iterator[Character]:
    edges = [ctypes.c_double() for _ in range(4)]
    places = [ctypes.byref(edge) for edge in edges]
    count, index = pdfium.FPDFText_CountChars(text), 0
    while index < count:
        code, here = pdfium.FPDFText_GetUnicode(text, index), index
        index += 1
        if 0xD800 <= code < 0xDC00 and index < count:
            low = pdfium.FPDFText_GetUnicode(text, index)
            if 0xDC00 <= low < 0xE000:
                code, index = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), index + 1
        if pdfium.FPDFText_IsGenerated(text, here) == 1:
            yield Character(" ", None, True)
            continue
        if not pdfium.FPDFText_GetCharBox(text, here, *places):
            continue
        x1, x2, y1, y2 = (edge.value for edge in edges)
        one, other = moved(back, (x1, y1)), moved(back, (x2, y2))
        box = min(one[0], other[0]), min(one[1], other[1])
        box += max(one[0], other[0]), max(one[1], other[1])
        mode = pdfium.FPDFTextObj_GetTextRenderMode(pdfium.FPDFText_GetTextObject(text, here))
        # 0 and half a pair are no characters.
        sign = chr(code) if code and not 0xD800 <= code < 0xE000 else "\ufffd"
        sign = "-" if code in _HYPHENS else sign
        yield Character(sign, box, mode != _INVISIBLE)

"""One page as a PDF with regions marked on it, and its rendering to pixels."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from graphkd.synthesis.styles import BLACK, Color, Type, ink_box, unit_width

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y points downwards."""

ASCENT, DESCENT = 0.80, 0.26  # share of the type size above and below the baseline, generous
SLANT = 0.12  # share of the type size by which slanted letters reach over their width


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box around all boxes (at least one)."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


@dataclass(frozen=True)
class SheetMark:
    """A region as it was laid out, in points from the top left corner of the sheet.

    `exact` boxes (photographs, ruled tables) are kept as they are; the others are shrunk to the ink
    that differs from `ground`, the colour behind them.
    """

    name: str
    box: Box
    ground: Color
    group: int | None = None
    exact: bool = False


@dataclass
class SheetLine:
    """One line of text as it was laid out: the box of its ink in points, and its words.

    The box reaches at least from the baseline to the x-height, so that a lone dash has a height.
    """

    box: Box
    pieces: list[tuple[float, str]]
    ignore: bool = False

    @property
    def text(self) -> str:
        """The words in reading order, with single spaces between them."""
        return " ".join(" ".join(text for _, text in sorted(self.pieces)).split())


class Sheet:
    """A one-page PDF with its origin at the top left and y downwards, all lengths in points.

    All text is drawn by `text` and `string`, which also record it in `lines`.
    """

    def __init__(self, *, width: float, height: float, ground: Color) -> None:
        self.width, self.height, self.ground = width, height, ground
        self.marks: list[SheetMark] = []
        self.lines: list[SheetLine] = []
        self.column = 0
        self._made_groups = 0
        self._groups: dict[tuple[int, int], int] = {}
        self._extent: list[float] | None = None
        self._buffer = io.BytesIO()
        self.canvas = Canvas(
            self._buffer,
            pagesize=(width, height),
            pageCompression=0,
            invariant=1,
            initialFontName="Helvetica",
        )
        self.rect((0, 0, width, height), fill=ground)

    def mark(self, name: str, box: Box, *, group: int | None = None, exact: bool = False) -> None:
        """Note a region of that class; a list that goes on in the next column counts as two."""
        if group is not None:
            group = self._groups.setdefault((group, self.column), len(self._groups) + 1)
        self.marks.append(SheetMark(name, box, self.ground, group, exact))

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """Yield [x0, y0, x1, y1], which grows around all painted inside the `with` block."""
        outer, self._extent = self._extent, [np.inf, np.inf, -np.inf, -np.inf]
        try:
            yield self._extent
        finally:
            self._extent = outer

    def _touch(self, x0: float, y0: float, x1: float, y1: float) -> None:
        if self._extent is not None:
            e = self._extent
            e[:] = min(e[0], x0), min(e[1], y0), max(e[2], x1), max(e[3], y1)

    def _touch_text(self, x0: float, baseline: float, x1: float, size: float) -> None:
        over = SLANT * size
        self._touch(x0 - over, baseline - ASCENT * size, x1 + over, baseline + DESCENT * size)

    def _record(
        self,
        x: float,
        baseline: float,
        glyphs: list[tuple[str, str, float]],
        size: float,
        stretch: float,
        joins: SheetLine | None,
    ) -> None:
        """Adds (word, font, distance from x) to `lines`, or to the line that they join."""
        boxes = [
            (at + left * size * stretch, -top * size, at + right * size * stretch, -bottom * size)
            for word, font, at in glyphs
            for left, bottom, right, top in [ink_box(word, font)]
        ]
        left, top, right, bottom = union(boxes)
        box = (x + left, baseline + top, x + right, baseline + bottom)
        if joins is None:
            joins = SheetLine(box, [])
            self.lines.append(joins)
        joins.box = union([joins.box, box])
        joins.pieces.append((x, " ".join(word for word, _, _ in glyphs)))

    def new_group(self) -> int:
        """A fresh number for a list."""
        self._made_groups += 1
        return self._made_groups

    def text(
        self,
        x: float,
        baseline: float,
        words: list[tuple[str, str]],
        type_: Type,
        *,
        extra: float = 0.0,
        joins: SheetLine | None = None,
    ) -> None:
        """Sets one line of (word, font) pairs.

        Args:
            x: where the line begins.
            baseline: distance from the top of the sheet.
            words: the words with their fonts, at least one.
            type_: size, colour and stretch.
            extra: points that are added to every space.
            joins: a recorded line that the words belong to; None for a new one.
        """
        glyphs, at = [], 0.0
        for word, font in words:
            glyphs.append((word, font, at))
            at += type_.width(word, font) + type_.width(" ", font) + extra
        self._record(x, baseline, glyphs, type_.size, type_.stretch, joins)
        if self._extent is not None:
            end = x + sum(type_.width(word, font) for word, font in words)
            end += (len(words) - 1) * (type_.width(" ", words[0][1]) + extra)
            self._touch_text(x, baseline, end, type_.size)
        out = self.canvas.beginText(x, self.height - baseline)
        out.setFillColorRGB(*type_.color)
        if type_.stretch != 1.0:
            out.setHorizScale(100 * type_.stretch)
        if extra:
            out.setWordSpace(extra / type_.stretch)
        run, font = [], words[0][1]
        for word, word_font in words:
            if word_font != font:
                out.setFont(font, type_.size)
                out.textOut(" ".join(run) + " ")
                run, font = [], word_font
            run.append(word)
        out.setFont(font, type_.size)
        out.textOut(" ".join(run))
        # In PDF, word space and scaling stay set after the text object ends.
        if extra:
            out.setWordSpace(0)
        if type_.stretch != 1.0:
            out.setHorizScale(100)
        self.canvas.drawText(out)

    def string(
        self,
        x: float,
        baseline: float,
        text: str,
        *,
        font: str,
        size: float,
        color: Color = BLACK,
        align: str = "left",
        joins: SheetLine | None = None,
        record: bool = True,
    ) -> float:
        """Sets a short string that begins, is centred or ends at x.

        `joins` is a recorded line that it belongs to; without `record` it is no line of text.

        Returns:
            Its width.
        """
        width = unit_width(text, font) * size
        x -= {"left": 0.0, "center": width / 2, "right": width}[align]
        if record and text.strip():
            self._record(x, baseline, [(text.strip(), font, 0.0)], size, 1.0, joins)
        self._touch_text(x, baseline, x + width, size)
        self.canvas.setFillColorRGB(*color)
        self.canvas.setFont(font, size)
        self.canvas.drawString(x, self.height - baseline, text)
        return width

    def _paint(self, fill: Color | None, stroke: Color | None, line: float) -> dict[str, int]:
        """Set the colours; returns which of the two the canvas is to use."""
        if fill is not None:
            self.canvas.setFillColorRGB(*fill)
        if stroke is not None:
            self.canvas.setStrokeColorRGB(*stroke)
            self.canvas.setLineWidth(line)
        return {"stroke": int(stroke is not None), "fill": int(fill is not None)}

    def rect(
        self,
        box: Box,
        *,
        fill: Color | None = None,
        stroke: Color | None = None,
        line: float = 0.5,
        radius: float = 0,
    ) -> None:
        """A filled and/or outlined rectangle, with round corners where `radius` is positive."""
        paint = self._paint(fill, stroke, line)
        x0, y0, x1, y1 = box
        half = line / 2 if stroke is not None else 0.0
        self._touch(x0 - half, y0 - half, x1 + half, y1 + half)
        size = (x0, self.height - y1, x1 - x0, y1 - y0)
        if radius:
            self.canvas.roundRect(*size, radius, **paint)
        else:
            self.canvas.rect(*size, **paint)

    def line(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        color: Color = BLACK,
        width: float = 0.5,
    ) -> None:
        """A straight line."""
        half = width / 2
        self._touch(min(x0, x1) - half, min(y0, y1) - half, max(x0, x1) + half, max(y0, y1) + half)
        self._paint(None, color, width)
        self.canvas.line(x0, self.height - y0, x1, self.height - y1)

    def path(
        self,
        points: list[tuple[float, float]],
        *,
        fill: Color | None = None,
        stroke: Color | None = None,
        line: float = 0.8,
        dash: bool = False,
    ) -> None:
        """A polygon (filled) or a polyline (only stroked)."""
        xs, ys = zip(*points, strict=True)
        half = line if stroke is not None else 0.0
        self._touch(min(xs) - half, min(ys) - half, max(xs) + half, max(ys) + half)
        path = self.canvas.beginPath()
        path.moveTo(points[0][0], self.height - points[0][1])
        for x, y in points[1:]:
            path.lineTo(x, self.height - y)
        if fill is not None:
            path.close()
        paint = self._paint(fill, stroke, line)
        if dash:
            self.canvas.setDash(3, 2)
        self.canvas.drawPath(path, **paint)
        if dash:
            self.canvas.setDash()

    def disc(self, x: float, y: float, radius: float, *, fill: Color) -> None:
        """A filled circle."""
        self._touch(x - radius - 0.4, y - radius - 0.4, x + radius + 0.4, y + radius + 0.4)
        self.canvas.circle(x, self.height - y, radius, **self._paint(fill, None, 0.0))

    def picture(self, box: Box, pixels: np.ndarray) -> None:
        """Place a uint8 (H, W, 3) image into the box."""
        # A JPEG stream is embedded as it is; raw pixels would be packed by zlib, which is slower.
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=88)
        stream.seek(0)
        x0, y0, x1, y1 = box
        self._touch(*box)
        self.canvas.drawImage(ImageReader(stream), x0, self.height - y1, x1 - x0, y1 - y0)

    @property
    def pdf(self) -> bytes:
        """The PDF file; complete after `raster`."""
        return self._buffer.getvalue()

    def raster(self, long_side: int) -> np.ndarray:
        """Render the sheet: uint8 (H, W, 3), RGB, the longer side exactly `long_side` pixels."""
        self.canvas.showPage()
        self.canvas.save()
        document = pdfium.PdfDocument(self.pdf)
        try:
            # The renderer rounds up; without the small step down the page would gain a pixel.
            scale = (long_side - 0.01) / max(self.width, self.height)
            bitmap = document[0].render(scale=scale, rev_byteorder=True)
            pixels = bitmap.to_numpy()[..., :3].copy()
            bitmap.close()
        finally:
            document.close()
        return pixels

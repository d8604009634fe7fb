"""Figures: drawn bars, curves, scatter, pie, heat map and flow diagram, and photographs."""

from collections.abc import Callable

import numpy as np

from graphkd.synthesis.blocks import Painted
from graphkd.synthesis.photos import photograph
from graphkd.synthesis.sheet import Box, Sheet, union
from graphkd.synthesis.styles import Color, Style, between, chance, mix, pick, unit_width, weighted
from graphkd.synthesis.words import Writer

PALETTES: tuple[tuple[Color, ...], ...] = (
    ((0.12, 0.47, 0.71), (1, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74)),
    ((0.1, 0.1, 0.1), (0.4, 0.4, 0.4), (0.62, 0.62, 0.62), (0.25, 0.25, 0.25), (0.78, 0.78, 0.78)),
    ((0.11, 0.2, 0.4), (0.25, 0.45, 0.65), (0.5, 0.7, 0.8), (0.9, 0.6, 0.25), (0.6, 0.2, 0.2)),
    ((0.2, 0.35, 0.2), (0.5, 0.6, 0.25), (0.85, 0.7, 0.3), (0.55, 0.35, 0.2), (0.3, 0.3, 0.3)),
)


DARK: Color = (0.1, 0.1, 0.1)


class FigurePainter:
    """Draws one figure inside a box; all methods use one random generator."""

    def __init__(self, rng: np.random.Generator, writer: Writer, style: Style, size: float) -> None:
        self.rng, self.writer, self.style, self.size = rng, writer, style, size
        self.colors = pick(rng, *PALETTES)
        self.font = pick(rng, "Helvetica", "Helvetica", style.body_family.regular)

    def label(
        self, sheet: Sheet, x: float, y: float, text: str, align: str = "center", scale: float = 1.0
    ) -> None:
        """A small dark string."""
        look = {"font": self.font, "size": self.size * scale, "color": DARK}
        sheet.string(x, y, text, align=align, **look)

    def axes(self, sheet: Sheet, box: Box, *, names: list[str]) -> Box:
        """Axes, ticks, tick labels, a grid now and then; returns the plotting area."""
        rng, size = self.rng, self.size
        x0, y0, x1, y1 = box
        left, bottom = x0 + 4.2 * size, y1 - 2.9 * size
        top = y0 + (1.9 * size if chance(rng, 0.4) else 0.7 * size)
        right = x1 - 0.8 * size
        middle = (left + right) / 2
        if top > y0 + size:
            self.label(sheet, middle, y0 + size, " ".join(self.writer.heading(3)), scale=1.1)
        steps, unit = int(rng.integers(3, 7)), pick(rng, 0.2, 1, 5, 10, 25, 100)
        grid = chance(rng, 0.5)
        for step in range(steps + 1):
            y = bottom - (bottom - top) * step / steps
            if grid and step:
                sheet.line(left, y, right, y, color=(0.82, 0.82, 0.82), width=0.4)
            sheet.line(left - 2.5, y, left, y)
            self.label(sheet, left - 4, y + 0.35 * size, f"{step * unit:g}", align="right")
        for number, name in enumerate(names):
            x = left + (right - left) * (number + 0.5) / len(names)
            sheet.line(x, bottom, x, bottom + 2.5)
            self.label(sheet, x, bottom + 1.25 * size, name)
        self.label(sheet, middle, bottom + 2.55 * size, " ".join(self.writer.heading(2)))
        sheet.line(left, bottom, right, bottom, width=0.8)
        sheet.line(left, bottom, left, top, width=0.8)
        if chance(rng, 0.4):
            sheet.rect((left, top, right, bottom), stroke=(0, 0, 0), line=0.8)
        return left, top, right, bottom

    def legend(self, sheet: Sheet, x: float, y: float, count: int) -> None:
        """Colour swatches with names, downwards from (x, y)."""
        size = self.size
        for number in range(count):
            at = y + number * 1.35 * size
            sheet.rect((x, at, x + 1.2 * size, at + 0.8 * size), fill=self.colors[number])
            name = self.writer.content(1)[0]
            self.label(sheet, x + 1.6 * size, at + 0.75 * size, name, align="left")

    def bars(self, sheet: Sheet, box: Box) -> None:
        """Grouped bars."""
        rng = self.rng
        groups, series = int(rng.integers(3, 9)), int(rng.integers(1, 4))
        first = int(rng.integers(1950, 2012))
        names = [str(first + i) for i in range(groups)]
        left, top, right, bottom = self.axes(sheet, box, names=names)
        pitch = (right - left) / groups
        wide = pitch * between(rng, 0.5, 0.85) / series
        for group in range(groups):
            for number in range(series):
                x = left + (group + 0.5) * pitch + (number - series / 2) * wide
                high = (bottom - top) * between(rng, 0.08, 0.93)
                sheet.rect((x, bottom - high, x + wide, bottom), fill=self.colors[number])
        if series > 1 and chance(rng, 0.6):
            self.legend(sheet, left + 0.6 * self.size, top + 0.5 * self.size, series)

    def lines(self, sheet: Sheet, box: Box) -> None:
        """One to four curves, smooth, jagged or saturating, some with markers."""
        rng = self.rng
        names = [str(10 * (i + 1)) for i in range(int(rng.integers(4, 9)))]
        left, top, right, bottom = self.axes(sheet, box, names=names)
        count = int(rng.integers(1, 5))
        points = int(rng.integers(6, 40))
        t = np.linspace(0, 1, points)
        rising = chance(rng, 0.5)
        for number in range(count):
            walk = np.cumsum(rng.standard_normal(points)) * 0.05
            curve = (1 - np.exp(-4 * t)) * between(rng, 0.5, 0.9) if rising else 0.5 + walk
            curve = np.clip(curve + rng.standard_normal(points) * 0.012, 0.03, 0.97)
            xs, ys = left + (right - left) * t, bottom - (bottom - top) * curve
            line = list(zip(xs.tolist(), ys.tolist(), strict=True))
            sheet.path(line, stroke=self.colors[number], line=1.0, dash=chance(rng, 0.2))
            if points < 14:
                for x, y in line:
                    sheet.disc(x, y, 1.6, fill=self.colors[number])
        if count > 1:
            high = (count + 0.3) * 1.35 * self.size
            self.legend(sheet, right - 7 * self.size, bottom - high, count)

    def scatter(self, sheet: Sheet, box: Box) -> None:
        """Two or three clouds of points, now and then a fitted line."""
        rng = self.rng
        left, top, right, bottom = self.axes(sheet, box, names=[f"{i / 5:g}" for i in range(6)])
        for number in range(int(rng.integers(1, 4))):
            mean, spread = 0.25 + 0.5 * rng.random(2), between(rng, 0.05, 0.14)
            cloud = mean + rng.standard_normal((int(rng.integers(20, 60)), 2)) * spread
            cloud[:, 1] += (cloud[:, 0] - mean[0]) * between(rng, -0.8, 0.8)
            for u, v in np.clip(cloud, 0.02, 0.98):
                x, y = left + (right - left) * u, bottom - (bottom - top) * v
                sheet.disc(x, y, 1.3, fill=self.colors[number])
        if chance(rng, 0.4):
            rise, red = 0.2 * (bottom - top), (0.7, 0.1, 0.1)
            sheet.line(left, bottom - rise, right, top + rise, color=red, width=0.9)

    def pie(self, sheet: Sheet, box: Box) -> None:
        """A pie or ring with a legend beside it."""
        rng = self.rng
        x0, y0, x1, y1 = box
        radius = min((y1 - y0) / 2, (x1 - x0) * 0.3) * 0.95
        cx, cy = x0 + radius + 2, (y0 + y1) / 2
        shares = rng.dirichlet(np.full(int(rng.integers(3, 6)), 2.5))
        turn = np.concatenate([[0], np.cumsum(shares)]) * 2 * np.pi
        for number in range(len(shares)):
            arc = np.linspace(turn[number], turn[number + 1], 24)
            rim = [(cx + radius * float(np.cos(a)), cy + radius * float(np.sin(a))) for a in arc]
            sheet.path([(cx, cy), *rim], fill=self.colors[number], stroke=sheet.ground, line=0.8)
        if chance(rng, 0.35):
            sheet.disc(cx, cy, radius * 0.5, fill=sheet.ground)
        top = cy - len(shares) * 0.65 * self.size
        self.legend(sheet, cx + radius + self.size, top, len(shares))

    def heat(self, sheet: Sheet, box: Box) -> None:
        """A matrix of coloured cells with row and column names and a scale."""
        rng = self.rng
        x0, y0, x1, y1 = box
        rows, columns = int(rng.integers(4, 10)), int(rng.integers(5, 14))
        left, right, bottom = x0 + 4.5 * self.size, x1 - 3 * self.size, y1 - 1.6 * self.size
        values = rng.random((rows, columns)) * 0.6 + 0.4 * np.linspace(0, 1, columns)
        wide, high = (right - left) / columns, (bottom - y0) / rows
        tone, pale = self.colors[0], (1.0, 0.98, 0.85)
        for i in range(rows):
            top, name = y0 + i * high, self.writer.content(1)[0][:6]
            self.label(sheet, left - 3, y0 + (i + 0.65) * high, name, align="right", scale=0.9)
            for j in range(columns):
                cell = (left + j * wide, top, left + (j + 1) * wide, y0 + (i + 1) * high)
                sheet.rect(cell, fill=mix(pale, tone, float(values[i, j])))
        for j in range(columns):
            x, y = left + (j + 0.5) * wide, bottom + 1.2 * self.size
            self.label(sheet, x, y, "ABCDEFGHJKLMNP"[j])
        x0, x1 = right + self.size, right + 2 * self.size
        for step in range(12):
            y = y0 + (bottom - y0) * step / 12
            fill = mix(tone, pale, step / 11)
            sheet.rect((x0, y, x1, y + (bottom - y0) / 12), fill=fill)

    def diagram(self, sheet: Sheet, box: Box) -> None:
        """Named boxes in rows with arrows between them."""
        rng = self.rng
        x0, y0, x1, y1 = box
        columns = max(2, min(5, int((x1 - x0) / (8 * self.size))))
        rows = max(1, min(4, int((y1 - y0) / (4.2 * self.size))))
        cell_w, cell_h = (x1 - x0) / columns, (y1 - y0) / rows
        fills = [mix((1, 1, 1), color, 0.3) for color in self.colors]
        radius = 4 if chance(rng, 0.5) else 0
        skip = int(rng.integers(rows * columns)) if rows * columns > 4 else -1
        for i in range(rows):
            for j in range(columns):
                if i * columns + j == skip:
                    continue
                left, top = x0 + (j + 0.1) * cell_w, y0 + (i + 0.18) * cell_h
                right, bottom = left + 0.72 * cell_w, top + 0.6 * cell_h
                look = {"stroke": DARK, "line": 0.7, "radius": radius}
                fill = fills[int(rng.integers(len(fills)))]
                sheet.rect((left, top, right, bottom), fill=fill, **look)
                name = self.writer.content(1)[0]
                x, y = (left + right) / 2, (top + bottom) / 2
                if unit_width(name, self.font) * self.size < right - left:
                    self.label(sheet, x, y + 0.35 * self.size, name)
                if j + 1 < columns:
                    self.arrow(sheet, right, y, right + 0.28 * cell_w, y)
                if i + 1 < rows and chance(rng, 0.6):
                    self.arrow(sheet, x, bottom, x, bottom + 0.4 * cell_h)

    def arrow(self, sheet: Sheet, x0: float, y0: float, x1: float, y1: float) -> None:
        """A horizontal or vertical arrow."""
        sheet.line(x0, y0, x1, y1, width=0.8)
        if y0 == y1:
            head = [(x1, y1), (x1 - 4, y1 - 2.2), (x1 - 4, y1 + 2.2)]
        else:
            head = [(x1, y1), (x1 - 2.2, y1 - 4), (x1 + 2.2, y1 - 4)]
        sheet.path(head, fill=(0, 0, 0))


def photo_painter(
    rng: np.random.Generator, *, width: float, height: float
) -> Callable[[Sheet, Box], None]:
    """A painter of one photograph or of a row of panels of the same size."""
    panels = int(rng.integers(2, 4)) if width > 1.5 * height and chance(rng, 0.35) else 1
    gap = 4.0 if panels > 1 else 0.0
    wide = (width - gap * (panels - 1)) / panels
    images = [photograph(rng, aspect=wide / height) for _ in range(panels)]
    frame = chance(rng, 0.25)

    def paint(sheet: Sheet, box: Box) -> None:
        for number, image in enumerate(images):
            left = box[0] + number * (wide + gap)
            part = (left, box[1], left + wide, box[3])
            sheet.picture(part, image)
            if frame:
                sheet.rect(_inside(part, 0.3), stroke=(0, 0, 0), line=0.6)

    return paint


def _inside(box: Box, by: float) -> Box:
    return box[0] + by, box[1] + by, box[2] - by, box[3] - by


def picture_block(
    rng: np.random.Generator,
    writer: Writer,
    style: Style,
    *,
    width: float,
    height: float,
    gap: float = 0.0,
    photo: float = 0.45,
) -> Painted:
    """A figure of the given outer size: a photograph with probability `photo`, else a drawing."""
    if chance(rng, photo):
        paint_photo = photo_painter(rng, width=width, height=height)

        def paint(sheet: Sheet, x: float, y: float) -> None:
            box = (x, y, x + width, y + height)
            paint_photo(sheet, box)
            sheet.mark("Picture", box, exact=True)

        return Painted(width, height, gap, False, paint)

    chart = FigurePainter(rng, writer, style, max(5.0, style.body.size * between(rng, 0.62, 0.82)))
    kind = weighted(rng, {"bars": 3, "lines": 3, "scatter": 2, "pie": 1.3, "heat": 1, "diagram": 2})
    framed = chance(rng, 0.2)

    def paint_chart(sheet: Sheet, x: float, y: float) -> None:
        box = (x, y, x + width, y + height)
        if framed:
            sheet.rect(_inside(box, 0.3), stroke=(0.3, 0.3, 0.3), line=0.6)
            box = _inside(box, 5)
        with sheet.measured() as extent:
            getattr(chart, kind)(sheet, box)
        if framed:
            extent = union([tuple(extent), (x, y, x + width, y + height)])
        sheet.mark("Picture", tuple(extent))

    return Painted(width, height, gap, False, paint_chart)

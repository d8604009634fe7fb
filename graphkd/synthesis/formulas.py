"""Displayed formulas, built from pieces: fractions, scripts and sums."""

from dataclasses import dataclass

import numpy as np

from graphkd.synthesis.blocks import Painted
from graphkd.synthesis.sheet import Sheet, SheetLine
from graphkd.synthesis.styles import Color, between, chance, pick, unit_width

ROMAN, ITALIC, SYMBOL = "Times-Roman", "Times-Italic", "Symbol"
GREEK = "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b8\u03bb\u03bc\u03c0\u03c1\u03c3\u03c6\u03c9"


@dataclass(frozen=True)
class Piece:
    """A set expression: width, reach above and below the baseline, and what is painted.

    `glyphs` are (x, y, text, font, size), `rules` (x, y, length), from the origin on the baseline.
    """

    width: float
    up: float
    down: float
    glyphs: tuple[tuple[float, float, str, str, float], ...] = ()
    rules: tuple[tuple[float, float, float], ...] = ()


def glyph(text: str, font: str, size: float) -> Piece:
    """A single run of characters."""
    width = unit_width(text, font) * size
    return Piece(width, 0.72 * size, 0.24 * size, ((0.0, 0.0, text, font, size),))


def shift(piece: Piece, x: float, y: float) -> tuple[tuple, tuple]:
    """The glyphs and rules of a piece moved by (x, y), y downwards."""
    glyphs = tuple((gx + x, gy + y, *rest) for gx, gy, *rest in piece.glyphs)
    rules = tuple((rx + x, ry + y, length) for rx, ry, length in piece.rules)
    return glyphs, rules


def row(pieces: list[Piece], *, space: float = 0.0) -> Piece:
    """Pieces side by side on one baseline."""
    glyphs, rules, x = [], [], 0.0
    for piece in pieces:
        moved = shift(piece, x, 0.0)
        glyphs += moved[0]
        rules += moved[1]
        x += piece.width + space
    up, down = max(p.up for p in pieces), max(p.down for p in pieces)
    return Piece(x - space, up, down, tuple(glyphs), tuple(rules))


def scripts(base: Piece, size: float, *, above: Piece | None, below: Piece | None) -> Piece:
    """A base with a superscript and/or a subscript."""
    glyphs, rules, width, up, down = list(base.glyphs), list(base.rules), 0.0, base.up, base.down
    for piece, dy in ((above, -0.42 * size), (below, 0.2 * size)):
        if piece is not None:
            moved = shift(piece, base.width + 0.04 * size, dy)
            glyphs += moved[0]
            rules += moved[1]
            width = max(width, piece.width + 0.1 * size)
            up, down = max(up, piece.up - dy), max(down, piece.down + dy)
    return Piece(base.width + width, up, down, tuple(glyphs), tuple(rules))


def fraction(over: Piece, under: Piece, size: float) -> Piece:
    """One piece over another with a rule between them."""
    width = max(over.width, under.width) + 0.3 * size
    axis = -0.26 * size
    top = shift(over, (width - over.width) / 2, axis - over.down - 0.06 * size)
    low = shift(under, (width - under.width) / 2, axis + under.up + 0.16 * size)
    rules = (*top[1], *low[1], (0.0, axis, width))
    up = over.up + over.down - axis + 0.06 * size
    down = under.up + under.down + axis + 0.16 * size
    return Piece(width, up, down, (*top[0], *low[0]), rules)


def big(symbol: str, size: float, *, above: Piece, below: Piece) -> Piece:
    """A large operator (sum, product, integral of the Symbol font) with limits."""
    sign = glyph(symbol, SYMBOL, size * 1.6)
    width = max(sign.width, above.width, below.width)
    glyphs = [*shift(sign, (width - sign.width) / 2, 0.25 * size)[0]]
    glyphs += shift(above, (width - above.width) / 2, -1.2 * size)[0]
    glyphs += shift(below, (width - below.width) / 2, 1.25 * size)[0]
    return Piece(width, 1.2 * size + above.up, 1.25 * size + below.down, tuple(glyphs))


class Formulist:
    """Makes up expressions from one random generator."""

    def __init__(self, rng: np.random.Generator, size: float) -> None:
        self.rng, self.size = rng, size

    def atom(self, size: float) -> Piece:
        """A letter, Greek letter, number or short function."""
        kind = self.rng.random()
        if kind < 0.5:
            return glyph(pick(self.rng, *"abcdfghiknmpqrstuvwxyzEFGHLNPTX"), ITALIC, size)
        if kind < 0.78:
            return glyph(pick(self.rng, *GREEK), SYMBOL, size)
        return glyph(str(int(self.rng.integers(1, 20))), ROMAN, size)

    def term(self, size: float, depth: int) -> Piece:
        """An atom with scripts, a function of something, a fraction or a large operator."""
        rng = self.rng
        kind = rng.random()
        small = size * 0.68
        if depth > 0 and kind < 0.22:
            over = self.sum(size * 0.95, depth - 1)
            return fraction(over, self.sum(size * 0.95, depth - 1), size)
        if depth > 0 and kind < 0.38:
            low = row([glyph("i", ITALIC, small), *(glyph(t, ROMAN, small) for t in (" = ", "1"))])
            sign = big(pick(rng, *"\u2211\u2211\u220f"), size, above=self.atom(small), below=low)
            return row([sign, self.term(size, 0)], space=0.12 * size)
        if depth > 0 and kind < 0.55:
            name = pick(rng, "log", "exp", "max", "sin", "f", "g")
            font = ITALIC if len(name) == 1 else ROMAN
            parts = [glyph(f"{name}(", font, size), self.sum(size, 0), glyph(")", ROMAN, size)]
            return row(parts, space=0.04 * size)
        base = self.atom(size)
        above = self.atom(small) if chance(rng, 0.3) else None
        below = self.atom(small) if chance(rng, 0.45) else None
        return scripts(base, size, above=above, below=below)

    def sum(self, size: float, depth: int) -> Piece:
        """Two or three terms with signs between them."""
        pieces = [self.term(size, depth)]
        more = int(self.rng.integers(1, 3 if depth else 2)) if chance(self.rng, 0.75) else 0
        for _ in range(more):
            pieces.append(glyph(pick(self.rng, "+", "-", "+"), ROMAN, size))
            pieces.append(self.term(size, depth))
        return row(pieces, space=0.22 * size)

    def equation(self, room: float) -> Piece:
        """A left side, a relation and a right side that fit the room."""
        size = self.size
        sign = pick(self.rng, "=", "=", "=", "\u2264", "\u2248")
        font = ROMAN if sign == "=" else SYMBOL
        left = self.term(size, int(chance(self.rng, 0.2)))
        pieces = [left, glyph(sign, font, size)]
        whole = row([*pieces, glyph("0", ROMAN, size)], space=0.28 * size)
        for _ in range(6):
            pieces += [self.sum(size, 1)]
            wider = row(pieces, space=0.28 * size)
            if wider.width > room:
                break
            whole = wider
            if wider.width > room * between(self.rng, 0.3, 0.9):
                break
            pieces.append(glyph("+", ROMAN, size))
        return whole


def formula_block(
    rng: np.random.Generator,
    *,
    width: float,
    size: float,
    gap: float,
    number: int | None,
    color: Color,
) -> Painted:
    """A displayed formula of one to three lines, centred or indented, with its number at the right.

    The region holds the equation number too, as DocLayNet's annotators draw it.
    """
    maker = Formulist(rng, size)
    room = width * (0.86 if number else 0.96)
    count = 1 if chance(rng, 0.75) else int(rng.integers(2, 4))
    lines = [maker.equation(room - 2 * size) for _ in range(count)]
    centred = chance(rng, 0.8)
    between_lines = 0.5 * size
    height = sum(line.up + line.down for line in lines) + between_lines * (len(lines) - 1)
    tag = f"({number})" if number else ""

    def paint(sheet: Sheet, x: float, y: float) -> None:
        widest = max(line.width for line in lines)
        start = x + ((width - widest) / 2 if centred else 2 * size)
        at = y
        with sheet.measured() as extent:
            paint_lines(sheet, x, start, at)
        sheet.mark("Formula", tuple(extent))

    def paint_lines(sheet: Sheet, x: float, start: float, at: float) -> None:
        y = at
        for line in lines:
            baseline = at + line.up
            box = (start, at, start + line.width, baseline + line.down)
            sheet.lines.append(SheetLine(box, [], ignore=True))
            for gx, gy, text, font, points in line.glyphs:
                look = {"font": font, "size": points, "color": color, "record": False}
                sheet.string(start + gx, baseline + gy, text, **look)
            for rx, ry, length in line.rules:
                left, level = start + rx, baseline + ry
                sheet.line(left, level, left + length, level, width=0.045 * size, color=color)
            at += line.up + line.down + between_lines
        if tag:
            middle = y + height / 2 + 0.25 * size
            sheet.string(x + width, middle, tag, font=ROMAN, size=size, color=color, align="right")

    return Painted(width, height, gap, False, paint)

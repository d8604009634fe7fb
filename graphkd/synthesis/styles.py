"""How one page looks (fonts, sizes, colours, spacing), and the functions that draw at random."""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pypdfium2 as pdfium
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

Color = tuple[float, float, float]
Box = tuple[float, float, float, float]
T = TypeVar("T")

BLACK: Color = (0.0, 0.0, 0.0)
WHITE: Color = (1.0, 1.0, 1.0)

ACCENTS: tuple[Color, ...] = (
    (0.07, 0.24, 0.47),
    (0.55, 0.09, 0.11),
    (0.05, 0.40, 0.30),
    (0.80, 0.38, 0.05),
    (0.32, 0.16, 0.45),
    (0.10, 0.50, 0.62),
    (0.25, 0.25, 0.28),
    (0.62, 0.12, 0.35),
)
GROUNDS: tuple[Color, ...] = (
    (0.99, 0.97, 0.91),
    (0.95, 0.97, 0.99),
    (0.94, 0.91, 0.83),
    (0.96, 0.96, 0.94),
    (0.90, 0.94, 0.90),
    (0.99, 0.93, 0.90),
)


@dataclass(frozen=True)
class Family:
    """Four cuts of one typeface, by their PDF names."""

    regular: str
    bold: str
    italic: str
    bold_italic: str


FAMILIES = {
    "serif": Family("Times-Roman", "Times-Bold", "Times-Italic", "Times-BoldItalic"),
    "sans": Family("Helvetica", "Helvetica-Bold", "Helvetica-Oblique", "Helvetica-BoldOblique"),
    "mono": Family("Courier", "Courier-Bold", "Courier-Oblique", "Courier-BoldOblique"),
    "humanist": Family("Vera", "VeraBd", "VeraIt", "VeraBI"),
}


@lru_cache(maxsize=1)
def register_fonts() -> None:
    """Make the Bitstream Vera fonts, which reportlab ships, known to reportlab (once a process)."""
    for name in ("Vera", "VeraBd", "VeraIt", "VeraBI"):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))


@lru_cache(maxsize=60000)
def unit_width(text: str, font: str) -> float:
    """Width of a string set in one-point type."""
    return pdfmetrics.stringWidth(text, font, 1.0)


@lru_cache(maxsize=1)
def _glyph_boxes() -> dict[str, dict[str, Box]]:
    """Outlines of the characters of each font as the renderer draws them, in one-point type.

    The PDF fonts themselves are not files that could be measured: the renderer brings its own.
    """
    fonts = [name for family in FAMILIES.values() for name in vars(family).values()]
    characters = [chr(code) for code in (*range(33, 127), 0x2013, 0x2022)]
    register_fonts()
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(20000, 300))
    for font in fonts:
        canvas.setFont(font, 100)
        for number, character in enumerate(characters):
            canvas.drawString(200 * number + 50, 100, character)
        canvas.showPage()
    canvas.save()
    boxes: dict[str, dict[str, Box]] = {}
    with pdfium.PdfDocument(stream.getvalue()) as document:
        for page, font in zip(document, fonts, strict=True):
            text, found = page.get_textpage(), {}
            for index in range(text.count_chars()):
                left, bottom, right, top = text.get_charbox(index)
                if right == left:  # a space that the reader adds between distant characters
                    continue
                number = int(left // 200)
                x, y = 200 * number + 50, 100
                found[characters[number]] = (
                    (left - x) / 100,
                    (bottom - y) / 100,
                    (right - x) / 100,
                    (top - y) / 100,
                )
            boxes[font] = found
    return boxes


@lru_cache(maxsize=60000)
def ink_box(text: str, font: str) -> Box:
    """Left, bottom, right and top of the ink of a string in one-point type, y upwards, measured
    from where it begins on its baseline; at least from the baseline to the x-height.
    """
    glyphs = _glyph_boxes()[font]
    first, last = glyphs[text[0]], glyphs[text[-1]]
    tops = [glyphs[character][3] for character in text if character != " "]
    bottoms = [glyphs[character][1] for character in text if character != " "]
    right = unit_width(text[:-1], font) + last[2]
    return first[0], min(0.0, *bottoms), right, max(glyphs["x"][3], *tops)


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with that probability."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, *options: T) -> T:
    """One of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def weighted(rng: np.random.Generator, options: dict[T, float]) -> T:
    """One of the keys, with probabilities in proportion to the weights."""
    at = rng.random() * sum(options.values())
    for key, weight in options.items():
        at -= weight
        if at < 0:
            return key
    return key


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high, uniformly distributed."""
    return float(low + (high - low) * rng.random())


def mix(one: Color, other: Color, share: float) -> Color:
    """A colour that is `share` of the way from one to the other."""
    return tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Type:
    """How a run of text is set; sizes in points, `stretch` is horizontal scaling (1 is natural)."""

    font: str
    size: float
    leading: float
    align: str = "left"
    color: Color = BLACK
    indent: float = 0.0
    stretch: float = 1.0

    def width(self, text: str, font: str | None = None) -> float:
        """Width of a string in points."""
        return unit_width(text, font or self.font) * self.size * self.stretch


@dataclass(frozen=True)
class Style:
    """What all parts of one page share: fonts, colours, spacing, and how its parts are set."""

    width: float
    height: float
    ground: Color
    accent: Color
    body_family: Family
    head_family: Family
    body: Type
    gap: float
    margins: tuple[float, float, float, float]
    gutter: float
    numbered: bool
    heading_caps: str
    heading_align: str
    heading_rule: str
    heading_color: Color
    heading_scale: float
    heading_italic: bool
    caption_bold: bool
    caption_italic: bool
    bullet: str
    table_rules: str

    def small(self, scale: float, *, font: str | None = None) -> Type:
        """The body type at another size, without an indent."""
        body, size = self.body, self.body.size * scale
        leading = size * min(body.leading / body.size, 1.25)
        return Type(font or body.font, size, leading, body.align, body.color, 0.0, body.stretch)


A4, LETTER, B5, QUARTO = (595.0, 842.0), (612.0, 792.0), (499.0, 709.0), (540.0, 666.0)


def draw_style(
    rng: np.random.Generator,
    *,
    families: dict[str, float],
    size: tuple[float, float],
    columns: int = 1,
    landscape: bool = False,
) -> Style:
    """Draws the style of one page at random.

    Args:
        rng: the page's generator.
        families: typeface names of `FAMILIES` with their weights.
        size: lowest and highest body size in points.
        columns: how many columns the page will have (more columns: smaller type, narrow gutters).
        landscape: turn the sheet.
    """
    width, height = weighted(rng, {A4: 5, LETTER: 4, B5: 1, QUARTO: 0.7})
    if landscape:
        width, height = height, width * between(rng, 0.75, 1.0)
    body_name = weighted(rng, families)
    same = chance(rng, 0.6) or body_name == "mono"
    head_name = body_name if same else pick(rng, "serif", "sans", "sans", "humanist")
    body_family, head_family = FAMILIES[body_name], FAMILIES[head_name]
    points = between(rng, *size) * {"mono": 0.88, "humanist": 0.88}.get(body_name, 1.0)
    points *= min(1.0, (width * height / (595 * 842)) ** 0.25)
    accent = pick(rng, *ACCENTS) if chance(rng, 0.6) else BLACK
    ground = WHITE if chance(rng, 0.88) else pick(rng, *GROUNDS)
    ink = between(rng, 0.0, 0.22) if chance(rng, 0.4) else 0.0
    justify = chance(rng, 0.7 if columns > 1 or body_name == "serif" else 0.35)
    indented = chance(rng, 0.5)
    side = width * between(rng, 0.07, 0.15 if columns == 1 else 0.11)
    leading = points * between(rng, 1.14, 1.25 if columns > 1 else 1.5)
    align = "justify" if justify and body_name != "mono" else "left"
    indent = points * between(rng, 1.0, 2.0) if indented else 0.0
    if body_name == "humanist":  # Vera is wide
        stretch = between(rng, 0.84, 0.96)
    else:
        stretch = pick(rng, 1.0, 1.0, between(rng, 0.92, 1.06))
    body = Type(body_family.regular, points, leading, align, (ink, ink, ink), indent, stretch)
    return Style(
        width=width,
        height=height,
        ground=ground,
        accent=accent,
        body_family=body_family,
        head_family=head_family,
        body=body,
        gap=points * (between(rng, 0.0, 0.25) if indented else between(rng, 0.45, 1.0)),
        margins=(
            side,
            height * between(rng, 0.075, 0.12),
            side * between(rng, 0.8, 1.1),
            height * between(rng, 0.075, 0.13),
        ),
        gutter=width * between(rng, 0.025, 0.045),
        numbered=chance(rng, 0.45),
        heading_caps=weighted(rng, {"title": 4, "sentence": 4, "upper": 2}),
        heading_align=weighted(rng, {"left": 8, "center": 2}),
        heading_rule=weighted(rng, {"": 8, "under": 1.2, "over": 0.8}),
        heading_color=accent if chance(rng, 0.6) else body.color,
        heading_scale=between(rng, 1.0, 1.55),
        heading_italic=chance(rng, 0.12),
        caption_bold=chance(rng, 0.5),
        caption_italic=chance(rng, 0.3),
        bullet=pick(rng, "\u2022", "\u2022", "\u2013", "-", "*"),
        table_rules=weighted(rng, {"grid": 3, "booktabs": 4, "rows": 2, "none": 1.5, "zebra": 2}),
    )

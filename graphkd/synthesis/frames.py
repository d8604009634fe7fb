"""What all kinds of pages share: sheet, margins, columns, the stream of parts, running titles."""

from collections.abc import Callable

import numpy as np

from graphkd.synthesis.blocks import Block
from graphkd.synthesis.columns import Source
from graphkd.synthesis.composer import Composer
from graphkd.synthesis.regions import Box
from graphkd.synthesis.sheet import Sheet
from graphkd.synthesis.styles import (
    between,
    chance,
    draw_style,
    mix,
    pick,
    unit_width,
    weighted,
)

SERIF = {"serif": 5, "sans": 1.2, "humanist": 0.4}


SANS = {"sans": 5, "humanist": 2.5, "serif": 1.2}


MIXED = {"serif": 3, "sans": 3, "humanist": 1, "mono": 0.6}


def start(
    rng: np.random.Generator,
    families: dict[str, float],
    size: tuple[float, float],
    **options: object,
) -> Composer:
    """A fresh sheet in a freshly drawn style."""
    style = draw_style(rng, families=families, size=size, **options)
    return Composer(rng, style, Sheet(width=style.width, height=style.height, ground=style.ground))


def frame(c: Composer) -> Box:
    """The area inside the margins."""
    left, top, right, bottom = c.style.margins
    return left, top, c.style.width - right, c.style.height - bottom


def columns(box: Box, count: int, gutter: float) -> list[Box]:
    """Cut a box into equal columns."""
    x0, y0, x1, y1 = box
    wide = (x1 - x0 - gutter * (count - 1)) / count
    return [
        (x0 + i * (wide + gutter), y0, x0 + i * (wide + gutter) + wide, y1) for i in range(count)
    ]


def source(
    c: Composer, weights: dict[str, float], *, photo: float = 0.45, budget: float = 1e9
) -> Source:
    """An endless stream of parts drawn by weight; it ends when `budget` points of column are used
    up.
    """
    used = [0.0]
    last = [""]

    def next_blocks(width: float, room: float) -> list[Block]:
        if used[0] > budget:
            return []
        kinds = {k: w for k, w in weights.items() if k != last[0] or k == "paragraph"}
        if c.after_heading:
            kinds = {
                k: w for k, w in kinds.items() if k in ("paragraph", "list", "tabular", "form")
            }
        kind = weighted(c.rng, kinds or {"paragraph": 1.0})
        last[0] = kind
        blocks = make(c, kind, width, room, photo)
        used[0] += sum(block.height + block.gap for block in blocks)
        return blocks

    return next_blocks


def make(c: Composer, kind: str, width: float, room: float, photo: float) -> list[Block]:
    """The blocks of one part of that kind."""
    high = max(room - 20, 0) if room > 150 else 0.6 * width
    if kind == "list":
        return c.list_(width)
    if kind == "heading":
        # Two headings on top of each other are ordinary where a section opens with a subsection.
        blocks = [c.heading(width)]
        return [*blocks, c.heading(width, level=2)] if chance(c.rng, 0.12) else blocks
    one: dict[str, Callable[[], Block]] = {
        "paragraph": lambda: c.paragraph(width),
        "subheading": lambda: c.heading(width, level=2),
        "band": lambda: c.band_heading(width),
        "illustration": lambda: c.illustration(
            width, min(high, 0.55 * c.style.height), photo=photo
        ),
        "tabular": lambda: c.tabular(width, min(high, 0.5 * c.style.height)),
        "form": lambda: c.form(width, min(high, 0.4 * c.style.height)),
        "formula": lambda: c.formula(width),
        "code": lambda: c.code(width),
        "callout": lambda: c.callout(width),
    }
    return [one[kind]()]


def running(c: Composer, *, header: float = 0.75, footer: float = 0.75) -> None:
    """Running titles, page numbers and their rules, each with its probability."""
    rng, style, sheet = c.rng, c.style, c.sheet
    left, top, right, bottom = frame(c)
    size = style.body.size * between(rng, 0.72, 0.95)
    font = pick(rng, style.body_family.regular, style.body_family.italic, style.head_family.regular)
    color = mix(style.body.color, style.ground, pick(rng, 0.0, 0.0, 0.35))
    number = str(int(rng.integers(1, 480)))
    number = pick(
        rng, number, number, f"Page {number}", f"{number} of {int(number) + 40}", f"- {number} -"
    )
    number_at = pick(rng, "top", "bottom", "bottom")
    ruled = chance(rng, 0.35)
    spots = (("Page-header", header, top, "top"), ("Page-footer", footer, bottom, "bottom"))
    for name, probability, edge, place in spots:
        if not chance(rng, probability):
            continue
        baseline = (
            edge * between(rng, 0.55, 0.72)
            if place == "top"
            else edge + (style.height - edge) * between(rng, 0.42, 0.62)
        )
        title = " ".join(
            c.writer.heading(int(rng.integers(2, 7)), caps=pick(rng, "title", "title", "upper"))
        )
        pieces: dict[str, str] = {}
        if number_at == place:
            pieces[pick(rng, "left", "right", "right", "center")] = number
            if chance(rng, 0.6):
                pieces.setdefault(pick(rng, "left", "center", "right"), title)
        else:
            pieces[pick(rng, "left", "center", "right")] = title
            if chance(rng, 0.25):
                pieces.setdefault("right", c.writer.date())
                pieces.setdefault("left", c.writer.heading(1)[0])
        taken: list[tuple[float, float]] = []
        for align, text in pieces.items():
            x = {"left": left, "center": (left + right) / 2, "right": right}[align]
            wide = unit_width(text, font) * size
            begin = x - {"left": 0.0, "center": wide / 2, "right": wide}[align]
            if any(begin < end + size and begin + wide > first - size for first, end in taken):
                continue
            taken.append((begin, begin + wide))
            with sheet.measured() as extent:
                sheet.string(x, baseline, text, font=font, size=size, color=color, align=align)
            sheet.mark(name, tuple(extent))
        if ruled:
            y = baseline + 0.5 * size if place == "top" else baseline - 1.2 * size
            sheet.line(left, y, right, y, color=color, width=0.5)

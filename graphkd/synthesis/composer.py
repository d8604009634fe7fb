"""Figures, tables, formulas and panels of a page, and what all kinds of pages share."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphkd.synthesis.blocks import Block, Source, in_font, stack, text_block, text_height
from graphkd.synthesis.charts import picture_block
from graphkd.synthesis.formulas import formula_block
from graphkd.synthesis.prose import Prose
from graphkd.synthesis.sheet import Box, Sheet
from graphkd.synthesis.styles import (
    BLACK,
    Type,
    between,
    chance,
    draw_style,
    mix,
    pick,
    unit_width,
    weighted,
)
from graphkd.synthesis.tables import contents_block, form_block, table_block

SERIF = {"serif": 5, "sans": 1.2, "humanist": 0.4}
SANS = {"sans": 5, "humanist": 2.5, "serif": 1.2}
MIXED = {"serif": 3, "sans": 3, "humanist": 1, "mono": 0.6}


class Composer(Prose):
    """Adds figures, tables, formulas, listings and panels to the text."""

    def caption(self, width: float, label: str, *, gap: float) -> Block:
        """A caption that opens with its label."""
        style, rng = self.style, self.rng
        family = style.body_family
        text_font = family.italic if style.caption_italic else family.regular
        type_ = style.small(between(rng, 0.82, 0.95), font=text_font)
        long = chance(rng, 0.4)
        words = self.writer.sentence(int(rng.integers(3, 12)))
        words += self.writer.paragraph(int(rng.integers(1, 4))) if long else []
        align = self.caption_align if not long or self.caption_align == "left" else style.body.align
        lead = in_font(label.split(), family.bold if style.caption_bold else text_font)
        words = lead + in_font(words, text_font)
        type_ = replace(type_, align=align)
        return text_block(words, type_=type_, width=width, name="Caption", gap=gap)

    def illustration(self, width: float, room: float, *, photo: float = 0.45) -> Block:
        """A photograph or chart with (mostly) a caption below it, at most `room` high."""
        rng, style = self.rng, self.style
        wide = width if chance(rng, 0.6) else width * between(rng, 0.6, 0.98)
        caption = None
        if chance(rng, 0.9):
            label = f"{self.caption_word} {self.figure}{pick(rng, '.', ':', '')}"
            caption = self.caption(width, label, gap=between(rng, 4, 9))
            self.figure += 1
        spare = room - (caption.height + caption.gap if caption else 0.0)
        high = min(wide * between(rng, 0.42, 0.95), spare)
        gap = style.body.size * between(rng, 0.9, 1.6)
        if high < 50:
            return self.paragraph(width)
        picture = picture_block(rng, self.writer, style, width=wide, height=high, photo=photo)
        return stack([picture, caption] if caption else [picture], width=width, gap=gap)

    def tabular(self, width: float, room: float) -> Block:
        """A table with (mostly) a caption above or below it, at most `room` high."""
        rng, style = self.rng, self.style
        caption = None
        if chance(rng, 0.85):
            caption = self.caption(width, f"Table {self.table}{pick(rng, '.', ':')}", gap=0.0)
            self.table += 1
        space = between(rng, 4, 8)
        spare = room - (caption.height + space if caption else 0.0)
        gap = style.body.size * between(rng, 0.9, 1.6)
        if spare < 60:
            return self.paragraph(width)
        table = table_block(rng, self.writer, style, width=width, room=spare)
        if caption is None:
            return replace(table, gap=gap)
        if self.table_above:
            return stack([caption, replace(table, gap=space)], width=width, gap=gap)
        return stack([table, replace(caption, gap=space)], width=width, gap=gap)

    def form(self, width: float, room: float) -> Block:
        """A ruled form."""
        size = {"width": width, "room": room, "gap": self.style.body.size}
        return form_block(self.rng, self.writer, self.style, **size)

    def contents(self, width: float, room: float) -> Block:
        """A table of contents."""
        size = {"width": width, "room": room, "gap": self.style.body.size}
        return contents_block(self.rng, self.writer, self.style, **size)

    def formula(self, width: float) -> Block:
        """A displayed formula, numbered more often than not."""
        number = None
        if chance(self.rng, 0.6):
            number, self.equation = self.equation, self.equation + 1
        size = self.style.body.size * between(self.rng, 0.95, 1.1)
        gap = self.style.body.size * between(self.rng, 0.5, 0.9)
        self.after_heading = chance(self.rng, 0.6)
        look = {"size": size, "gap": gap, "color": self.style.body.color}
        return formula_block(self.rng, width=width, number=number, **look)

    def code(self, width: float) -> Block:
        """Lines of typewriter text on a tinted or framed panel (a Text region)."""
        rng, style = self.rng, self.style
        size = style.body.size * 0.82
        type_ = Type("Courier", size, size * 1.2)
        lines = []
        for _ in range(int(rng.integers(3, 9))):
            depth = int(rng.integers(0, 3))
            name, value = self.writer.content(1)[0], self.writer.content(1)[0]
            words = [(f"{name} = {value}({self.writer.number()})", "Courier")]
            indented = replace(type_, indent=2 * depth * size)
            block = text_block(words, type_=indented, width=width, name=None)
            lines.append(block.lines[0])
        high = text_height(len(lines), type_)
        merged = replace(block, lines=tuple(lines), height=high, name="Text", width=width - 12)
        fill = mix(style.ground, (0.4, 0.4, 0.5), 0.13)
        return stack([merged], width=width, gap=style.gap + 4, padding=6.0, fill=fill)

    def callout(self, width: float) -> Block:
        """A note on a tinted or framed panel, with or without a heading."""
        rng, style = self.rng, self.style
        tone = style.accent if style.accent != BLACK else (0.4, 0.4, 0.4)
        inner = width - 16
        parts: list[Block] = []
        if chance(rng, 0.5):
            word = pick(rng, "Note", "Warning", "Important", "Summary", "Key points").split()
            parts.append(self.heading(inner, level=2, words=word))
        type_ = replace(style.small(0.95), indent=0.0)
        parts.append(self.paragraph(inner, sentences=int(rng.integers(1, 4)), type_=type_))
        if chance(rng, 0.25):
            parts += self.list_(inner, items=3, style=type_)
        fill = mix(style.ground, tone, between(rng, 0.08, 0.18)) if chance(rng, 0.75) else None
        frame = tone if fill is None or chance(rng, 0.4) else None
        look = {"padding": 8.0, "fill": fill, "frame": frame, "stripe": chance(rng, 0.4)}
        return stack(parts, width=width, gap=style.gap + 6, **look)


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
    lefts = [x0 + i * (wide + gutter) for i in range(count)]
    return [(left, y0, left + wide, y1) for left in lefts]


def source(
    c: Composer, weights: dict[str, float], *, photo: float = 0.45, budget: float = 1e9
) -> Source:
    """A stream of parts drawn by weight that ends when `budget` points of column are used up."""
    used, last = [0.0], [""]

    def next_blocks(width: float, room: float) -> list[Block]:
        if used[0] > budget:
            return []
        kinds = {k: w for k, w in weights.items() if k != last[0] or k == "paragraph"}
        if c.after_heading:
            follow = ("paragraph", "list", "tabular", "form")
            kinds = {k: w for k, w in kinds.items() if k in follow}
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
    tall = c.style.height
    one: dict[str, Callable[[], Block]] = {
        "paragraph": lambda: c.paragraph(width),
        "subheading": lambda: c.heading(width, level=2),
        "band": lambda: c.band_heading(width),
        "illustration": lambda: c.illustration(width, min(high, 0.55 * tall), photo=photo),
        "tabular": lambda: c.tabular(width, min(high, 0.5 * tall)),
        "form": lambda: c.form(width, min(high, 0.4 * tall)),
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
    of_all = f"{number} of {int(number) + 40}"
    number = pick(rng, number, number, f"Page {number}", of_all, f"- {number} -")
    number_at = pick(rng, "top", "bottom", "bottom")
    ruled = chance(rng, 0.35)
    spots = (("Page-header", header, top, "top"), ("Page-footer", footer, bottom, "bottom"))
    for name, probability, edge, place in spots:
        if not chance(rng, probability):
            continue
        if place == "top":
            baseline = edge * between(rng, 0.55, 0.72)
        else:
            baseline = edge + (style.height - edge) * between(rng, 0.42, 0.62)
        count, caps = int(rng.integers(2, 7)), pick(rng, "title", "title", "upper")
        title = " ".join(c.writer.heading(count, caps=caps))
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


def put(c: Composer, block: Block, left: float, top: float, *, space: float) -> float:
    """Draw a block; returns where the next one may begin, `space` body sizes below it."""
    block.draw(c.sheet, left, top)
    return top + block.height + c.style.body.size * space


def notes_below(c: Composer, box: Box, most: int) -> Box:
    """Footnotes (fewer than `most`) at the bottom of a box; returns what is left above them."""
    left, top, right, bottom = box
    note = c.footnotes(right - left, int(c.rng.integers(1, most)))
    note.draw(c.sheet, left, bottom - note.height)
    return left, top, right, bottom - note.height - c.style.body.size

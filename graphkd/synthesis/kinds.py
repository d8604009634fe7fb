"""The kinds of pages: which parts they have and where, and how often each kind is drawn."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphkd.synthesis.blocks import Block, pour, text_height
from graphkd.synthesis.charts import picture_block
from graphkd.synthesis.composer import (
    MIXED,
    SANS,
    SERIF,
    Composer,
    columns,
    frame,
    make,
    notes_below,
    put,
    running,
    source,
    start,
)
from graphkd.synthesis.papers import paper, paper_first
from graphkd.synthesis.sheet import Box, Sheet
from graphkd.synthesis.styles import BLACK, WHITE, Type, between, chance, pick, weighted


def book(rng: np.random.Generator) -> Sheet:
    """A page of a book: one column, running title, notes, now and then a chapter opening."""
    c = start(rng, {"serif": 6, "sans": 0.7, "mono": 0.5}, (10.5, 13.0))
    opening = chance(rng, 0.3)
    running(c, header=0.2 if opening else 0.9, footer=0.5)
    left, top, right, bottom = frame(c)
    if opening:
        top += (bottom - top) * between(rng, 0.05, 0.2)
        title = c.title(
            right - left,
            scale=between(rng, 1.6, 2.4),
            align=pick(rng, "center", "left"),
            words=int(rng.integers(1, 6)),
            color=c.style.body.color,
        )
        top = put(c, title, left, top, space=between(rng, 2, 5))
    if chance(rng, 0.4):
        left, top, right, bottom = notes_below(c, (left, top, right, bottom), 5)
    if opening and chance(rng, 0.25):
        c.contents(right - left, bottom - top).draw(c.sheet, left, top)
        return c.sheet
    budget = (bottom - top) * between(rng, 0.2, 0.8) if chance(rng, 0.12) else 1e9
    weights = {
        "paragraph": 12, "subheading": 0.7, "illustration": 0.5, "list": 0.3, "formula": 0.15,
    }  # fmt: skip
    pour(c.sheet, [(left, top, right, bottom)], source(c, weights, photo=0.7, budget=budget))
    return c.sheet


def report(rng: np.random.Generator) -> Sheet:
    """A page of a report or brochure: coloured bands, charts, photographs, call-outs."""
    landscape = chance(rng, 0.12)
    count = int(weighted(rng, {1: 4, 2: 4, 3: 2})) + int(landscape)
    points = (8.8, 11.0) if count < 3 else (8.0, 9.2)
    c = start(rng, SANS, points, columns=count, landscape=landscape)
    style, sheet = c.style, c.sheet
    left, top, right, bottom = frame(c)
    tone = style.accent
    if tone == BLACK:
        tone = pick(rng, (0.2, 0.25, 0.35), (0.35, 0.1, 0.12))
    opening = chance(rng, 0.45)
    if opening and chance(rng, 0.5):
        high = style.height * between(rng, 0.11, 0.2)
        sheet.rect((0, 0, style.width, high), fill=tone)
        sheet.ground = tone
        scale, words = between(rng, 2.0, 2.8), int(rng.integers(2, 7))
        title = c.title(right - left, scale=scale, align="left", words=words, color=WHITE)
        title.draw(sheet, left, max(high - title.height - 12, 6))
        sheet.ground = style.ground
        top = high + style.body.size * 1.8
        running(c, header=0.0, footer=0.8)
    else:
        running(c, header=0.6, footer=0.8)
        if chance(rng, 0.25):
            sheet.rect((0, 0, style.width, style.height * 0.018), fill=tone)
        if chance(rng, 0.15):
            sheet.rect((0, 0, left * 0.35, style.height), fill=tone)
        if opening:
            title = c.title(
                right - left,
                scale=between(rng, 1.8, 2.6),
                align=pick(rng, "left", "left", "center"),
                words=int(rng.integers(2, 9)),
                color=tone,
            )
            top = put(c, title, left, top, space=1.5)
    if opening and chance(rng, 0.35):
        top = _opening_picture(c, (left, top, right, bottom))
    areas = columns((left, top, right, bottom), count, style.gutter * 1.2)
    weights = {
        "paragraph": 8, "heading": 2, "subheading": 0.6, "illustration": pick(rng, 1.0, 2.6),
        "tabular": pick(rng, 0.5, 2.0), "list": 1.6, "callout": 0.7,
        "band": pick(rng, 0.0, 0.0, 0.8),
    }  # fmt: skip
    budget = sum(a[3] - a[1] for a in areas) * between(rng, 0.4, 0.9) if chance(rng, 0.1) else 1e9
    pour(sheet, areas, source(c, weights, photo=0.5, budget=budget))
    return sheet


def _opening_picture(c: Composer, box: Box) -> float:
    """A wide picture at the top, up to the margins or the edges; returns where text begins."""
    left, top, right, bottom = box
    if chance(c.rng, 0.4):
        left, right = 0.0, c.style.width
    high = (bottom - top) * between(c.rng, 0.22, 0.36)
    photo = 1.0 if left == 0.0 else 0.9
    picture = picture_block(c.rng, c.writer, c.style, width=right - left, height=high, photo=photo)
    return put(c, picture, left, top, space=1.6)


def manual(rng: np.random.Generator) -> Sheet:
    """A page of a manual: numbered sections, steps, notes, listings, diagrams."""
    count = 1 if chance(rng, 0.7) else 2
    c = start(rng, SANS, (8.8, 11.0), columns=count)
    running(c, header=0.75, footer=0.85)
    left, top, right, bottom = frame(c)
    if chance(rng, 0.25):
        scale, words = between(rng, 1.6, 2.3), int(rng.integers(2, 6))
        color = c.style.heading_color
        title = c.title(right - left, scale=scale, align="left", words=words, color=color)
        top = put(c, title, left, top, space=1.4)
    if count == 1 and chance(rng, 0.2):
        left += (right - left) * 0.18
    weights = {
        "paragraph": 5, "heading": 2, "subheading": 1.2, "list": 3.5, "illustration": 1.2,
        "tabular": 1.0, "callout": 1.0, "code": 0.7,
    }  # fmt: skip
    areas = columns((left, top, right, bottom), count, c.style.gutter)
    pour(c.sheet, areas, source(c, weights, photo=0.25))
    return c.sheet


def magazine(rng: np.random.Generator) -> Sheet:
    """A page of a magazine or newspaper: three columns, big title, photographs, column rules."""
    count = pick(rng, 3, 3, 4, 2)
    c = start(rng, {"serif": 4, "sans": 2}, (7.8, 9.0) if count > 2 else (9, 10), columns=count)
    running(c, header=0.8, footer=0.6)
    style, sheet = c.style, c.sheet
    left, top, right, bottom = frame(c)
    width, size = right - left, style.body.size
    if chance(rng, 0.7):
        title = c.title(
            width,
            scale=between(rng, 2.6, 4.2),
            align=pick(rng, "left", "center"),
            words=int(rng.integers(2, 7)),
            color=pick(rng, style.body.color, style.accent),
        )
        top = put(c, title, left, top, space=1.2)
        if chance(rng, 0.6):
            font, align = style.head_family.italic, title.type_.align
            deck = Type(font, size * 1.35, size * 1.65, align, style.body.color)
            block = c.line(" ".join(c.writer.paragraph(1)), width, type_=deck)
            top = put(c, block, left, top, space=1.2)
    if chance(rng, 0.5):
        block = c.illustration(width, (bottom - top) * between(rng, 0.3, 0.5), photo=0.95)
        top = put(c, block, left, top, space=1.4)
    areas = columns((left, top, right, bottom), count, style.gutter)
    if chance(rng, 0.35):
        for area in areas[:-1]:
            x = area[2] + style.gutter / 2
            sheet.line(x, top, x, bottom, color=(0.3, 0.3, 0.3), width=0.4)
    c.after_heading = False
    weights = {
        "paragraph": 11, "heading": 1.6, "illustration": 1.0, "callout": 0.35, "tabular": 0.2,
        "list": 0.25,
    }  # fmt: skip
    pour(sheet, areas, source(c, weights, photo=0.85))
    return sheet


def slide(rng: np.random.Generator) -> Sheet:
    """A landscape page with a title, a few points, and a picture or table beside them."""
    c = start(rng, SANS, (13, 17), landscape=True)
    style, sheet = c.style, c.sheet
    left, top, right, bottom = frame(c)
    if chance(rng, 0.35):
        tone = style.accent if style.accent != BLACK else (0.2, 0.25, 0.35)
        sheet.rect((0, 0, style.width, top * 0.3), fill=tone)
    running(c, header=0.0, footer=0.8)
    title = c.title(
        right - left,
        scale=between(rng, 1.5, 2.0),
        align=pick(rng, "left", "center"),
        words=int(rng.integers(2, 7)),
        color=style.heading_color,
    )
    top = put(c, title, left, top * 0.8, space=1.5)
    count = pick(rng, 1, 2, 2)
    areas = columns((left, top, right, bottom), count, style.gutter)
    stage = [0]

    def next_blocks(width: float, room: float) -> list[Block]:
        stage[0] += 1
        points = ("list", "paragraph", "list")
        pictures = ("illustration", "illustration", "tabular")
        kind = pick(rng, *(pictures if stage[0] == 2 else points))
        return make(c, kind, width, room, 0.5) if stage[0] < 4 else []

    pour(sheet, areas, next_blocks)
    return sheet


def tables(rng: np.random.Generator) -> Sheet:
    """A form, a financial statement or a page of tables."""
    c = start(rng, MIXED, (8.2, 10.5), landscape=chance(rng, 0.1))
    running(c, header=0.6, footer=0.7)
    left, top, right, bottom = frame(c)
    if chance(rng, 0.6):
        title = c.title(
            right - left,
            scale=between(rng, 1.4, 2.0),
            align=pick(rng, "left", "center"),
            words=int(rng.integers(2, 7)),
            color=c.style.heading_color,
        )
        top = put(c, title, left, top, space=1.3)
    form = chance(rng, 0.5)
    weights = {
        "paragraph": 2.0, "heading": 1.2, "band": 1.6 if form else 0.3,
        "form": 3.0 if form else 0.0, "tabular": 1.0 if form else 4.0, "list": 0.5,
    }  # fmt: skip
    box = (left, top, right, bottom)
    if chance(rng, 0.3):
        box = notes_below(c, box, 4)
    pour(c.sheet, [box], source(c, weights))
    return c.sheet


def letter(rng: np.random.Generator) -> Sheet:
    """A letter: letterhead, addressee, date, subject, paragraphs, signature."""
    c = start(rng, MIXED, (9.8, 11.8))
    style, writer = c.style, c.writer
    left, _, right, bottom = frame(c)
    width, size = right - left, style.body.size
    plain = replace(style.body, indent=0.0, align="left")
    y = _letterhead(c)
    name = writer.name()
    street = f"{int(rng.integers(1, 200))} {writer.heading(1)[0]} Street"
    town = f"{writer.surname()} {int(rng.integers(1000, 99999))}"
    lines = [c.line(text, width, type_=plain, name=None) for text in (name, street, town)]
    address = replace(
        lines[0],
        lines=tuple(line.lines[0] for line in lines),
        height=text_height(3, plain),
        name="Text",
    )
    today = writer.date()
    date = c.line(today, width, type_=replace(plain, align=pick(rng, "left", "right")))
    c.after_heading = False
    parts = [(address, 0.0), (date, 1.6)]
    if chance(rng, 0.6):
        words = writer.heading(int(rng.integers(3, 8)), caps="sentence")
        parts.append((replace(c.heading(width, words=words, level=2), keep=False), 1.6))
    parts.append((c.line(f"Dear {writer.surname()},", width, type_=plain), 1.4))
    for _ in range(int(rng.integers(2, 6))):
        parts.append((c.paragraph(width), 0.8))
        if chance(rng, 0.15):
            parts += [(item, 0.5) for item in c.list_(width, items=3)]
    parts.append((c.line("Yours sincerely,", width, type_=plain), 1.2))
    parts.append((c.line(writer.name(), width, type_=plain), 3.2))
    for block, space in parts:
        y += space * size
        if y + block.height > bottom:
            break
        y = put(c, block, left, y, space=0)
    running(c, header=0.0, footer=0.7)
    return c.sheet


def _letterhead(c: Composer) -> float:
    """A firm's name, with or without a logo; returns where the address may begin."""
    rng, style = c.rng, c.style
    left, top, right, _ = frame(c)
    size = style.body.size
    font, points = style.head_family.bold, size * between(rng, 1.0, 1.6)
    align = pick(rng, "left", "center", "right")
    head = Type(font, points, size * 1.9, align, style.heading_color)
    logo = 0.0
    if chance(rng, 0.4):
        logo = between(rng, 28, 46)
        picture = picture_block(rng, c.writer, style, width=logo, height=logo, photo=1.0)
        picture.draw(c.sheet, left, top * 0.5)
        head = replace(head, align="left")
    shift = logo + 10 if logo else 0.0
    firm = " ".join(c.writer.heading(int(rng.integers(2, 5))))
    firm += pick(rng, " & Co.", " Ltd.", "", " Office")
    line = c.line(firm, right - left - shift, type_=head, name="Page-header")
    line.draw(c.sheet, left + shift, top * 0.55)
    return max(top * 0.55 + 2.2 * head.size, top * 0.5 + logo) + size * between(rng, 1.5, 3)


def blank(rng: np.random.Generator) -> Sheet:
    """An empty page, without regions."""
    return start(rng, SERIF, (9, 11)).sheet


KINDS: dict[Callable[[np.random.Generator], Sheet], float] = {
    paper: 0.22,
    paper_first: 0.13,
    book: 0.10,
    report: 0.17,
    manual: 0.12,
    tables: 0.09,
    letter: 0.05,
    magazine: 0.08,
    slide: 0.03,
    blank: 0.01,
}


def lay_out(rng: np.random.Generator) -> Sheet:
    """Draw a kind of page and lay one out."""
    return weighted(rng, KINDS)(rng)

"""Pages of reports, manuals, magazines and slides: which parts go where."""

import numpy as np

from graphkd.synthesis.blocks import Block
from graphkd.synthesis.charts import picture_block
from graphkd.synthesis.columns import pour
from graphkd.synthesis.composer import Composer
from graphkd.synthesis.frames import SANS, columns, frame, make, running, source, start
from graphkd.synthesis.regions import Box
from graphkd.synthesis.sheet import Sheet
from graphkd.synthesis.styles import BLACK, WHITE, Type, between, chance, pick, weighted


def report(rng: np.random.Generator) -> Sheet:
    """A page of a report or brochure: coloured bands, charts, photographs, call-outs, one to three
    columns.
    """
    landscape = chance(rng, 0.12)
    count = int(weighted(rng, {1: 4, 2: 4, 3: 2})) + int(landscape)
    c = start(
        rng, SANS, (8.8, 11.0) if count < 3 else (8.0, 9.2), columns=count, landscape=landscape
    )
    style, sheet = c.style, c.sheet
    left, top, right, bottom = frame(c)
    tone = (
        style.accent if style.accent != BLACK else pick(rng, (0.2, 0.25, 0.35), (0.35, 0.1, 0.12))
    )
    opening = chance(rng, 0.45)
    if opening and chance(rng, 0.5):
        high = style.height * between(rng, 0.11, 0.2)
        sheet.rect((0, 0, style.width, high), fill=tone)
        sheet.ground = tone
        title = c.title(
            right - left,
            scale=between(rng, 2.0, 2.8),
            align="left",
            words=int(rng.integers(2, 7)),
            color=WHITE,
        )
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
            title.draw(sheet, left, top)
            top += title.height + style.body.size * 1.5
    if opening and chance(rng, 0.35):
        top = _opening_picture(c, (left, top, right, bottom))
    areas = columns((left, top, right, bottom), count, style.gutter * 1.2)
    weights = {
        "paragraph": 8, "heading": 2, "subheading": 0.6, "illustration": pick(rng, 1.0, 2.6),
        "tabular": pick(rng, 0.5, 2.0), "list": 1.6, "callout": 0.7, "band": pick(rng, 0.0, 0.0,
        0.8),
    }  # fmt: skip
    budget = sum(a[3] - a[1] for a in areas) * between(rng, 0.4, 0.9) if chance(rng, 0.1) else 1e9
    pour(sheet, areas, source(c, weights, photo=0.5, budget=budget))
    return sheet


def _opening_picture(c: Composer, box: Box) -> float:
    """A wide picture at the top of the box, from edge to edge of the sheet or inside the margins;
    returns where text may begin.
    """
    left, top, right, bottom = box
    if chance(c.rng, 0.4):
        left, right = 0.0, c.style.width
    high = (bottom - top) * between(c.rng, 0.22, 0.36)
    photo = 1.0 if left == 0.0 else 0.9
    picture = picture_block(c.rng, c.writer, c.style, width=right - left, height=high, photo=photo)
    picture.draw(c.sheet, left, top)
    return top + high + c.style.body.size * 1.6


def manual(rng: np.random.Generator) -> Sheet:
    """A page of a manual: numbered sections, steps, notes, listings, diagrams."""
    count = 1 if chance(rng, 0.7) else 2
    c = start(rng, SANS, (8.8, 11.0), columns=count)
    running(c, header=0.75, footer=0.85)
    left, top, right, bottom = frame(c)
    if chance(rng, 0.25):
        title = c.title(
            right - left,
            scale=between(rng, 1.6, 2.3),
            align="left",
            words=int(rng.integers(2, 6)),
            color=c.style.heading_color,
        )
        title.draw(c.sheet, left, top)
        top += title.height + c.style.body.size * 1.4
    if count == 1 and chance(rng, 0.2):
        left += (right - left) * 0.18
    weights = {
        "paragraph": 5, "heading": 2, "subheading": 1.2, "list": 3.5, "illustration": 1.2,
        "tabular": 1.0, "callout": 1.0, "code": 0.7,
    }  # fmt: skip
    pour(
        c.sheet,
        columns((left, top, right, bottom), count, c.style.gutter),
        source(c, weights, photo=0.25),
    )
    return c.sheet


def magazine(rng: np.random.Generator) -> Sheet:
    """A page of a magazine or newspaper: three columns, big title, photographs, column rules."""
    count = pick(rng, 3, 3, 4, 2)
    c = start(rng, {"serif": 4, "sans": 2}, (7.8, 9.0) if count > 2 else (9, 10), columns=count)
    running(c, header=0.8, footer=0.6)
    style, sheet = c.style, c.sheet
    left, top, right, bottom = frame(c)
    width = right - left
    if chance(rng, 0.7):
        title = c.title(
            width,
            scale=between(rng, 2.6, 4.2),
            align=pick(rng, "left", "center"),
            words=int(rng.integers(2, 7)),
            color=pick(rng, style.body.color, style.accent),
        )
        title.draw(sheet, left, top)
        top += title.height + style.body.size * 1.2
        if chance(rng, 0.6):
            deck = Type(
                style.head_family.italic,
                style.body.size * 1.35,
                style.body.size * 1.65,
                title.type_.align,
                style.body.color,
            )
            block = c.line(" ".join(c.writer.paragraph(1)), width, type_=deck)
            block.draw(sheet, left, top)
            top += block.height + style.body.size * 1.2
    if chance(rng, 0.5):
        block = c.illustration(width, (bottom - top) * between(rng, 0.3, 0.5), photo=0.95)
        block.draw(sheet, left, top)
        top += block.height + style.body.size * 1.4
    areas = columns((left, top, right, bottom), count, style.gutter)
    if chance(rng, 0.35):
        for area in areas[:-1]:
            x = area[2] + style.gutter / 2
            sheet.line(x, top, x, bottom, color=(0.3, 0.3, 0.3), width=0.4)
    c.after_heading = False
    weights = {
        "paragraph": 11,
        "heading": 1.6,
        "illustration": 1.0,
        "callout": 0.35,
        "tabular": 0.2,
        "list": 0.25,
    }
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
    title.draw(sheet, left, top * 0.8)
    top = top * 0.8 + title.height + style.body.size * 1.5
    count = pick(rng, 1, 2, 2)
    areas = columns((left, top, right, bottom), count, style.gutter)
    stage = [0]

    def next_blocks(width: float, room: float) -> list[Block]:
        stage[0] += 1
        kind = (
            pick(rng, "list", "paragraph", "list")
            if stage[0] != 2
            else pick(rng, "illustration", "illustration", "tabular")
        )
        return make(c, kind, width, room, 0.5) if stage[0] < 4 else []

    pour(sheet, areas, next_blocks)
    return sheet

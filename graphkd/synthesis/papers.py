"""Pages of scientific papers."""

from dataclasses import replace

import numpy as np

from graphkd.synthesis.blocks import Block, in_font, pour, text_block
from graphkd.synthesis.composer import (
    SERIF,
    Composer,
    columns,
    frame,
    notes_below,
    put,
    running,
    source,
    start,
)
from graphkd.synthesis.sheet import Box, Sheet
from graphkd.synthesis.styles import Type, between, chance, pick


def paper(rng: np.random.Generator) -> Sheet:
    """An inner page of a scientific paper: wide figures, formulas, notes, references."""
    count = 2 if chance(rng, 0.65) else 1
    c = start(rng, SERIF, (8.4, 10.2) if count == 2 else (9.5, 11.5), columns=count)
    running(c)
    return _paper_body(c, frame(c), count)


def _paper_body(c: Composer, box: Box, count: int, *, notes: float = 0.35) -> Sheet:
    rng, style = c.rng, c.style
    left, top, right, bottom = box
    if count > 1 and chance(rng, 0.3) and bottom - top > 400:
        part = pick(rng, c.illustration, c.tabular)
        wide = part(right - left, (bottom - top) * between(rng, 0.25, 0.42))
        if chance(rng, 0.75):
            top = put(c, wide, left, top, space=1.6)
        else:
            bottom -= wide.height + 1.2 * style.body.size
            wide.draw(c.sheet, left, bottom + 1.2 * style.body.size)
    areas = columns((left, top, right, bottom), count, style.gutter)
    for number, area in enumerate(areas):
        if chance(rng, notes) and area[3] - area[1] > 250:
            areas[number] = notes_below(c, area, 4)
    weights = {
        "paragraph": 10, "heading": 2.2, "subheading": 0.9, "illustration": 1.5,
        "tabular": 1.0, "formula": pick(rng, 0.4, 2.5, 4.5), "list": 0.5,
    }  # fmt: skip
    if chance(rng, 0.12):
        _end_with_references(c, areas, weights)
    else:
        pour(c.sheet, areas, source(c, weights, photo=0.35))
    return c.sheet


def _end_with_references(c: Composer, areas: list[Box], weights: dict[str, float]) -> None:
    """Some text, then the list of literature to the end of the page."""
    body = source(c, weights, budget=sum(a[3] - a[1] for a in areas) * between(c.rng, 0.0, 0.6))
    stage = [0]

    def next_blocks(width: float, room: float) -> list[Block]:
        blocks = body(width, room) if stage[0] == 0 else []
        if blocks:
            return blocks
        stage[0] += 1
        if stage[0] == 1:
            heading = c.heading(width, words=["References"])
            return [heading, *c.references(width, int(c.rng.integers(8, 40)))]
        return []

    pour(c.sheet, areas, next_blocks)


def paper_first(rng: np.random.Generator) -> Sheet:
    """The first page of a paper: title, authors, affiliations, abstract, then the body."""
    count = 2 if chance(rng, 0.6) else 1
    c = start(rng, SERIF, (8.6, 10.4) if count == 2 else (9.5, 11.5), columns=count)
    running(c, header=0.4, footer=0.6)
    style, writer = c.style, c.writer
    left, top, right, bottom = frame(c)
    width, size = right - left, style.body.size
    align = pick(rng, "center", "center", "left")
    y = top + between(rng, 0, 25)
    names = ", ".join(writer.name() for _ in range(int(rng.integers(1, 6))))
    places = f"{writer.surname()} Institute of {' '.join(writer.heading(2))}, {writer.surname()}"
    author_font = pick(rng, style.body_family.regular, style.body_family.bold)
    author_type = Type(author_font, size * 1.12, size * 1.4, align, style.body.color)
    place_type = Type(style.body_family.italic, size * 0.92, size * 1.15, align, style.body.color)
    color = style.accent if chance(rng, 0.3) else style.body.color
    scale, words = between(rng, 1.6, 2.3), int(rng.integers(4, 13))
    parts = [
        c.title(width, scale=scale, align=align, words=words, color=color),
        c.line(names, width, type_=author_type, gap=size * between(rng, 0.7, 1.5)),
        c.line(places, width, type_=place_type, gap=size * between(rng, 0.3, 0.6)),
    ]
    narrow = width * pick(rng, 1.0, 0.86, 0.78)
    abstract_type = replace(style.small(between(rng, 0.88, 1.0)), indent=0.0)
    if chance(rng, 0.75):
        inline = c.heading(narrow, words=[pick(rng, "Abstract", "ABSTRACT", "Summary")], level=2)
        parts.append(replace(inline, gap=size * between(rng, 1.2, 2.2)))
    abstract = c.paragraph(narrow, sentences=int(rng.integers(5, 10)), type_=abstract_type)
    parts.append(replace(abstract, gap=size))
    if chance(rng, 0.4):
        family = style.body_family
        keys = in_font(", ".join(writer.content(5)).split(), family.regular)
        keys = in_font(["Keywords:"], family.bold) + keys
        parts.append(
            text_block(keys, type_=abstract_type, width=narrow, name="Text", gap=size * 0.8)
        )
    for number, part in enumerate(parts):
        y += part.gap if number else 0
        y = put(c, part, left + (width - part.width) / 2, y, space=0)
    y += size * between(rng, 1.5, 2.5)
    return _paper_body(c, (left, y, right, bottom), count, notes=0.4)

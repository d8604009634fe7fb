"""Pages of tables, forms and letters: which parts go where."""

from dataclasses import replace

import numpy as np

from graphkd.synthesis.blocks import Block, text_height
from graphkd.synthesis.charts import picture_block
from graphkd.synthesis.columns import pour
from graphkd.synthesis.frames import MIXED, frame, running, source, start
from graphkd.synthesis.sheet import Sheet
from graphkd.synthesis.styles import Type, between, chance, pick


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
        title.draw(c.sheet, left, top)
        top += title.height + c.style.body.size * 1.3
    form = chance(rng, 0.5)
    weights = {
        "paragraph": 2.0, "heading": 1.2, "band": 1.6 if form else 0.3, "form": 3.0 if form else
        0.0,
        "tabular": 1.0 if form else 4.0, "list": 0.5,
    }  # fmt: skip
    if chance(rng, 0.3):
        note = c.footnotes(right - left, int(rng.integers(1, 4)))
        note.draw(c.sheet, left, bottom - note.height)
        bottom -= note.height + c.style.body.size
    pour(c.sheet, [(left, top, right, bottom)], source(c, weights))
    return c.sheet


def letter(rng: np.random.Generator) -> Sheet:
    """A letter: letterhead, addressee, date, subject, paragraphs, signature."""
    c = start(rng, MIXED, (9.8, 11.8))
    style, sheet, writer = c.style, c.sheet, c.writer
    left, top, right, bottom = frame(c)
    size = style.body.size
    plain = replace(style.body, indent=0.0, align="left")
    head = Type(
        style.head_family.bold,
        size * between(rng, 1.0, 1.6),
        size * 1.9,
        pick(rng, "left", "center", "right"),
        style.heading_color,
    )
    logo = 0.0
    if chance(rng, 0.4):
        logo = between(rng, 28, 46)
        picture_block(rng, writer, style, width=logo, height=logo, photo=1.0).draw(
            sheet, left, top * 0.5
        )
        head = replace(head, align="left")
    shift = logo + 10 if logo else 0.0
    firm = " ".join(writer.heading(int(rng.integers(2, 5)))) + pick(
        rng, " & Co.", " Ltd.", "", " Office"
    )
    c.line(firm, right - left - shift, type_=head, name="Page-header").draw(
        sheet, left + shift, top * 0.55
    )
    y = max(top * 0.55 + 2.2 * head.size, top * 0.5 + logo) + size * between(rng, 1.5, 3)
    blocks: list[Block] = []
    for text in (
        writer.name(),
        f"{int(rng.integers(1, 200))} {writer.heading(1)[0]} Street",
        f"{writer.surname()} {int(rng.integers(1000, 99999))}",
    ):
        blocks.append(c.line(text, right - left, type_=plain, name=None))
    address = replace(
        blocks[0],
        lines=tuple(b.lines[0] for b in blocks),
        height=text_height(3, plain),
        name="Text",
    )
    date = c.line(
        writer.date(), right - left, type_=replace(plain, align=pick(rng, "left", "right"))
    )
    c.after_heading = False
    parts = [(address, 0.0), (date, 1.6)]
    if chance(rng, 0.6):
        subject = replace(
            c.heading(
                right - left,
                words=writer.heading(int(rng.integers(3, 8)), caps="sentence"),
                level=2,
            ),
            keep=False,
        )
        parts.append((subject, 1.6))
    parts.append((c.line(f"Dear {writer.surname()},", right - left, type_=plain), 1.4))
    for _ in range(int(rng.integers(2, 6))):
        parts.append((c.paragraph(right - left), 0.8))
        if chance(rng, 0.15):
            parts += [(item, 0.5) for item in c.list_(right - left, items=3)]
    parts.append((c.line("Yours sincerely,", right - left, type_=plain), 1.2))
    parts.append((c.line(writer.name(), right - left, type_=plain), 3.2))
    for block, space in parts:
        y += space * size
        if y + block.height > bottom:
            break
        block.draw(sheet, left, y)
        y += block.height
    running(c, header=0.0, footer=0.7)
    return sheet

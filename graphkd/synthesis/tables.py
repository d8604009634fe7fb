"""Tables with several kinds of rules, forms, and tables of contents."""

import numpy as np

from graphkd.synthesis.blocks import Painted, break_lines, in_font, text_height
from graphkd.synthesis.sheet import ASCENT, Sheet
from graphkd.synthesis.styles import (
    BLACK,
    WHITE,
    Style,
    Type,
    between,
    chance,
    mix,
    pick,
    unit_width,
)
from graphkd.synthesis.words import Writer


def _cells(
    rng: np.random.Generator, writer: Writer, rows: int, columns: int
) -> list[list[list[str]]]:
    """Words of every cell: a heading row, a label column, and columns of numbers or of words."""
    wordy = [chance(rng, 0.2) for _ in range(columns)]
    table = [
        [[w.capitalize() for w in writer.content(int(rng.integers(1, 3)))] for _ in range(columns)]
    ]
    for _ in range(rows - 1):
        line = []
        for column in range(columns):
            if column == 0:
                line.append(writer.heading(int(rng.integers(1, 4)), caps="sentence"))
            elif wordy[column]:
                line.append(writer.content(int(rng.integers(1, 5))))
            else:
                line.append([writer.number() if rng.random() < 0.94 else "\u2013"])
        table.append(line)
    return table


def _column_widths(
    cells: list[list[list[str]]],
    wanted: np.ndarray,
    width: float,
    bold: str,
    type_: Type,
    pad: float,
) -> tuple[np.ndarray, int]:
    """Widen columns to their longest word; drop the last ones (in `cells` too) until all fit."""
    longest = [
        max(type_.width(word, bold) for row in cells for word in row[c]) for c in range(len(wanted))
    ]
    widths = np.maximum(wanted, np.array(longest) + 2 * pad + 2)
    count = len(widths)
    while count > 2 and widths[:count].sum() > width:
        count -= 1
    for row in cells:
        del row[count:]
    widths = widths[:count]
    return widths * min(1.0, width / widths.sum()), count


def _rules(
    sheet: Sheet, manner: str, xs: list[float], ys: list[float], color: tuple, weight: float
) -> None:
    """Draw the ruling of a table whose column and row borders are given."""
    some = {"booktabs": [ys[0], ys[1], ys[-1]], "zebra": [ys[0], ys[-1]], "none": []}
    for y in some.get(manner, ys):
        heavy = manner == "booktabs" and y in (ys[0], ys[-1])
        sheet.line(xs[0], y, xs[-1], y, color=color, width=weight * (1.8 if heavy else 1))
    for x in xs if manner == "grid" else []:
        sheet.line(x, ys[0], x, ys[-1], color=color, width=weight)


def table_block(
    rng: np.random.Generator,
    writer: Writer,
    style: Style,
    *,
    width: float,
    room: float,
    gap: float = 0.0,
) -> Painted:
    """A data table of 2 to 8 columns and 3 or more rows that fits into width and room."""
    manner = style.table_rules
    if not chance(rng, 0.7):
        manner = pick(rng, "grid", "rows", "booktabs", "none", "zebra")
    columns = int(rng.integers(2, max(4, min(9, int(width / 55) + 1))))
    rows = int(rng.integers(3, 16))
    scale = between(rng, 0.78, 1.0)
    size = style.body.size * scale
    body = style.body
    type_ = Type(body.font, size, size * 1.15, color=body.color, stretch=body.stretch)
    bold = style.body_family.bold
    pad = size * between(rng, 0.2, 0.55)
    shares = np.array([1.8 if i == 0 else between(rng, 0.8, 1.3) for i in range(columns)])
    full = width if chance(rng, 0.65) or columns > 4 else width * between(rng, 0.6, 0.95)
    cells = _cells(rng, writer, rows, columns)
    widths, columns = _column_widths(cells, shares / shares.sum() * full, width, bold, type_, pad)
    full = float(widths.sum())
    filled = {"grid": 0.5, "rows": 0.5, "zebra": 0.6}
    head_fill = chance(rng, filled.get(manner, 0.0))
    dark = head_fill and chance(rng, 0.4)
    lines, heights = [], []
    for number, cell_row in enumerate(cells):
        font = bold if number == 0 else type_.font
        broken = [
            break_lines(in_font(words, font), type_=type_, width=wide - 2 * pad - 1)
            for words, wide in zip(cell_row, widths, strict=True)
        ]
        high = max(text_height(len(part), type_) for part in broken) + 2 * pad
        if lines and sum(heights) + high > room:
            break
        lines.append(broken)
        heights.append(high)
    common = pick(rng, "center", "right", "left")
    aligns = ["left"] + [
        common if chance(rng, 0.85) else pick(rng, "center", "right", "left")
        for _ in range(columns - 1)
    ]
    fill = mix(style.ground, style.accent, 0.82 if dark else 0.14)
    if dark and style.accent != BLACK:
        fill = style.accent
    band = mix(style.ground, style.accent, 0.09)
    rule_color = pick(rng, (0.0, 0.0, 0.0), (0.35, 0.35, 0.35), style.accent)
    weight = between(rng, 0.4, 0.9)
    offset = (width - full) / 2 if chance(rng, 0.8) else 0.0

    def paint(sheet: Sheet, x: float, y: float) -> None:
        xs = [x + offset + float(v) for v in np.concatenate([[0], np.cumsum(widths)])]
        ys = [y + float(v) for v in np.concatenate([[0], np.cumsum(heights)])]
        if manner == "zebra":
            for number in range(1, len(heights), 2):
                sheet.rect((xs[0], ys[number], xs[-1], ys[number + 1]), fill=band)
        if head_fill:
            sheet.rect((xs[0], ys[0], xs[-1], ys[1]), fill=fill)
        for number, broken in enumerate(lines):
            ink = WHITE if number == 0 and dark else type_.color
            cell_type = Type(type_.font, size, type_.leading, color=ink, stretch=type_.stretch)
            for column, part in enumerate(broken):
                for at, line in enumerate(part):
                    slack = float(widths[column]) - 2 * pad - line.width
                    shift = {"left": 0, "center": slack / 2, "right": slack}[aligns[column]]
                    baseline = ys[number] + pad + at * type_.leading + ASCENT * size
                    sheet.text(xs[column] + pad + shift, baseline, line.words, cell_type)
        _rules(sheet, manner, xs, ys, rule_color, weight)
        half = 0.0 if manner == "none" else weight / 2
        box = (xs[0] - half, ys[0] - half, xs[-1] + half, ys[-1] + half)
        # A striped table of its heading alone may have nothing painted at its rim.
        bare = manner == "none" or (manner == "zebra" and len(heights) < 2)
        sheet.mark("Table", box, exact=not bare)

    return Painted(width, sum(heights), gap, False, paint)


def form_block(
    rng: np.random.Generator,
    writer: Writer,
    style: Style,
    *,
    width: float,
    room: float,
    gap: float = 0.0,
) -> Painted:
    """A form: rows of ruled fields with small labels, some filled in, some with boxes to tick."""
    size = style.body.size * 0.8
    high = size * between(rng, 2.2, 3.2)
    rows = max(2, min(int(rng.integers(3, 9)), int(room / high)))
    layout = [[between(rng, 0.6, 1.6) for _ in range(int(rng.integers(1, 4)))] for _ in range(rows)]
    labels = [
        [" ".join(writer.heading(int(rng.integers(1, 3)), caps="sentence")) for _ in line]
        for line in layout
    ]
    kinds = [[rng.random() for _ in line] for line in layout]
    entries = [
        [" ".join(w.capitalize() for w in writer.content(2)) for _ in line] for line in layout
    ]
    shade = mix(style.ground, style.accent, 0.1) if chance(rng, 0.4) else None
    weight = between(rng, 0.4, 0.9)
    hand = pick(rng, "Courier", "Times-Italic", style.body.font)
    small = {"font": style.body.font, "size": size * 0.8}

    def paint(sheet: Sheet, x: float, y: float) -> None:
        for number, shares in enumerate(layout):
            at, top = x, y + number * high
            row = zip(shares, labels[number], kinds[number], entries[number], strict=True)
            for share, label, kind, entry in row:
                wide = width * share / sum(shares)
                fill = shade if kind < 0.25 else None
                sheet.rect((at, top, at + wide, top + high), fill=fill, stroke=BLACK, line=weight)
                sheet.string(at + 3, top + size * 0.95, label, **small)
                if kind > 0.8:
                    for tick in range(max(1, min(3, int(wide / 60)))):
                        left = at + 5 + tick * 45
                        square = (
                            left,
                            top + high - size * 1.1,
                            left + size * 0.8,
                            top + high - size * 0.3,
                        )
                        sheet.rect(square, stroke=BLACK, line=0.5)
                        name = entry.split()[0][:5]
                        sheet.string(left + size * 1.1, top + high - size * 0.35, name, **small)
                elif kind > 0.4 and len(entry) * size * 0.6 < wide:
                    ink = {"font": hand, "size": size * 1.05, "color": (0.1, 0.1, 0.35)}
                    sheet.string(at + 8, top + high - size * 0.4, entry, **ink)
                at += wide
        half = weight / 2
        box = (x - half, y - half, x + width + half, y + rows * high + half)
        sheet.mark("Table", box, exact=True)

    return Painted(width, rows * high, gap, False, paint)


def contents_block(
    rng: np.random.Generator,
    writer: Writer,
    style: Style,
    *,
    width: float,
    room: float,
    gap: float = 0.0,
) -> Painted:
    """A table of contents with dot leaders and page numbers: a Table, as in DocLayNet."""
    size = style.body.size
    step = size * between(rng, 1.35, 1.9)
    rows = max(3, min(int(rng.integers(8, 30)), int(room / step)))
    entries, page, chapter, section = [], 1, 0, 0
    for _ in range(rows):
        page += int(rng.integers(1, 9))
        if chapter == 0 or chance(rng, 0.3):
            chapter, section = chapter + 1, 0
            name = " ".join(writer.heading(int(rng.integers(1, 5))))
            entries.append((0, f"{chapter}  {name}", page))
        else:
            section += 1
            name = " ".join(writer.heading(int(rng.integers(2, 6))))
            entries.append((1, f"{chapter}.{section}  {name}", page))
    leaders = chance(rng, 0.75)

    def paint(sheet: Sheet, x: float, y: float) -> None:
        dot = 0.5 * size
        for number, (level, text, at_page) in enumerate(entries):
            baseline = y + number * step + ASCENT * size
            font = style.body_family.bold if level == 0 else style.body_family.regular
            left, look = x + level * 1.6 * size, {"size": size, "color": style.body.color}
            used = sheet.string(left, baseline, text, font=font, **look)
            number_wide = unit_width(str(at_page), font) * size
            dots = int((width - number_wide - (left - x) - used - 1.5 * size) / dot)
            dotted = leaders and dots > 2
            # Dots make one line of the entry and its page number; without them there is a wide gap.
            look |= {"align": "right", "joins": sheet.lines[-1] if dotted else None}
            sheet.string(x + width, baseline, str(at_page), font=font, **look)
            if dotted:
                end = x + width - number_wide - 0.5 * size
                sheet.string(end, baseline, ". " * dots, font="Times-Roman", **look)
        sheet.mark("Table", (x, y, x + width, y + (rows - 1) * step + size * 1.1))

    return Painted(width, rows * step, gap, False, paint)

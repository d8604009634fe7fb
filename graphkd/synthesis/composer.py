"""Makes all parts of a page: text (inherited), figures, tables and formulas; places nothing."""

from dataclasses import replace

from graphkd.synthesis.blocks import Block, Stack, in_font, stack, text_block, text_height
from graphkd.synthesis.charts import picture_block
from graphkd.synthesis.formulas import formula_block
from graphkd.synthesis.prose import Prose
from graphkd.synthesis.styles import BLACK, Type, between, chance, mix, pick
from graphkd.synthesis.tables import contents_block, form_block, table_block


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
        return text_block(
            lead + in_font(words, text_font),
            type_=replace(type_, align=align),
            width=width,
            name="Caption",
            gap=gap,
        )

    def illustration(
        self, width: float, room: float, *, photo: float = 0.45, captioned: float = 0.9
    ) -> Stack | Block:
        """A photograph or chart with (mostly) a caption below it, at most `room` high."""
        rng, style = self.rng, self.style
        wide = width if chance(rng, 0.6) else width * between(rng, 0.6, 0.98)
        caption = None
        if chance(rng, captioned):
            end = pick(rng, ".", ":", "")
            caption = self.caption(
                width, f"{self.caption_word} {self.figure}{end}", gap=between(rng, 4, 9)
            )
            self.figure += 1
        spare = room - (caption.height + caption.gap if caption else 0.0)
        high = min(wide * between(rng, 0.42, 0.95), spare)
        gap = style.body.size * between(rng, 0.9, 1.6)
        if high < 50:
            return self.paragraph(width)
        picture = picture_block(rng, self.writer, style, width=wide, height=high, photo=photo)
        return stack([picture, caption] if caption else [picture], width=width, gap=gap)

    def tabular(
        self, width: float, room: float, *, captioned: float = 0.85, manner: str | None = None
    ) -> Block:
        """A table with (mostly) a caption above or below it, at most `room` high."""
        rng, style = self.rng, self.style
        caption = None
        if chance(rng, captioned):
            caption = self.caption(width, f"Table {self.table}{pick(rng, '.', ':')}", gap=0.0)
            self.table += 1
        space = between(rng, 4, 8)
        spare = room - (caption.height + space if caption else 0.0)
        gap = style.body.size * between(rng, 0.9, 1.6)
        if spare < 60:
            return self.paragraph(width)
        table = table_block(rng, self.writer, style, width=width, room=spare, manner=manner)
        if caption is None:
            return replace(table, gap=gap)
        if self.table_above:
            return stack([caption, replace(table, gap=space)], width=width, gap=gap)
        return stack([table, replace(caption, gap=space)], width=width, gap=gap)

    def form(self, width: float, room: float) -> Block:
        """A ruled form."""
        return form_block(
            self.rng, self.writer, self.style, width=width, room=room, gap=self.style.body.size
        )

    def contents(self, width: float, room: float) -> Block:
        """A table of contents."""
        return contents_block(
            self.rng, self.writer, self.style, width=width, room=room, gap=self.style.body.size
        )

    def formula(self, width: float) -> Block:
        """A displayed formula, numbered more often than not."""
        number = None
        if chance(self.rng, 0.6):
            number, self.equation = self.equation, self.equation + 1
        size = self.style.body.size * between(self.rng, 0.95, 1.1)
        gap = self.style.body.size * between(self.rng, 0.5, 0.9)
        self.after_heading = chance(self.rng, 0.6)
        return formula_block(
            self.rng, width=width, size=size, gap=gap, number=number, color=self.style.body.color
        )

    def code(self, width: float) -> Block:
        """Lines of typewriter text on a tinted or framed panel (a Text region)."""
        rng, style = self.rng, self.style
        size = style.body.size * 0.82
        type_ = Type("Courier", size, size * 1.2)
        lines = []
        for _ in range(int(rng.integers(3, 9))):
            depth = int(rng.integers(0, 3))
            statement = (
                f"{self.writer.content(1)[0]} = {self.writer.content(1)[0]}({self.writer.number()})"
            )
            block = text_block(
                [(statement, "Courier")],
                type_=replace(type_, indent=2 * depth * size),
                width=width,
                name=None,
            )
            lines.append(block.lines[0])
        merged = replace(
            block,
            lines=tuple(lines),
            height=text_height(len(lines), type_),
            name="Text",
            width=width - 12,
        )
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
        return stack(
            parts,
            width=width,
            gap=style.gap + 6,
            padding=8.0,
            fill=fill,
            frame=frame,
            stripe=chance(rng, 0.4),
        )

"""The running text of a page: headings, paragraphs, lists, notes."""

from dataclasses import replace

import numpy as np

from graphkd.synthesis.blocks import Block, Painted, Words, in_font, stack, text_block
from graphkd.synthesis.sheet import Sheet
from graphkd.synthesis.styles import (
    BLACK,
    WHITE,
    Color,
    Style,
    Type,
    between,
    chance,
    pick,
    weighted,
)
from graphkd.synthesis.words import Writer


class Prose:
    """Makes blocks of text and counts sections, figures, tables, formulas and notes."""

    def __init__(self, rng: np.random.Generator, style: Style, sheet: Sheet) -> None:
        self.rng, self.style, self.sheet = rng, style, sheet
        self.writer = Writer(rng)
        self.section, self.subsection = int(rng.integers(1, 7)), 0
        self.figure, self.table = int(rng.integers(1, 9)), int(rng.integers(1, 6))
        self.equation, self.note = int(rng.integers(1, 20)), int(rng.integers(1, 8))
        self.roman = chance(rng, 0.1)
        self.table_above = chance(rng, 0.75)
        self.caption_align = weighted(rng, {"left": 5, "center": 3})
        self.caption_word = pick(rng, "Figure", "Figure", "Fig.", "FIGURE")
        self.after_heading = False

    def body_words(self, sentences: int) -> Words:
        """Body text with a little bold or italic in it."""
        family = self.style.body_family
        words = in_font(self.writer.paragraph(sentences), family.regular)
        if chance(self.rng, 0.25):
            at = int(self.rng.integers(len(words)))
            font = pick(self.rng, family.italic, family.bold)
            for number in range(at, min(len(words), at + int(self.rng.integers(1, 5)))):
                words[number] = (words[number][0], font)
        return words

    def paragraph(
        self, width: float, *, sentences: int | None = None, type_: Type | None = None
    ) -> Block:
        """A body paragraph, sometimes with a bold or italic lead-in."""
        count = int(self.rng.integers(2, 8)) if sentences is None else sentences
        words = self.body_words(count)
        type_ = type_ or self.style.body
        if self.after_heading:
            type_ = replace(type_, indent=0.0)
        self.after_heading = False
        if chance(self.rng, 0.05):
            font = pick(self.rng, self.style.body_family.bold, self.style.body_family.italic)
            lead = in_font([*self.writer.heading(2)[:-1], self.writer.content(1)[0] + "."], font)
            words = lead + words
        return text_block(words, type_=type_, width=width, name="Text", gap=self.style.gap)

    def heading(self, width: float, *, level: int = 1, words: list[str] | None = None) -> Block:
        """A section heading of level 1 or 2, with a number and a rule where the style has them."""
        style, rng = self.style, self.rng
        caps = style.heading_caps if level == 1 else "sentence"
        text = words or self.writer.heading(int(rng.integers(1, 7)), caps=caps)
        if style.numbered and words is None:
            text = [self._section_number(level), *text]
        family = style.head_family
        bold = family.bold if level == 1 or chance(rng, 0.5) else family.italic
        font = family.bold_italic if style.heading_italic else bold
        scale = style.heading_scale
        size = style.body.size * (scale if level == 1 else 1 + (scale - 1) * 0.4)
        color = style.heading_color
        type_ = Type(font, size, size * 1.18, style.heading_align, color)
        gap = max(style.gap, 0.4 * style.body.size) + size * between(rng, 0.45, 0.9)
        self.after_heading = True
        block = text_block(
            in_font(text, font), type_=type_, width=width, name="Section-header", gap=gap, keep=True
        )
        if level == 1 and style.heading_rule:
            rule = self.rule(width, color=color, gap=2.0)
            under = style.heading_rule == "under"
            parts = [block, rule] if under else [rule, replace(block, gap=3.0)]
            return replace(stack(parts, width=width, gap=gap), keep=True)
        return block

    def _section_number(self, level: int) -> str:
        if level == 1:
            self.section, self.subsection = self.section + 1, 0
            if self.roman:
                return ["I.", "II.", "III.", "IV.", "V.", "VI.", "VII.", "VIII."][self.section % 8]
            return f"{self.section}" + ("." if self.section % 2 else "")
        self.subsection += 1
        return f"{self.section}.{self.subsection}"

    def band_heading(self, width: float) -> Block:
        """A heading in light ink on a bar of the accent colour."""
        style = self.style
        fill = style.accent if style.accent != BLACK else (0.2, 0.2, 0.22)
        size = style.body.size * 1.1
        font = style.head_family.bold
        type_ = Type(font, size, size * 1.2, style.heading_align, WHITE)
        words = self.writer.heading(int(self.rng.integers(1, 5)), caps=style.heading_caps)
        block = text_block(
            in_font(words, font), type_=type_, width=width - 8, name="Section-header"
        )
        self.after_heading = True
        gap = style.gap + 0.8 * size
        return replace(stack([block], width=width, gap=gap, padding=4.0, fill=fill), keep=True)

    def rule(
        self, width: float, *, color: Color = BLACK, weight: float = 0.6, gap: float = 0.0
    ) -> Block:
        """A horizontal rule, no region."""

        def paint(sheet: Sheet, x: float, y: float) -> None:
            sheet.line(x, y + weight / 2, x + width, y + weight / 2, color=color, width=weight)

        return Painted(width, weight, gap, False, paint)

    def list_(
        self, width: float, *, items: int | None = None, style: Type | None = None
    ) -> list[Block]:
        """A bulleted, numbered or lettered list; its items share a group."""
        rng = self.rng
        count = int(rng.integers(2, 8)) if items is None else items
        type_ = replace(style or self.style.body, indent=0.0)
        kind = weighted(rng, {"bullet": 5, "number": 3, "letter": 1})
        group = self.sheet.new_group()
        hang = type_.size * between(rng, 1.3, 2.4)
        at = type_.size * between(rng, 0.0, 0.35)
        mark = pick(rng, "{}.", "({})", "{})") if kind != "bullet" else ""
        longest = int(rng.integers(4, 34))
        tight = self.style.gap * between(rng, 0.0, 0.7)
        font = self.style.body_family.regular
        blocks = []
        for number in range(count):
            name = str(number + 1) if kind == "number" else "abcdefghij"[number % 10]
            marker = self.style.bullet if kind == "bullet" else mark.format(name)
            words = self.writer.sentence(max(2, int(longest * between(rng, 0.5, 1.3))))
            block = text_block(
                in_font(words, font),
                type_=type_,
                width=width,
                name="List-item",
                gap=max(self.style.gap, 0.5 * type_.size) if number == 0 else tight,
                group=group,
                hang=hang + (0.5 * type_.size if kind != "bullet" else 0.0),
                marker=marker,
                marker_at=at,
            )
            blocks.append(block)
        self.after_heading = False
        return blocks

    def references(self, width: float, count: int) -> list[Block]:
        """A list of literature in small type, with numbers or hanging lines."""
        rng, style = self.rng, self.style
        type_ = replace(style.small(0.86), indent=0.0)
        group, numbered, first = self.sheet.new_group(), chance(rng, 0.65), int(rng.integers(1, 40))
        family, blocks = style.body_family, []
        for number in range(count):
            authors = ", ".join(self.writer.name() for _ in range(int(rng.integers(1, 4))))
            title = " ".join(self.writer.heading(int(rng.integers(4, 10)), caps="sentence"))
            volume, year = int(rng.integers(1, 90)), int(rng.integers(1965, 2024))
            span = f"{int(rng.integers(1, 400))}-{int(rng.integers(400, 900))}"
            words = in_font(f"{authors}. {title}.".split(), family.regular)
            words += in_font([w.capitalize() for w in self.writer.content(3)], family.italic)
            words += in_font([f"{volume}:", f"{span},", f"{year}."], family.regular)
            hang = type_.size * (2.2 if numbered else 1.2)
            if not numbered:
                type_ = replace(type_, indent=-type_.size * 1.2)
            blocks.append(
                text_block(
                    words,
                    type_=type_,
                    width=width,
                    name="List-item",
                    gap=style.gap * 0.4 + 1.0,
                    group=group,
                    hang=hang,
                    marker=f"[{first + number}]" if numbered else "",
                )
            )
        return blocks

    def footnotes(self, width: float, count: int) -> Block:
        """A short rule and that many notes in small type."""
        rng, style = self.rng, self.style
        type_ = replace(style.small(between(rng, 0.74, 0.86)), indent=0.0)
        parts: list[Block] = []
        if chance(rng, 0.85):
            rule = self.rule(width * pick(rng, 0.25, 0.35, 1.0), weight=0.5)
            # A stack centres its parts; this one stands at the left.
            parts.append(Painted(width, rule.height, rule.gap, False, rule.draw))
        mark = pick(rng, "{}", "{}.", "*")
        for _ in range(count):
            words = [mark.format(self.note), *self.writer.paragraph(int(rng.integers(1, 3)))]
            words = in_font(words, style.body_family.regular)
            self.note += 1
            parts.append(text_block(words, type_=type_, width=width, name="Footnote", gap=2.5))
        return stack(parts, width=width, gap=style.body.size)

    def title(self, width: float, *, scale: float, align: str, words: int, color: Color) -> Block:
        """The title of a document."""
        size = self.style.body.size * scale
        family = self.style.head_family
        font = family.bold if chance(self.rng, 0.75) else family.regular
        caps = weighted(self.rng, {"title": 6, "sentence": 3, "upper": 1})
        type_ = Type(font, size, size * 1.18, align, color)
        text = in_font(self.writer.heading(words, caps=caps), font)
        return text_block(text, type_=type_, width=width, name="Title")

    def line(
        self, text: str, width: float, *, type_: Type, name: str | None = "Text", gap: float = 0.0
    ) -> Block:
        """Short text (authors, addresses, dates) as one region."""
        words = in_font(text.split(), type_.font)
        return text_block(words, type_=type_, width=width, name=name, gap=gap)
